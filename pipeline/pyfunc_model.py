"""The registered model as MLflow sees it: `mlflow.pyfunc.load_model` runs this file ("models from code", no pickle).

Input: a dict with ``history`` float32 [B, T, P + F, H, W] in physical units (anomalies, where the model was trained on
anomalies: its ``climatology.npz`` lies beside the checkpoint) and, where it has forcings, ``forcing`` float32
[B, steps, F, H, W] beside the predicted frames; ``params={"steps": n}`` for a model without forcings. The forcings
beside a frame are those of the frame after it, as `windows` reads them. Output: float32 [B, steps, C, H, W], of which
the first P are fed back. The pipeline itself loads the checkpoint without MLflow's loader (see `registry`).
"""

from __future__ import annotations

from typing import Any

import mlflow
import numpy as np
import torch
from numpy.typing import NDArray

import minconv


class ForecasterModel(mlflow.pyfunc.PythonModel):
    """A `minconv.Forecaster` behind MLflow's model interface."""

    def load_context(self, context: Any) -> None:
        """Load the checkpoint that was registered with this file."""
        self._forecaster, _ = minconv.load(context.artifacts["checkpoint"])
        self._forecaster.eval()

    # Of the annotations that MLflow accepts for `model_input`, this one makes no schema: the signature, which names the
    # parts of the dict, is given instead.
    def predict(
        self,
        context: Any,
        model_input: np.ndarray,
        params: dict[str, Any] | None = None,
    ) -> NDArray[np.float32]:
        """Roll the model out; see the module's docstring for shapes."""
        inputs = model_input if isinstance(model_input, dict) else {"history": model_input}
        history = torch.as_tensor(np.asarray(inputs["history"], dtype=np.float32))
        forcing = inputs.get("forcing")
        future = None if forcing is None else torch.as_tensor(np.asarray(forcing, dtype=np.float32))
        steps = int((params or {}).get("steps", 1)) if future is None else future.shape[1]
        with torch.no_grad():
            frames = list(minconv.rollout(self._forecaster, history, steps, future))
        predicted: NDArray[np.float32] = torch.stack(frames, dim=1).numpy()
        return predicted


mlflow.models.set_model(ForecasterModel())
