"""Stage 6: train a Forecaster on one version of an Archive.

`loop` is the training itself, a plain function; `ray_train` runs it on a Ray cluster; `objective` is what is minimised;
`checkpoints` is what lies on disk between two epochs.
"""

from .loop import LocalWorker, TrainingJob, run_loop
from .ray_train import TrainingOutcome, code_hash, run_name, train

__all__ = ["LocalWorker", "TrainingJob", "TrainingOutcome", "code_hash", "run_loop", "run_name", "train"]
