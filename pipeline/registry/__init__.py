"""Runs and model versions in MLflow. Besides `pyfunc_model` nothing outside this package imports it.

What lives here: the run of a training (`runs`), what it has to tell (`journal`) and how that arrives while MLflow comes
and goes (`tracking`), a registered version with its lineage and aliases (`versions`), the seals that its files are
checked against (`seals`), the errors of MLflow as sentences (`connection`), and the `Registry` that ties them together.
What does not: who becomes champion after the first (`promotion`).

    registry = Registry("sqlite:///runs/mlflow.db", artifacts=Path("runs/mlartifacts"), experiment="demo")
    run = registry.run("demo-1f0c…", parameters={"model.cell": "minconvgru"})
    run.log_metrics({"train/loss": 0.4}, step=1)
    version = registry.register(run, checkpoint, tags={"snapshot_id": "…"})
    model = registry.load("models:/demo@champion")
"""

from .journal import Journal
from .registry import Registry
from .runs import Run
from .seals import CLIMATOLOGY_FILE, SEALS
from .tracking import Tracking
from .versions import CHALLENGER, CHAMPION, PREVIOUS_CHAMPION, ModelVersion, RegisteredModel

__all__ = [
    "CHALLENGER",
    "CHAMPION",
    "CLIMATOLOGY_FILE",
    "PREVIOUS_CHAMPION",
    "SEALS",
    "Journal",
    "ModelVersion",
    "RegisteredModel",
    "Registry",
    "Run",
    "Tracking",
]
