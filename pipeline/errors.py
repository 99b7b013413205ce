"""Errors a user can cause, one type per kind, all under `PipelineError`.

Every message is one sentence that says what went wrong, what was expected, what was found, and the next step.
The command line prints the message alone; a traceback of any other exception is a defect of ours.
"""

from __future__ import annotations


class PipelineError(Exception):
    """Base of every error that the user can act on."""


class ConfigError(PipelineError):
    """The configuration is not valid, or does not fit the data it is used with."""


class SourceError(PipelineError):
    """Input data could not be found, opened or brought to the contract; carries the id of the broken rule.

    Args:
        rule: Rule id, e.g. ``Q-TRUNCATED`` (see `pipeline.quality`).
        message: The sentence for the user, without the rule id.
    """

    def __init__(self, rule: str, message: str) -> None:
        super().__init__(f"{rule}: {message}")
        self.rule = rule
        self.message = message

    def __reduce__(self) -> tuple[type[SourceError], tuple[str, str]]:
        return type(self), (self.rule, self.message)


class QuarantineError(PipelineError):
    """The quarantine has no such entry, or what was asked for cannot be done with it."""


class ArchiveError(PipelineError):
    """The archive is missing, damaged, locked, or does not hold what was asked for."""


class ClusterError(PipelineError):
    """A Ray cluster cannot be started, reached or used as asked, or a job on it failed."""


class TrainingError(PipelineError):
    """Training could not start or did not finish; nothing was registered."""


class RegistryError(PipelineError):
    """The model registry could not be reached, or has no such model or version."""


class ForecastError(PipelineError):
    """A forecast was asked for that the archive or the model cannot give."""


class ComparisonError(PipelineError):
    """Two models cannot be compared: they were scored on other cases, variables or lead times."""


class PromotionError(PipelineError):
    """A promotion or a rollback was refused; the champion is the one it was before."""


class LedgerError(PipelineError):
    """The ledger of nights cannot be used, or another run holds it."""


class LeaseLostError(LedgerError):
    """Another run took over; what this one would have written was refused."""
