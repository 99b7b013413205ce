"""Models trained with the code that was published with the paper, as a `Forecaster`.

What lives here: the names and shapes of their state dicts, and the way to ours (docs/published-models.md has both as
tables). What does not: reading other people's pickles; `load_published` reads tensors and plain data only.

    forecaster = load_published("ns_mcgru_best.ckpt", cell="minconvgru", boundary="periodic")
    minconv.save("ns_mcgru", forecaster)

Source: github.com/AdaptiveAILab/minconvrnns, the code of Horuz et al. 2025, arXiv 2508.03614. Frames are what that code
feeds its models: its normalisation of the data is not part of its state dicts.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .config import Boundary, Cell, ForecasterConfig
from .errors import CheckpointDamagedError, CheckpointError, CheckpointMissingError
from .model import Forecaster

# Name of the list of cells, and how many times its hidden channels a cell's convolution reads and writes.
_CELLS: dict[str, tuple[str, int, int]] = {
    "minconvgru": ("cgru", 1, 2),
    "minconvlstm": ("clstm", 1, 3),
    "minconvexplstm": ("clstm", 1, 3),
    "convlstm": ("clstm", 2, 4),
}
_COMPILED = "_orig_mod."  # what torch.compile puts before every name
# Beside tensors a checkpoint holds its best validation error, an array of numpy.
_ARRAYS: list[Any] = [
    *(np._core.multiarray._reconstruct, np._core.multiarray.scalar),
    *(np.ndarray, np.dtype, type(np.dtype(np.float32)), type(np.dtype(np.float64))),
]


def load_published(path: str | Path, *, cell: Cell, boundary: Boundary) -> Forecaster:
    """Read a checkpoint file that the published training script wrote; arguments and errors as in `convert_published`.

    Raises:
        CheckpointMissingError: There is no such file.
        CheckpointDamagedError: The file is not such a checkpoint, or holds more than tensors and plain data.
    """
    try:
        with torch.serialization.safe_globals(_ARRAYS):
            content = torch.load(path, map_location="cpu", weights_only=True)
        return convert_published(content["model_state_dict"], cell=cell, boundary=boundary)
    except FileNotFoundError as error:
        raise CheckpointMissingError(f"there is no checkpoint {path}; check the path") from error
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointDamagedError(
            f"{path} must be a checkpoint of the published training script with a 'model_state_dict' ({reason})"
        ) from error


def convert_published(state_dict: Mapping[str, Any], *, cell: Cell, boundary: Boundary) -> Forecaster:
    """A Forecaster with the weights of a published model.

    Args:
        state_dict: Of a model of the published code, compiled or not.
        cell: Which one: MinConvLSTM and MinConvExpLSTM have the same names and shapes.
        boundary: Its padding_mode: "periodic" for circular, "cylinder", "zeros".

    Returns:
        The Forecaster, in eval mode and the dtype of the weights: post-norm, residual, no tendency. It predicts what
        the published model does, teacher-forced and in closed loop.

    Raises:
        CheckpointError: The state dict is that of another model: a name is missing or unknown, or a shape differs.
    """
    if cell not in _CELLS:
        raise CheckpointError(
            f"cell must be one of {', '.join(_CELLS)}, got {cell!r}; the published ConvGRU decodes its last cell "
            "past the residual and the norm, which a Forecaster does not"
        )
    given = {name.removeprefix(_COMPILED): value for name, value in state_dict.items()}
    names = _Names(given, cell, boundary)
    hidden, channels = names.shape("encoder.0.weight", 4)[:2]
    config = ForecasterConfig(
        in_channels=channels,
        out_channels=names.shape("decoder.weight", 4)[0],
        hidden=(hidden,) * names.layers,
        cell=cell,
        boundary=boundary,
        norm="none" if names.grid_shape is None else "layer_hw",
        grid_shape=names.grid_shape,
        post_norm=True,
    )
    forecaster = Forecaster(config).to(names.take("decoder.weight").dtype)
    found = {name: value.clone() for name, value in _renamed(names, cell, hidden).items()}
    own = forecaster.state_dict()
    for name, value in found.items():
        if own[name].shape != value.shape:
            raise CheckpointError(
                f"{name} of a {cell} with {hidden} hidden channels must have shape {tuple(own[name].shape)}, got "
                f"{tuple(value.shape)}; name the cell that was trained"
            )
    if names.left:
        raise CheckpointError(f"the state dict holds {sorted(names.left)[0]!r}, which a published {cell} does not have")
    forecaster.load_state_dict({**{name: own[name] for name in own if name.startswith("normalizer.")}, **found})
    return forecaster.eval()


class _Names:
    """The entries of a published state dict; `left` are those not asked for yet."""

    def __init__(self, given: Mapping[str, Any], cell: str, boundary: str) -> None:
        self._given, self.left = given, set(given)
        self._cells = _CELLS[cell][0]
        numbers = [int(found[1]) for name in given if (found := re.match(rf"{self._cells}\.(\d+)\.conv\.", name))]
        if not numbers:
            raise CheckpointError(
                f"the state dict of a published {cell} must have names like '{self._cells}.0.conv.0.weight', got "
                f"{', '.join(sorted(given)[:3]) or 'none'}, ..."
            )
        self.layers = max(numbers) + 1
        # Cylinder padding is a module of its own, before the convolution.
        self._position = 1 if boundary == "cylinder" else 0
        other = f"{self._cells}.0.conv.{1 - self._position}.weight"
        if other in given:
            raise CheckpointError(
                f"the model was trained with{'' if self._position == 0 else 'out'} cylinder padding, got boundary "
                f"{boundary!r}; name the one it was trained with"
            )
        self.grid_shape: tuple[int, int] | None = None
        if "norms.0.weight" in given:
            shape = self.shape("norms.0.weight", 2)
            self.grid_shape = (shape[0], shape[1])

    def shape(self, name: str, dimensions: int) -> tuple[int, ...]:
        """Shape of an entry with that many dimensions."""
        shape = tuple(self.take(name).shape)
        if len(shape) != dimensions:
            expected = (
                "(H, W), of a LayerNorm over the grid" if name.startswith("norms") else f"{dimensions} dimensions"
            )
            raise CheckpointError(f"{name} must have {expected}, got shape {shape}")
        return shape

    def take(self, name: str) -> Tensor:
        """The entry of that name."""
        value = self._given.get(name)
        if not isinstance(value, Tensor):
            raise CheckpointError(f"{name} must be a tensor of the state dict, got {type(value).__name__}")
        self.left.discard(name)
        return value

    def of_cell(self, layer: int, kind: str) -> Tensor:
        """Weight or bias of a cell's convolution."""
        return self.take(f"{self._cells}.{layer}.conv.{self._position}.{kind}")


