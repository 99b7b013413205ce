"""Long sequences and large grids: what a training step of a whole model costs, and how exact its gradients are.

    python tests/bench/long.py             # both cases, about ten minutes of processor time; Markdown
    python tests/bench/long.py --case sequence --frames 100 2000 --cells minconvgru convlstm
    python tests/bench/long.py --case grid --size 512 --tile 128

`sequence`: a step (forward, backward) on one sequence of T frames of 16 x 16 points and one channel, two layers of 16
channels whose gates start with a memory of T frames (`--gates half`: as they do unless asked). A mode is `whole`;
`segments`, as `training.truncate` does it (100 frames each, gradients stop between them); `recomputed`, activation
checkpointing; `log domain`, the paper's prefix sum. Errors are relative L2 norms against the same model in float64: of
the gradient by all parameters, and by the input; that of segments includes what the cut leaves out.

`grid`: a step on 4 frames of a size x size field with the whole field, with one tile of it (halo as wide as the model
reaches) and with all tiles one after the other; then a forecast of 4 frames on tiles against that of the whole field.

Times are processor time of one thread (other processes of the machine disturb it less than the clock), the least of the
rounds; modes of one size take turns. Memory is the peak of a process of its own that does two steps, less what
it held before the first.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from minconv import Forecaster, ForecasterConfig, State, keep_freed_memory, rollout
from pipeline.grid import GridSpec
from pipeline.machine import processor_name
from pipeline.tiled_rollout import on_tiles, tiled_rollout
from pipeline.tiles import Halo, Tiling

CELLS = ("minconvgru", "minconvlstm", "minconvexplstm", "convgru", "convlstm")
MODES = ("whole", "segments", "recomputed", "log domain")
SEGMENT = 100
POINTS, WIDTH, LAYERS = 16, 16, 2
GRID_FRAMES, GRID_STEPS = 4, 4
Step = Callable[[], object]


@dataclass(frozen=True)
class Request:
    """One step, in words that another process understands."""

    case: str
    cell: str
    mode: str
    frames: int
    size: int = POINTS
    tile: int = 0
    memory: int | None = None


def model(request: Request, dtype: torch.dtype = torch.float32) -> Forecaster:
    """The model of a request; all with the same cell have the same weights."""
    torch.manual_seed(0)
    config = ForecasterConfig(
        in_channels=1,
        out_channels=1,
        hidden=(WIDTH,) * LAYERS,
        cell=request.cell,
        patch=1 if request.case == "sequence" else 2,
    )
    backend = "logspace" if request.mode == "log domain" else "auto"
    again = request.mode == "recomputed"
    return Forecaster(config, backend, activation_checkpointing=again, memory=request.memory).to(dtype)


def frames(request: Request) -> Tensor:
    """Noise, one frame more than the step predicts from."""
    torch.manual_seed(1)
    return torch.randn(1, request.frames + 1, 1, request.size, request.size)


def learn(forecaster: Forecaster, x: Tensor, segment: int) -> None:
    """Gradients of the mean squared error of all frames, segment by segment, each going on from the state before."""
    predicted = x.shape[1] - 1
    state: State | None = None
    for start in range(0, predicted, segment):
        stop = min(start + segment, predicted)
        y, state = forecaster(x[:, start:stop], state)
        (F.mse_loss(y, x[:, start + 1 : stop + 1]) * ((stop - start) / predicted)).backward()
        state = tuple(one.detach() for one in state)


def tiling(request: Request) -> Tiling:
    """The field cut into tiles with the halo that the model needs."""
    reach = 2 * LAYERS  # patch x layers x half the kernel
    return Tiling.of(grid(request.size), (request.tile, request.tile), Halo(reach, reach))


def grid(size: int) -> GridSpec:
    """A square that wraps."""
    axis = tuple(float(point) for point in range(size))
    return GridSpec(axis, axis, "y", "x", geographic=False, boundary="periodic")


def step(request: Request) -> Step:
    """What is timed: a training step."""
    forecaster, x = model(request), frames(request)
    if request.case == "sequence":
        segment = SEGMENT if request.mode == "segments" else request.frames
        parts, learner = [x], forecaster
    elif request.mode == "whole":
        segment, parts, learner = request.frames, [x], forecaster
    else:
        tiles = tiling(request).tiles
        segment, learner = request.frames, on_tiles(forecaster)
        parts = [tile.cut(x) for tile in (tiles[:1] if request.mode == "one tile" else tiles)]

    def run() -> None:
        forecaster.zero_grad()
        for part in parts:
            learn(learner, part, segment)

    return run


def times(requests: list[Request], rounds: int) -> dict[str, float]:
    """Least processor time of each mode; they take turns."""
    steps = {request.mode: step(request) for request in requests}
    found: dict[str, list[float]] = {mode: [] for mode in steps}
    for number in range(rounds + 1):
        for mode, run in steps.items():
            begin = time.process_time()
            run()
            if number or rounds == 1:
                found[mode].append(time.process_time() - begin)
    return {mode: min(seconds) for mode, seconds in found.items()}


def peak_mib(request: Request) -> float:
    """Peak memory of two steps in a process of its own, less what it held before them."""
    command = [sys.executable, __file__, "--only", json.dumps(asdict(request))]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def _run_alone(request: Request) -> None:
    step(Request("sequence", request.cell, "whole", 2))()  # what libraries take once is not the step's
    run, before = step(request), _status("VmRSS")
    for _ in range(2):
        run()
    print(_status("VmHWM") - before)


def _status(name: str) -> float:
    """Of this process, in MiB; not getrusage, which counts from the parent's size on."""
    return int(Path("/proc/self/status").read_text().partition(f"{name}:")[2].split()[0]) / 1024


