import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.synthetic.advection import AMPLITUDES, MAX_SPEED, WIDTHS, Blobs, advection, draw_blobs, tracer


@given(st.integers(0, 2**20), st.integers(0, 2**20))
@settings(max_examples=20)
def test_the_field_is_the_start_carried_along(sample, seed):
    blobs = draw_blobs(sample, seed)
    size, times = 64, np.array([0.0, 1.0, 17.0, 49.5])
    found = tracer(blobs, times, size)
    modes = np.fft.fftfreq(size, 1 / size)
    for field, time in zip(found, times, strict=True):
        dy, dx = blobs.velocity * time
        phase = np.exp(-2j * np.pi * (modes[:, None] * dy + modes * dx))
        shifted = np.fft.ifft2(np.fft.fft2(found[0]) * phase).real
        np.testing.assert_allclose(field, shifted, atol=1e-6)


def test_one_blob_is_a_gaussian_with_its_peak_where_it_was_put():
    blob = Blobs(np.array([0.0, 0.25]), np.array([[0.5, 0.25]]), np.array([0.1]), np.array([2.0]))
    found = tracer(blob, np.array([0.0, 1.0]), 16)
    assert np.unravel_index(found[0].argmax(), (16, 16)) == (8, 4)
    assert np.unravel_index(found[1].argmax(), (16, 16)) == (8, 8)
    assert found[0].max() == pytest.approx(2.0)
    assert found[0, 8, 6] == pytest.approx(2.0 * np.exp(-0.5 * (2 / 16 / 0.1) ** 2), rel=1e-6)


def test_a_blob_over_the_edge_comes_in_on_the_other_side():
    centred, cornered = (
        tracer(Blobs(np.zeros(2), np.array([[at, at]]), np.array([0.12]), np.ones(1)), np.zeros(1), 16)[0]
        for at in (0.5, 0.0)
    )
    np.testing.assert_allclose(np.roll(centred, (8, 8), axis=(0, 1)), cornered, atol=1e-12)


@given(st.integers(0, 1000))
def test_blobs_stay_in_their_bounds(sample):
    blobs = draw_blobs(sample, 0)
    assert abs(blobs.velocity).max() <= MAX_SPEED
    assert WIDTHS[0] <= blobs.widths.min()
    assert blobs.widths.max() <= WIDTHS[1]
    assert AMPLITUDES[0] <= abs(blobs.amplitudes).min()
    assert abs(blobs.amplitudes).max() <= AMPLITUDES[1]


def test_samples_depend_on_their_number_and_the_seed_alone():
    together = np.concatenate(list(advection(range(40), 3, 16, 5)))
    assert together.shape == (40, 3, 16, 16)
    assert together.dtype == np.float32
    alone = np.concatenate(list(advection([33, 2], 3, 16, 5)))
    np.testing.assert_array_equal(alone, together[[33, 2]])
    assert not np.array_equal(next(iter(advection([2], 3, 16, 6))), alone[1:])


def test_coarse_frames_are_means_of_fine_ones():
    fine, coarse = (next(iter(advection([0], 2, 16, 0, coarsen=width))) for width in (1, 2))
    np.testing.assert_allclose(coarse[0, 1, 3, 2], fine[0, 1, 6:8, 4:6].mean(), rtol=1e-5)
