"""Stage 6: train a Forecaster on one version of an Archive.

`job` is what to train, `parent` what it starts from. `loop` is the training itself, a plain function: it visits
`cases`, takes steps of `optimization` to lower `objective`, and scores with `validation`. `state` and `checkpoints` are
what it goes on from when it was stopped. `worker` is what the loop needs of whoever runs it: `local` in this process,
`ray_train` on a Ray cluster; `outcome` is what both leave. `profile` measures where the time of a step goes.
"""

from .job import TrainingJob, prepare
from .local import LocalWorker, profile_here, train_here
from .loop import run_loop
from .outcome import TrainingOutcome
from .parent import Parent
from .profile import StepProfile
from .ray_train import profile, train

__all__ = [
    "LocalWorker",
    "Parent",
    "StepProfile",
    "TrainingJob",
    "TrainingOutcome",
    "prepare",
    "profile",
    "profile_here",
    "run_loop",
    "train",
    "train_here",
]