def _renamed(names: _Names, cell: str, hidden: int) -> dict[str, Tensor]:
    """Our names with their values."""
    found = {f"encoder.{kind}": names.take(f"encoder.0.{kind}") for kind in ("weight", "bias")}
    found |= {f"decoder.{kind}": names.take(f"decoder.{kind}") for kind in ("weight", "bias")}
    for layer in range(names.layers):
        weight, bias = (names.of_cell(layer, kind) for kind in ("weight", "bias"))
        stem = f"layers.{layer}"
        if cell == "convlstm":
            weight, bias = (_forget_first(value) for value in (weight, bias))
            found[f"{stem}.cell.input.weight"] = weight[:, :hidden]
            found[f"{stem}.cell.recurrent.weight"] = weight[:, hidden:]
            found[f"{stem}.cell.input.bias"] = bias
        else:
            found |= {f"{stem}.cell.weight": weight, f"{stem}.cell.bias": bias}
        if names.grid_shape is not None:
            found |= {f"{stem}.norm.{kind}": names.take(f"norms.{layer}.{kind}") for kind in ("weight", "bias")}
    return found


def _forget_first(parameter: Tensor) -> Tensor:
    """Blocks g, i, f, o of the published ConvLSTM in our order f, i, o, g."""
    g, i, f, o = parameter.chunk(4)
    return torch.cat([f, i, o, g])
