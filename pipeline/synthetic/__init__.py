"""Made data: seeded simulations written as CF NetCDF files with a `sample` axis.

What lives here: `generate`, which writes the files. What does not: the simulations (`navier_stokes`, `advection`) and
reading the files back (`pipeline.sources`).

    paths = generate(GenerateConfig(kind="advection", samples=8), Path("made"))

A file depends on its request alone (kind, sizes, seed, its samples), which it carries as attribute ``request``. A file
that is there already is kept; a folder made by another request is refused, never overwritten.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
from numpy.typing import NDArray

from ..config import GenerateConfig
from ..errors import ConfigError, PipelineError
from ..interruption import held_back
from ..progress import Event, Progress, silent
from . import advection, navier_stokes
from .pooling import pooled_positions

__all__ = ["generate"]

# Raised when the numbers that a request gives change, so that old files are not taken for new ones.
REVISION = 1
_OF_NOISE = 1  # in the seed: the noise is not that of the simulation's start


@dataclass(frozen=True)
class _Kind:
    """How a simulation's variable is described in its files."""

    variable: str
    units: str
    long_name: str
    title: str
    references: str


KINDS = {
    "navier_stokes": _Kind(
        variable="vorticity",
        units="s-1",
        long_name="vorticity of the two-dimensional flow",
        title="Forced two-dimensional Navier-Stokes flow on the unit torus, viscosity 1e-3",
        references="Li et al. 2021, arXiv:2010.08895; Horuz et al. 2025, arXiv:2508.03614",
    ),
    "advection": _Kind(
        variable="tracer",
        units="1",
        long_name="concentration of the tracer",
        title="Gaussian blobs carried round the unit torus at constant velocity",
        references="exact solution",
    ),
}


def generate(config: GenerateConfig, out: Path, progress: Progress = silent) -> list[Path]:
    """Simulate what the configuration asks for and write it as NetCDF files, each whole or not at all.

    Args:
        config: What to simulate.
        out: Folder of the files; made where it is not.
        progress: Told after every block of samples.

    Returns:
        The files, in order of their samples; `samples_per_file` in each but the last.

    Raises:
        ConfigError: `coarsen` does not divide `size`, or the folder holds files of another request.
        PipelineError: A file cannot be written.
    """
    if config.size % config.coarsen:
        raise ConfigError(
            f"generate.coarsen must divide generate.size ({config.size}), got {config.coarsen}; change one"
        )
    wanted = {
        out / f"{config.kind}_{number:04d}.nc": range(first, min(first + config.samples_per_file, config.samples))
        for number, first in enumerate(range(0, config.samples, config.samples_per_file))
    }
    here = _already_there(config, out, wanted)
    started, made, kept = time.perf_counter(), 0, sum(len(wanted[path]) for path in here)

    def report(count: int, path: Path) -> None:
        nonlocal made
        made += count
        values = {"samples_per_second": made / max(time.perf_counter() - started, 1e-9)}
        progress(Event("generate", kept + made, config.samples, "samples", values, path.name))

    for path, samples in wanted.items():
        if path not in here:
            _write(path, config, samples, report)
    if not made:
        progress(Event("generate", kept, config.samples, "samples", message="already there"))
    return list(wanted)


def _already_there(config: GenerateConfig, out: Path, wanted: Mapping[Path, range]) -> set[Path]:
    """Those of the wanted files that are there already; a generated file that is not wanted is an error."""
    here = {path for path, samples in wanted.items() if _is_of(path, _request(config, samples))}
    for path in sorted(path for kind in KINDS for path in out.glob(f"{kind}_[0-9]*.nc")):
        if path not in here:
            raise ConfigError(
                f"{path} is of another request (other samples, sizes or seed) or damaged; choose another folder or "
                "name, or delete it and start again"
            )
    return here


