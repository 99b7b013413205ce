"""Errors of `minconv`, all under `MinconvError`.

Every message is one sentence that names the argument, what was expected and what was given.

    try:
        forecaster, metadata = minconv.load(path)
    except minconv.CheckpointError as error:
        print(error)
"""

from __future__ import annotations


class MinconvError(ValueError):
    """Base of every error that a caller of this library can cause."""


class ConfigurationError(MinconvError):
    """A `ForecasterConfig` field has a value that makes no model."""


class InputError(MinconvError):
    """A tensor argument has the wrong rank, shape, dtype or device."""


class BackendError(MinconvError):
    """A scan backend was asked for that does not exist or cannot run here."""


class GradientError(MinconvError, RuntimeError):
    """A derivative was asked for that the scan does not have."""


class CheckpointError(MinconvError):
    """A checkpoint could not be written or read."""


class CheckpointMissingError(CheckpointError):
    """The checkpoint, or one of its files, is not there."""


class CheckpointDamagedError(CheckpointError):
    """The checkpoint's bytes are not the ones that were saved."""


class CheckpointVersionError(CheckpointError):
    """The checkpoint was written in a format that this version does not know."""
