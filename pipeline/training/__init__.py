"""Stage 6: train a Forecaster on one version of an Archive.

`job` is what to train; `loop` is the training itself, a plain function; `ray_train` runs it on a Ray cluster;
`objective` is what is minimised; `checkpoints` is what lies on disk between two epochs.
"""

from .job import TrainingJob, prepare
from .loop import LocalWorker, run_loop
from .ray_train import TrainingOutcome, train

__all__ = ["LocalWorker", "TrainingJob", "TrainingOutcome", "prepare", "run_loop", "train"]
