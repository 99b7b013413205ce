"""Whether to train on the newest data, and from what: the gates before a training.

What lives here: the decision. What does not: what is new, and how much it differs (`novelty`), the gate after a
training (`promotion`), training itself (`training`).

    decide(config.nightly, champion=True, new=24, revised=0, rejected_share=0.0, drift=drift)
"""

from __future__ import annotations

from dataclasses import dataclass

from .config_operations import NightlyConfig
from .novelty import Drift


@dataclass(frozen=True)
class Decision:
    """Whether to train, whether from the champion's weights, and why, in sentences."""

    train: bool
    warm: bool
    reasons: tuple[str, ...]


def decide(
    rules: NightlyConfig,
    *,
    champion: bool,
    new: int,
    revised: int,
    rejected_share: float,
    drift: Drift | None,
    skill: float | None = None,
    changed: tuple[str, ...] = (),
) -> Decision:
    """Apply the gates.

    Args:
        rules: The section `nightly` of the configuration.
        champion: Whether there is one.
        new: Frames (or samples) that the newest version has not been trained on.
        revised: Frames that had other values when it was.
        rejected_share: Of the files that are new this night.
        drift: Of the new data from the champion's; None: there are none, or no champion.
        skill: The champion's on the newest test cases, against persistence; None: there is no champion.
        changed: Sections of the configuration that differ from the champion's, so that its weights do not fit.
    """
    if rejected_share > rules.max_rejected_share:
        return Decision(
            False,
            False,
            (
                f"Nothing is trained: {100 * rejected_share:.0f} % of the night's new files were rejected, "
                f"{100 * rules.max_rejected_share:.0f} % are tolerated (nightly.max_rejected_share).",
            ),
        )
    if not champion:
        return Decision(True, False, ("There is no champion yet: the first version is trained.",))
    changes = " and ".join([f"{new} new"] * (new > 0) + [f"{revised} revised"] * (revised > 0))
    if new + revised < rules.min_new:
        many = f"there are {changes}" if changes else "there is nothing new"
        needed = f", {rules.min_new} are needed (nightly.min_new)" if changes else ""
        return Decision(False, False, (f"Nothing is trained: {many} since the newest version{needed}.",))
    if drift is not None and drift.size < rules.min_drift:
        return Decision(
            False,
            False,
            (
                f"Nothing is trained: the new data differ from the champion's by {drift.size:.2g} standard deviations, "
                f"less than the {rules.min_drift:g} that are worth it (nightly.min_drift).",
            ),
        )
    found = "" if drift is None else f", which differ from the champion's by {drift.size:.2g} standard deviations"
    return Decision(True, *_start(rules, f"There are {changes}{found}.", drift, skill, changed))


def _start(
    rules: NightlyConfig, sentence: str, drift: Drift | None, skill: float | None, changed: tuple[str, ...]
) -> tuple[bool, tuple[str, ...]]:
    """Whether to start from the champion, and the reasons with the last one."""
    if not rules.warm_start:
        return False, (sentence, "Training starts afresh (nightly.warm_start is false).")
    if changed:
        return False, (
            sentence,
            f"Training starts afresh: {', '.join(changed)} changed since the champion was trained.",
        )
    if drift is not None and drift.size > rules.max_warm_drift:
        return False, (
            sentence,
            f"Training starts afresh: the drift is above {rules.max_warm_drift:g} (nightly.max_warm_drift), and the "
            "champion's scale no longer fits the data.",
        )
    if skill is not None and skill <= 0:
        return False, (
            sentence,
            "Training starts afresh: the champion does not beat persistence any more, what it learned does not help.",
        )
    return True, (sentence, "Training starts from the champion's weights.")
