"""The demo's fluid, a few simulations of it, as the benchmarks of a training use it.

config = archived_fluid(Path("folder"), samples=20, workers=2)
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline import archive
from pipeline.config import Config, check_config
from pipeline.ingest import ingest
from pipeline.synthetic import generate

BATCH = 4


def archived_fluid(root: Path, samples: int, **training: Any) -> Config:
    """Its configuration; simulated and archived below `root`, unless that is done.

    Args:
        root: Folder of the runs.
        samples: Simulations.
        training: Options of the training, one thread each worker and batches of `BATCH` if they say no other.
    """
    config = check_config(
        {
            "name": "fluid",
            "root": str(root),
            "generate": {"kind": "navier_stokes", "samples": samples, "steps": 50, "size": 32, "coarsen": 2},
            "variables": {"vorticity": {"units": "s-1"}},
            "split": {"train": 0.8, "validation": 0.1, "test": 0.1},
            "window": {"history": 20, "horizon": 20, "stride": 10},
            "training": {"batch_size": BATCH, "threads": 1, **training},
        }
    )
    if not archive.exists(config.archive_path):
        assert config.generate is not None
        generate(config.generate, config.source_path)
        ingest(config)
    return config
