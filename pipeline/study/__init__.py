"""Studies: many trainings that differ in a few settings, alike in all else, and what each of them is worth.

A `Trial` is one of them: a configuration, trained and scored without MLflow; `run_trial` does that in a process of its
own, so that time and memory are the trial's alone, and keeps the result. `contenders` makes configurations that differ
in the cell alone and have as many parameters. A search looks for good settings: `space` is what it varies, `sampling`
the trials of it, `tuning` trains them on Ray Tune, `ending` is how each one ended, `importance` what mattered.
"""

from .contenders import CELLS, alike, parameters_of
from .ending import Ending
from .importance import Importance, features, importance_of
from .results import TrialResult
from .sampling import Sampled, sample_trials, study_name
from .settings import with_settings
from .space import Space, default_space, read_space
from .trial import Trial, run_trial, score_trial, train_trial
from .tuning import Plan, Watcher, alone, search

__all__ = [
    "CELLS",
    "Ending",
    "Importance",
    "Plan",
    "Sampled",
    "Space",
    "Trial",
    "TrialResult",
    "Watcher",
    "alike",
    "alone",
    "default_space",
    "features",
    "importance_of",
    "parameters_of",
    "read_space",
    "run_trial",
    "sample_trials",
    "score_trial",
    "search",
    "study_name",
    "train_trial",
    "with_settings",
]
