"""Stage 6: train a Forecaster on one version of an Archive.

`job` is what to train, `parent` what it starts from; `loop` is the training itself, a plain function; `local` runs it
in this process, `ray_train` on a Ray cluster; `outcome` is what both leave; `objective` is what is minimised;
`checkpoints` is what lies on disk between two epochs.
"""

from .job import TrainingJob, prepare
from .local import LocalWorker, train_here
from .loop import run_loop
from .outcome import TrainingOutcome
from .parent import Parent
from .ray_train import train

__all__ = ["LocalWorker", "Parent", "TrainingJob", "TrainingOutcome", "prepare", "run_loop", "train", "train_here"]
