"""Studies: many trainings that differ in one thing, alike in all else, and what each of them is worth.

A `Trial` is one of them: a configuration, trained and scored without MLflow; `run_trial` does that in a process of its
own, so that time and memory are the trial's alone, and keeps the result. `contenders` makes configurations that differ
in the cell alone and have as many parameters.
"""

from .contenders import CELLS, alike, changed, parameters_of
from .results import TrialResult
from .trial import Trial, run_trial, score_trial, train_trial

__all__ = [
    "CELLS",
    "Trial",
    "TrialResult",
    "alike",
    "changed",
    "parameters_of",
    "run_trial",
    "score_trial",
    "train_trial",
]
