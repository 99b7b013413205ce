"""The form in which a model is stored: an MLflow pyfunc made of our checkpoint and the code of `pyfunc_model`.

What lives here: storing the files and the signature. What does not: the version that is made of them (`registry`).

    info = log_model(run_id, checkpoint, (3, 2, 20, 28), extra=[folder / "config.yaml"])
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

_CODE = Path(__file__).resolve().parent.parent / "pyfunc_model.py"


def log_model(run_id: str, checkpoint: Path, sizes: tuple[int, ...], extra: Sequence[Path]) -> Any:
    """Store a checkpoint with the files beside it under a run; MLflow's description of what was stored."""
    import mlflow

    with mlflow.start_run(run_id=run_id, log_system_metrics=False), warnings.catch_warnings():
        # An example would be the size of the grid, as text; the signature says what the input is.
        warnings.filterwarnings("ignore", ".*An input example was not provided", UserWarning)
        return mlflow.pyfunc.log_model(
            name="model",
            python_model=str(_CODE),
            artifacts={"checkpoint": str(checkpoint), **{path.stem: str(path) for path in extra}},
            signature=_signature(*sizes),
            pip_requirements=["minconv-pipeline"],
        )


def _signature(channels_in: int, channels_out: int, height: int, width: int, diagnostics: int = 0) -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import ParamSchema, ParamSpec, Schema, TensorSpec

    frames = np.dtype(np.float32)
    forcings = channels_in - (channels_out - diagnostics)
    inputs = [TensorSpec(frames, (-1, -1, channels_in, height, width), "history")]
    if forcings:
        inputs.append(TensorSpec(frames, (-1, -1, forcings, height, width), "forcing"))
    return ModelSignature(
        inputs=Schema(inputs),
        outputs=Schema([TensorSpec(frames, (-1, -1, channels_out, height, width))]),
        params=ParamSchema([ParamSpec("steps", "long", 1)]),
    )
