"""Two-dimensional turbulence: the vorticity of a forced, viscous fluid on the unit torus.

    ∂w/∂t + u·∇w = ν Δw + f,    u = (∂ψ/∂y, -∂ψ/∂x),    Δψ = -w,    f = 0.1 (sin 2π(x+y) + cos 2π(x+y))

The set-up of Li et al. 2021, "Fourier Neural Operator for Parametric Partial Differential Equations" (arXiv
2010.08895), as used by Horuz et al. 2025 (arXiv 2508.03614): ν = 1e-3, started from a Gaussian random field, recorded
every unit of time. Solved in Fourier modes with the 2/3 rule against aliasing, Crank-Nicolson for diffusion and
second-order Adams-Bashforth for advection, in float64 (float32 takes 0.6 of the time, but from dt = 1e-2 down its
rounding is the larger error).

Mean enstrophy, half the mean square of w: 0.058 at t = 0, 0.24 at t = 10, 0.48 at t = 30.

What lives here: the start, the solver, sequences of frames. What does not: files (`pipeline.synthetic`).

    for block in navier_stokes(range(96), steps=50, size=32, seed=0, coarsen=2):
        block      # float32 [n, 50, 16, 16]
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import ConfigError
from .pooling import mean_pool

Floats = NDArray[np.float64]

VISCOSITY = 1e-3
FORCING = 0.1
# Gaussian random field of covariance σ² (-Δ + τ²)^(-α), σ = τ^((2α - d) / 2) in d = 2 dimensions.
ALPHA, TAU = 2.0, 7.0
# Grid points of a block of samples: its handful of float64 fields then stays near one core.
BLOCK_POINTS = 2**15


def stable_step(size: int) -> float:
    """Time step for `size` points a side, a whole fraction of the unit of time: 1e-2 at 64 points, 2e-2 at 32.

    The flow's speed stays below about 0.3, so nothing crosses more than a fifth of a grid cell in a step. Error
    measured with this step, root mean square at t = 30 for a field of order one: 7e-5 at 32 points, 2e-5 at 64.
    """
    return 1.0 / math.ceil(size / 0.64)


def enstrophy(vorticity: Floats) -> Floats:
    """Half the mean square over the last two axes."""
    return np.asarray(0.5 * np.square(vorticity).mean(axis=(-2, -1)))


def random_field(samples: Sequence[int], size: int, seed: int) -> Floats:
    """Gaussian random fields of zero mean, [N, size, size]; the start of the simulations.

    Sample k depends on `seed` and k alone, and has the same large scales at every size: the noise is drawn from the
    largest scale to the smallest.

    Args:
        samples: Their numbers.
        size: Points along each side.
        seed: Of the whole set.
    """
    modes = np.fft.fftfreq(size, 1.0 / size)
    ky, kx = np.meshgrid(modes, modes, indexing="ij")
    outwards = np.lexsort((kx.ravel(), ky.ravel(), np.maximum(abs(kx), abs(ky)).ravel()))
    # √2 because half the variance goes with the imaginary part, which is dropped.
    amplitude = math.sqrt(2.0) * TAU ** (ALPHA - 1.0) * (4.0 * np.pi**2 * (kx**2 + ky**2) + TAU**2) ** (-ALPHA / 2.0)
    amplitude[0, 0] = 0.0
    fields = np.empty((len(samples), size, size))
    for row, sample in enumerate(samples):
        generator = np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, sample))))
        noise = np.empty(size * size, dtype=np.complex128)
        noise[outwards] = generator.standard_normal((size * size, 2)).view(np.complex128)[:, 0]
        fields[row] = np.fft.ifft2(noise.reshape(size, size) * amplitude, norm="forward").real
    return fields


def evolve(
    start: Floats,
    steps: int,
    *,
    viscosity: float = VISCOSITY,
    forcing: float = FORCING,
    time_step: float | None = None,
    interval: float = 1.0,
) -> Iterator[Floats]:
    """Frames of a batch of flows at t = 0, interval, 2 · interval, ...

    Args:
        start: Vorticity [N, S, S], (y, x), on the points i / S.
        steps: How many frames, the start included (without the modes that the 2/3 rule removes).
        viscosity: ν.
        forcing: Amplitude of f.
        time_step: dt, rounded to a whole fraction of the interval; None takes `stable_step`.
        interval: Time between frames.

    Yields:
        Vorticity [N, S, S].

    Raises:
        ConfigError: The step was too long and the solution ran away.
    """
    size = start.shape[-1]
    substeps = max(round(interval / (time_step or stable_step(size))), 1)
    solver = _Solver(size, interval / substeps, viscosity, forcing)
    modes = torch.fft.rfft2(torch.from_numpy(start)) * solver.kept
    ahead, _ = solver.step(modes, solver.advection(modes))
    before = solver.advection(2.0 * modes - ahead)  # one step before the start, as the two-step scheme wants
    for frame in range(steps):
        if frame:
            for _ in range(substeps):
                modes, before = solver.step(modes, before)
        field: Floats = torch.fft.irfft2(modes, s=(size, size)).numpy()
        if not np.isfinite(field).all():
            raise ConfigError(f"the flow became unstable with time step {interval / substeps:g}; choose a shorter one")
        yield field


def navier_stokes(
    samples: Sequence[int],
    steps: int,
    size: int,
    seed: int,
    *,
    coarsen: int = 1,
    time_step: float | None = None,
    block_points: int = BLOCK_POINTS,
) -> Iterator[NDArray[np.float32]]:
    """Simulate some samples, a block at a time, so that memory is bounded.

    Args:
        samples: Their numbers; sample k depends on `seed` and k alone, not on the others.
        steps: Frames recorded, at t = 0, 1, ..., steps - 1.
        size: Points along each side of the simulation.
        seed: Of the whole set.
        coarsen: Mean over this many points along each side in the frames.
        time_step: dt; None takes `stable_step`.
        block_points: Grid points of a block.

    Yields:
        Vorticity float32 [n, steps, size / coarsen, size / coarsen] of the next n samples.
    """
    together = max(block_points // size**2, 1)
    for first in range(0, len(samples), together):
        start = random_field(samples[first : first + together], size, seed)
        with _one_thread():
            frames = (mean_pool(frame, coarsen) for frame in evolve(start, steps, time_step=time_step))
            block = np.stack([frame.astype(np.float32) for frame in frames], axis=1)
        yield block


@contextmanager
def _one_thread() -> Iterator[None]:
    """Run torch on one thread: fields this small gain little from two, and lose tenfold where the cores are busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class _Solver:
    """Coefficients for one grid and time step; the state is passed in and out.

    Args:
        size: Points along each side.
        time_step: dt.
        viscosity: ν.
        forcing: Amplitude of f.
    """

    def __init__(self, size: int, time_step: float, viscosity: float, forcing: float) -> None:
        points = torch.arange(size, dtype=torch.float64) / size
        phase = 2.0 * math.pi * (points[:, None] + points)
        rows = torch.fft.fftfreq(size, 1.0 / size, dtype=torch.float64)[:, None]
        columns = torch.fft.rfftfreq(size, 1.0 / size, dtype=torch.float64)
        # Products of two kept modes fold back only onto modes that are not kept.
        self.kept = ((3 * rows.abs() < size) & (3 * columns < size)).double()
        ky, kx = 2.0 * math.pi * rows, 2.0 * math.pi * columns
        square = kx**2 + ky**2
        inverse = self.kept / square.where(square > 0, torch.inf)
        implicit = 1.0 + 0.5 * time_step * viscosity * square
        gain = time_step * self.kept / implicit
        self._size = size
        self._velocity = torch.stack([1j * ky * inverse, -1j * kx * inverse])[:, None]
        self._fluxes = _over_parts(torch.stack([(kx**2 - ky**2) * gain, kx * ky * gain]))[:, None]
        self._decay = _over_parts((2.0 - implicit) * self.kept / implicit)
        self._force = torch.view_as_real(torch.fft.rfft2(forcing * (phase.sin() + phase.cos())) * gain)

    def advection(self, modes: Tensor) -> Tensor:
        """Advection, dt · F(-u·∇w) / (1 + dt ν k² / 2), as real and imaginary parts, [N, S, S // 2 + 1, 2].

        With ∇·u = 0, u·∇w = (∂xx - ∂yy)(uv) + ∂xy(v² - u²): four transforms in place of five (Basdevant 1983).
        """
        u, v = torch.fft.irfft2(modes * self._velocity, s=(self._size, self._size))
        fluxes = torch.fft.rfft2(torch.stack([u * v, (v - u) * (v + u)]))
        along, across = torch.view_as_real(fluxes) * self._fluxes
        total: Tensor = along + across
        return total

    def step(self, modes: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
        """One time step: the next modes, and the advection at the present ones for the step after."""
        now = self.advection(modes)
        after = torch.addcmul(self._force, torch.view_as_real(modes), self._decay)
        after.add_(now, alpha=1.5).add_(before, alpha=-0.5)
        return torch.view_as_complex(after), now


def _over_parts(coefficients: Tensor) -> Tensor:
    """Real coefficients once for the real, once for the imaginary part: cheaper than a complex product."""
    return coefficients[..., None].repeat_interleave(2, dim=-1)