def gradients(request: Request, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """By all parameters, and by the input, in float64."""
    forecaster, x = model(request, dtype), frames(request).to(dtype).requires_grad_()
    learn(forecaster, x, SEGMENT if request.mode == "segments" else request.frames)
    by_parameters = torch.cat([one.grad.double().flatten() for one in forecaster.parameters() if one.grad is not None])
    assert x.grad is not None
    return by_parameters, x.grad.double()


def errors(requests: list[Request]) -> dict[str, tuple[float, ...]]:
    """Of each mode's float32 gradients, to those of the whole sequence in float64."""
    truth = gradients(requests[0], torch.float64)
    return {
        request.mode: tuple(
            ((found - expected).norm() / expected.norm()).item()
            for found, expected in zip(gradients(request, torch.float32), truth, strict=True)
        )
        for request in requests
    }


def sequence_table(cells: list[str], lengths: list[int], modes: list[str], remember: bool, rounds: int) -> None:
    """One row for each cell, length and mode."""
    print("| cell | T | mode | ms a frame | times whole | MiB | KiB a frame | error, parameters | error, input |")
    print("|---|--:|---|--:|--:|--:|--:|--:|--:|")
    for cell in cells:
        loops = cell.startswith("conv")
        chosen = [mode for mode in modes if not (loops and mode == "log domain")]
        for length in lengths:
            # Segments of the whole length are the whole.
            kept = [mode for mode in chosen if length > SEGMENT or mode != "segments"]
            memory = length if remember else None
            requests = [Request("sequence", cell, mode, length, memory=memory) for mode in kept]
            seconds, wrong = times(requests, rounds), errors(requests)
            for request in requests:
                mode, peak = request.mode, peak_mib(request)
                by_parameters, by_input = wrong[mode]
                print(
                    f"| {cell} | {length} | {mode} | {1e3 * seconds[mode] / length:.2f} "
                    f"| {seconds[mode] / seconds[requests[0].mode]:.2f} | {peak:.0f} | {1024 * peak / length:.0f} "
                    f"| {by_parameters:.1e} | {by_input:.1e} |",
                    flush=True,
                )


def grid_table(cells: list[str], size: int, tile: int, rounds: int) -> None:
    """The whole field, one tile, all tiles; then the forecasts."""
    print("| cell | step on | ms a frame | times whole | MiB | forecast on tiles, largest deviation |")
    print("|---|---|--:|--:|--:|--:|")
    for cell in cells:
        requests = [Request("grid", cell, mode, GRID_FRAMES, size, tile) for mode in ("whole", "one tile", "all tiles")]
        seconds = times(requests, rounds)
        for request in requests:
            mode = request.mode
            deviation = f"{largest_deviation(request):.1e}" if mode == "all tiles" else ""
            print(
                f"| {cell} | {mode} | {1e3 * seconds[mode] / GRID_FRAMES:.0f} "
                f"| {seconds[mode] / seconds['whole']:.2f} | {peak_mib(request):.0f} | {deviation} |",
                flush=True,
            )


@torch.no_grad()
def largest_deviation(request: Request) -> float:
    """Of a forecast on tiles from that of the whole field, in standard deviations of the latter."""
    forecaster, history = model(request), frames(request)[:, 1:]
    whole = torch.stack(list(rollout(forecaster, history, GRID_STEPS)))
    forcing = history.new_zeros((1, GRID_STEPS, 0, request.size, request.size))
    mask = torch.ones((request.size, request.size), dtype=torch.bool)
    tiled = tiled_rollout(on_tiles(forecaster), history, GRID_STEPS, forcing, mask, tiling(request))
    return ((torch.stack(list(tiled)) - whole).abs().max() / whole.std()).item()


def main() -> None:
    """Print the tables that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", action="append", choices=("sequence", "grid"), help="repeatable; default: both")
    parser.add_argument("--cells", nargs="+", default=list(CELLS), choices=CELLS)
    parser.add_argument("--frames", type=int, nargs="+", default=[100, 500, 2000])
    parser.add_argument("--modes", nargs="+", default=list(MODES), choices=MODES)
    parser.add_argument("--gates", default="long", choices=("long", "half"), help="of sequence: where they start")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--tile", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", metavar="REQUEST", help=argparse.SUPPRESS)  # a process that measures its memory
    arguments = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)
    if arguments.only:
        return _run_alone(Request(**json.loads(arguments.only)))
    print(f"{processor_name()}, one thread; torch {torch.__version__}, Python {platform.python_version()}, ", end="")
    print(f"{time.strftime('%Y-%m-%d')}; processor time\n")
    cases = arguments.case or ["sequence", "grid"]
    if "sequence" in cases:
        remember = arguments.gates == "long"
        sequence_table(arguments.cells, arguments.frames, arguments.modes, remember, arguments.rounds)
    if "grid" in cases:
        cells = [cell for cell in arguments.cells if not cell.startswith("conv")]  # the others do not go with tiles
        grid_table(cells, arguments.size, arguments.tile, arguments.rounds)
    return None


if __name__ == "__main__":
    main()
