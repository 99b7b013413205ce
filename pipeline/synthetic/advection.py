"""Blobs carried round the unit torus at constant velocity: cheap, and with an exact solution.

    c(x, t) = Σ a exp(-|x - p - u t|² / 2 s²), summed over the periodic images

Each sample has its own velocity u and a few blobs of random amplitude a, width s and place p.

What lives here: sequences of frames. What does not: files (`pipeline.synthetic`).

    for block in advection(range(96), steps=50, size=32, seed=0):
        block      # float32 [n, 50, 32, 32]
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .pooling import mean_pool

Floats = NDArray[np.float64]

BLOBS = 4
# Sides of the domain per unit of time, along each axis; three grid points of 64 at most.
MAX_SPEED = 0.05
WIDTHS = (0.06, 0.12)
AMPLITUDES = (0.5, 1.5)
BLOCK = 16
# Periodic images that count: the nearest one left out is 2 sides away, where exp(-2² / 2 s²) < 1e-60.
IMAGES = np.arange(-2, 3)


@dataclass(frozen=True)
class Blobs:
    """What one sample is made of; the last axis of vectors is (y, x).

    Attributes:
        velocity: [2], sides of the domain per unit of time.
        places: [n, 2] at t = 0.
        widths: [n].
        amplitudes: [n].
    """

    velocity: Floats
    places: Floats
    widths: Floats
    amplitudes: Floats


def draw_blobs(sample: int, seed: int) -> Blobs:
    """The blobs of sample number `sample`; they depend on it and `seed` alone."""
    generator = np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, sample))))
    signs = np.where(generator.random(BLOBS) < 0.5, -1.0, 1.0)
    return Blobs(
        velocity=generator.uniform(-MAX_SPEED, MAX_SPEED, 2),
        places=generator.random((BLOBS, 2)),
        widths=generator.uniform(*WIDTHS, BLOBS),
        amplitudes=signs * generator.uniform(*AMPLITUDES, BLOBS),
    )


def tracer(blobs: Blobs, times: Floats, size: int) -> Floats:
    """Concentration on the points i / size at some times, [T, size, size]."""
    points = np.arange(size) / size
    places = blobs.places + times[:, None, None] * blobs.velocity  # [T, n, 2]
    distances = (points - places[..., None] + 0.5) % 1.0 - 0.5  # [T, n, 2, size]
    images = distances[..., None] + IMAGES
    # A Gaussian is a product over the axes, and so is its sum over the images.
    profiles = np.exp(-0.5 * np.square(images / blobs.widths[:, None, None, None])).sum(axis=-1)
    return np.asarray(np.einsum("n,tny,tnx->tyx", blobs.amplitudes, profiles[:, :, 0], profiles[:, :, 1]))


def advection(
    samples: Sequence[int], steps: int, size: int, seed: int, *, coarsen: int = 1
) -> Iterator[NDArray[np.float32]]:
    """Frames of some samples, a block at a time.

    Args:
        samples: Their numbers; sample k depends on `seed` and k alone.
        steps: Frames, at t = 0, 1, ..., steps - 1.
        size: Points along each side.
        seed: Of the whole set.
        coarsen: Mean over this many points along each side in the frames.

    Yields:
        Tracer float32 [n, steps, size / coarsen, size / coarsen] of the next n samples.
    """
    times = np.arange(steps, dtype=np.float64)
    for first in range(0, len(samples), BLOCK):
        fields = (tracer(draw_blobs(sample, seed), times, size) for sample in samples[first : first + BLOCK])
        yield np.stack([mean_pool(field, coarsen).astype(np.float32) for field in fields])