def _request(config: GenerateConfig, samples: range) -> str:
    """Everything that the numbers in a file depend on, as canonical JSON."""
    content = {
        "kind": config.kind,
        "samples": [samples.start, samples.stop],
        "steps": config.steps,
        "size": config.size,
        "coarsen": config.coarsen,
        "seed": config.seed,
        "revision": REVISION,
        **({"noise": config.noise} if config.noise else {}),
    }
    return json.dumps(content, sort_keys=True)


def _is_of(path: Path, request: str) -> bool:
    """Whether the file is there, can be opened and was made by this request."""
    try:
        with netCDF4.Dataset(path) as file:
            return bool(getattr(file, "request", None) == request)
    except OSError:
        return False


def _write(path: Path, config: GenerateConfig, samples: range, report: Callable[[int, Path], None]) -> None:
    """Write one file beside its place and move it there when whole; `report` hears of every block of samples."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with netCDF4.Dataset(part, "w", format="NETCDF4") as file:
            with held_back():
                variable = _lay_out(file, config, samples)
            first = 0
            for block in _simulate(config, samples):
                with held_back():
                    variable[first : first + len(block)] = block
                first += len(block)
                report(len(block), path)
        with part.open("rb") as written:
            os.fsync(written.fileno())
        part.replace(path)
    except (OSError, RuntimeError) as error:
        # The NetCDF library reports a full disk as RuntimeError; others come from the simulation.
        if isinstance(error, RuntimeError) and "NetCDF" not in str(error):
            raise
        raise PipelineError(
            f"{path} could not be written ({error}); free disk space or choose another folder"
        ) from error
    finally:
        with suppress(OSError):
            part.unlink()


def _simulate(config: GenerateConfig, samples: range) -> Iterator[NDArray[np.float32]]:
    simulation = navier_stokes.navier_stokes if config.kind == "navier_stokes" else advection.advection
    first = samples.start
    for block in simulation(samples, config.steps, config.size, config.seed, coarsen=config.coarsen):
        yield _noisy(block, config, first) if config.noise else block
        first += len(block)


def _noisy(block: NDArray[np.float32], config: GenerateConfig, first: int) -> NDArray[np.float32]:
    """Samples with the error of every value; that of a sample depends on the seed and its number alone."""
    for number, sample in enumerate(block, first):
        random = np.random.Generator(np.random.Philox(np.random.SeedSequence((config.seed, number, _OF_NOISE))))
        sample += config.noise * random.standard_normal(sample.shape, dtype=np.float32)
    return block


def _lay_out(file: Any, config: GenerateConfig, samples: range) -> Any:
    """Dimensions, coordinates and attributes of a new file; returns its still empty variable."""
    kind = KINDS[config.kind]
    place = {"units": "1", "long_name": "position, in sides of the domain"}
    positions = pooled_positions(config.size, config.coarsen)
    axes: dict[str, tuple[NDArray[Any], dict[str, str]]] = {
        "sample": (np.arange(samples.start, samples.stop), {"long_name": "number of the simulation"}),
        "time": (np.arange(float(config.steps)), {"units": "s", "long_name": "time since the start", "axis": "T"}),
        "y": (positions, {**place, "axis": "Y"}),
        "x": (positions, {**place, "axis": "X"}),
    }
    for name, (values, attributes) in axes.items():
        file.createDimension(name, len(values))
        axis = file.createVariable(name, values.dtype, (name,), fill_value=False)
        axis.setncatts(attributes)
        axis[:] = values
    file.setncatts(
        {
            "Conventions": "CF-1.11",
            "title": kind.title,
            "source": f"minconv generate {config.kind.replace('_', '-')}",
            "references": kind.references,
            "comment": f"{config.size} x {config.size} points, mean over {config.coarsen} x {config.coarsen}; "
            f"periodic in x and y; seed {config.seed}"
            + (f"; noise of standard deviation {config.noise:g} added" if config.noise else ""),
            "request": _request(config, samples),
        }
    )
    variable = file.createVariable(kind.variable, "f4", tuple(axes), fill_value=False)
    variable.setncatts({"units": kind.units, "long_name": kind.long_name})
    return variable
