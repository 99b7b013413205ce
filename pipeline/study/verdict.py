"""Go, no-go or undecided: the rules by which a proof of concept ends, all of them in this place.

What lives here: the decision and its words. What does not: the numbers it rests on (`poc`).

    decision = decide(evidence)
    decision.state, decision.sentence

Judged is one cell: of the MinConv cells the one with the lowest validation error, so that the test cases were not used
to choose it. The primary metric is that of promotions: the mean over variables and lead times of log(RMSE of the model
/ RMSE of the baseline), on the test cases, with its paired block-bootstrap interval. The baseline is the one that is
hardest to beat: that with the smallest RMSE on the primary metric. The rules, of which the first that holds decides:

1. no MinConv cell came to an end: undecided;
2. fewer test cases than `promotion.minimum_cases`, or no interval: undecided, more data would change it;
3. better than the baseline, with an interval that excludes zero, and a retraining fits into its interval: go;
4. better, but a retraining does not fit: no-go, faster hardware or a longer interval would change it;
5. not better, and trained for less than the configuration as written asks for (`ENOUGH` of it): undecided, a longer
   budget would change it;
6. worse with an interval that excludes zero: no-go, more data or another configuration would change it;
7. neither certainly better nor worse: undecided, more test cases would change it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from ..comparison import Interval

State = Literal["go", "no-go", "undecided"]
ENOUGH = 0.9  # of the training as written


@dataclass(frozen=True)
class Evidence:
    """What the decision rests on.

    Attributes:
        cell: That is judged.
        baseline: Name of the one that is hardest to beat.
        change: log(RMSE of the model / RMSE of the baseline) with its interval.
        change_text: The same in words: ``4.2 % lower (95 % interval: …)``.
        cases: Test cases.
        minimum_cases: With fewer nothing is decided.
        trained_share: Time of training steps over that of the configuration as written.
        full_budget: Budget with which it would be 1, as it would be typed.
        retraining: Seconds of one.
        every: Seconds between two.
        retraining_text: The first for people.
        every_text: The second for people.
        gpu: Whether it trained on one.
    """

    cell: str
    baseline: str
    change: Interval
    change_text: str
    cases: int
    minimum_cases: int
    trained_share: float
    full_budget: str
    retraining: float
    every: float
    retraining_text: str
    every_text: str
    gpu: bool

    @property
    def fits(self) -> bool:
        """Whether a retraining ends before the next begins."""
        return self.retraining <= self.every


@dataclass(frozen=True)
class Decision:
    """What comes of a proof of concept.

    Attributes:
        state: Of the three.
        sentence: The decision with its evidence.
        changes: What would change it, in sentences; empty for go.
    """

    state: State
    sentence: str
    changes: tuple[str, ...] = ()


def decide(found: Evidence) -> Decision:
    """Apply the rules."""
    known = all(math.isfinite(value) for value in (found.change.estimate, found.change.lower, found.change.upper))
    if found.cases < found.minimum_cases or not known:
        few = f"{found.cases} test case{'s' * (found.cases != 1)} are too few to tell"
        needed = (
            f"at least {found.minimum_cases} are needed (promotion.minimum_cases), and more make the interval narrow"
        )
        return Decision(
            "undecided",
            f"Undecided: {few} whether {found.cell} beats {found.baseline}.",
            (f"More data, or a longer test split (split.test): {needed}.",),
        )
    if found.change.better:
        return _better(found)
    return _not_better(found)


def nothing_trained(failures: dict[str, str]) -> Decision:
    """The decision where no MinConv cell came to an end."""
    told = "; ".join(f"{cell}: {failure}" for cell, failure in failures.items())
    return Decision("undecided", f"Undecided: no MinConv cell came to an end ({told}).", ("See the failures.",))


def _better(found: Evidence) -> Decision:
    beats = (
        f"{found.cell} beats {found.baseline}, the baseline that is hardest to beat here: its RMSE is "
        f"{found.change_text}"
    )
    takes = f"a retraining takes {found.retraining_text}"
    if found.fits:
        return Decision("go", f"Go: {beats}; {takes}, which fits into its interval of {found.every_text}.")
    faster = "More or faster GPUs" if found.gpu else "A GPU (training.gpu=true), or more processors"
    return Decision(
        "no-go",
        f"No-go: {beats}; but {takes}, longer than its interval of {found.every_text}.",
        (
            f"{faster}: a step has to be {found.retraining / found.every:.2g} times as fast.",
            f"Retraining less often than every {found.retraining_text} (--every), or fewer training.epochs.",
        ),
    )


def _not_better(found: Evidence) -> Decision:
    certain = "is worse than" if found.change.worse else "is not certain to beat"
    sentence = (
        f"{found.cell} {certain} {found.baseline}, the baseline that is hardest to beat here: its RMSE is "
        f"{found.change_text}"
    )
    slow = () if found.gpu else ("A GPU: more training in the same time.",)
    if found.trained_share < ENOUGH:
        return Decision(
            "undecided",
            f"Undecided: {sentence}; but it was trained for {_share(found.trained_share)} of what the configuration "
            "asks for.",
            (f"A longer budget: --budget {found.full_budget} trains as long as the configuration says.", *slow),
        )
    if found.change.worse:
        return Decision(
            "no-go",
            f"No-go: {sentence}, trained as long as the configuration says.",
            ("More training data.", "Another configuration: more training.epochs, another model, more forcings."),
        )
    return Decision(
        "undecided",
        f"Undecided: {sentence}, trained as long as the configuration says.",
        ("More test cases make the interval narrow: more data, or a longer test split.", "More training data."),
    )


def _share(share: float) -> str:
    return f"{share:.0%}" if share >= 0.01 else "less than 1 %"
