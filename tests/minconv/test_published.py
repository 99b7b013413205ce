"""Parity with models of the published code, whose arithmetic is written down here independently, frame by frame."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import minconv
from minconv.errors import CheckpointDamagedError, CheckpointError, CheckpointMissingError
from minconv.published import convert_published, load_published
from minconv.rollout import rollout

CHANNELS, LAYERS, GRID = 6, 3, (8, 10)
BLOCKS = {"minconvgru": 2, "minconvlstm": 3, "minconvexplstm": 3, "convlstm": 4}
PADDING = {"periodic": "circular", "cylinder": "cylinder", "zeros": "zeros"}
CASES = [(cell, boundary) for cell in BLOCKS for boundary in PADDING]


def published(cell, boundary, norm=True):
    """A state dict with random values under the published names."""
    torch.manual_seed(0)
    cells, position = ("cgru" if cell == "minconvgru" else "clstm"), int(boundary == "cylinder")
    reads = CHANNELS * (2 if cell == "convlstm" else 1)
    shapes = {"encoder.0.weight": (CHANNELS, 1, 1, 1), "encoder.0.bias": (CHANNELS,)}
    for layer in range(LAYERS):
        shapes[f"{cells}.{layer}.conv.{position}.weight"] = (BLOCKS[cell] * CHANNELS, reads, 3, 3)
        shapes[f"{cells}.{layer}.conv.{position}.bias"] = (BLOCKS[cell] * CHANNELS,)
    for layer in range(LAYERS if norm else 0):
        shapes[f"norms.{layer}.weight"] = shapes[f"norms.{layer}.bias"] = GRID
    shapes |= {"decoder.weight": (1, CHANNELS, 1, 1), "decoder.bias": (1,)}
    scale = 0.4 if norm else 0.05  # without norms a closed loop of larger weights grows without end
    return {name: scale * torch.randn(shape, dtype=torch.float64) for name, shape in shapes.items()}


class Published:
    """The published model, in the plain form of its recurrences."""

    def __init__(self, weights, cell, boundary):
        self.weights, self.cell, self.boundary = weights, cell, boundary
        self.states = [None] * LAYERS

    def convolve(self, x, layer):
        cells, position = ("cgru" if self.cell == "minconvgru" else "clstm"), int(self.boundary == "cylinder")
        name = f"{cells}.{layer}.conv.{position}"
        rows = {"periodic": "circular"}.get(self.boundary, "constant")
        columns = {"zeros": "constant"}.get(self.boundary, "circular")
        padded = F.pad(F.pad(x, (1, 1, 0, 0), mode=columns), (0, 0, 1, 1), mode=rows)
        return F.conv2d(padded, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])

    def recur(self, x, layer):
        if self.cell == "convlstm":
            h, c = self.states[layer] or (torch.zeros_like(x), torch.zeros_like(x))
            new, i, f, o = self.convolve(torch.cat([x, h], 1), layer).chunk(4, 1)
            c = f.sigmoid() * c + i.sigmoid() * new.tanh()
            h = o.sigmoid() * c.tanh()
            self.states[layer] = (h, c)
            return h
        blocks = self.convolve(x, layer).chunk(BLOCKS[self.cell], 1)
        if self.cell == "minconvgru":
            share = blocks[0].sigmoid()
        elif self.cell == "minconvlstm":
            share = blocks[1].sigmoid() / (blocks[0].sigmoid() + blocks[1].sigmoid())
        else:
            share = blocks[1].exp() / (blocks[0].exp() + blocks[1].exp())
        new = torch.where(blocks[-1] >= 0, blocks[-1] + 0.5, blocks[-1].sigmoid())
        before = torch.full_like(new, 0.5) if self.states[layer] is None else self.states[layer]
        self.states[layer] = (1 - share) * before + share * new
        return self.states[layer]

    def step(self, frame):
        w = self.weights
        x = F.conv2d(frame, w["encoder.0.weight"], w["encoder.0.bias"])
        for layer in range(LAYERS):
            x = x + self.recur(x, layer)
            if f"norms.{layer}.weight" in w:
                x = F.layer_norm(x, GRID, w[f"norms.{layer}.weight"], w[f"norms.{layer}.bias"])
        return F.conv2d(x, w["decoder.weight"], w["decoder.bias"])


@pytest.mark.parametrize(("cell", "boundary"), CASES)
@pytest.mark.parametrize("norm", [True, False])
def test_numbers_are_those_of_the_published_model(cell, boundary, norm):
    weights = published(cell, boundary, norm)
    forecaster = convert_published(weights, cell=cell, boundary=boundary)
    x = torch.randn(2, 7, 1, *GRID, dtype=torch.float64)
    model = Published(weights, cell, boundary)
    seen = [model.step(frame) for frame in x.unbind(1)]
    closed = [seen[-1]]
    for _ in range(4):
        closed.append(model.step(closed[-1]))
    with torch.no_grad():
        y, _ = forecaster(x)
        predicted = list(rollout(forecaster, x, steps=5))
    torch.testing.assert_close(y, torch.stack(seen, 1), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(torch.stack(predicted, 1), torch.stack(closed, 1), rtol=1e-9, atol=1e-9)


def test_a_checkpoint_file_is_read_and_saved_in_our_format(tmp_path):
    weights = {f"_orig_mod.{name}": value.float() for name, value in published("minconvgru", "cylinder").items()}
    content = {"model_state_dict": weights, "epoch": 3, "best_val_error": np.float32(0.1).reshape(())}
    torch.save(content, tmp_path / "published.ckpt")
    forecaster = load_published(tmp_path / "published.ckpt", cell="minconvgru", boundary="cylinder")
    minconv.save(tmp_path / "ours", forecaster)
    again, _ = minconv.load(tmp_path / "ours")
    x = torch.randn(1, 3, 1, *GRID)
    torch.testing.assert_close(again(x)[0], forecaster(x)[0], rtol=0, atol=0)


class Payload:
    def __reduce__(self):
        return (print, ("executed",))


def test_a_pickle_is_not_executed(tmp_path, capsys):
    torch.save({"model_state_dict": Payload()}, tmp_path / "bad.ckpt")
    with pytest.raises(CheckpointDamagedError, match=r"must be a checkpoint of the published training script"):
        load_published(tmp_path / "bad.ckpt", cell="minconvgru", boundary="periodic")
    assert capsys.readouterr().out == ""


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(CheckpointMissingError, match="there is no checkpoint"):
        load_published(tmp_path / "none.ckpt", cell="minconvgru", boundary="periodic")


@pytest.mark.parametrize(
    ("change", "cell", "boundary", "message"),
    [
        ({}, "convgru", "periodic", "cell must be one of .*, got 'convgru'; the published ConvGRU"),
        ({}, "minconvlstm", "periodic", r"must have names like 'clstm.0.conv.0.weight'"),
        ({}, "minconvgru", "cylinder", r"trained without cylinder padding, got boundary 'cylinder'"),
        ({"decoder.bias": None}, "minconvgru", "periodic", "decoder.bias must be a tensor .*, got NoneType"),
        ({"extra": torch.ones(1)}, "minconvgru", "periodic", "the state dict holds 'extra', which a published"),
        ({"norms.0.weight": torch.ones(6)}, "minconvgru", "periodic", r"LayerNorm over the grid, got shape \(6,\)"),
        (
            {"cgru.1.conv.0.weight": torch.ones(18, 6, 3, 3)},
            *(
                "minconvgru",
                "periodic",
                r"layers.1.cell.weight .* must have shape \(12, 6, 3, 3\), got \(18, 6, 3, 3\)",
            ),
        ),
    ],
)
def test_another_model_is_refused(change, cell, boundary, message):
    with pytest.raises(CheckpointError, match=message):
        convert_published({**published("minconvgru", "periodic"), **change}, cell=cell, boundary=boundary)
