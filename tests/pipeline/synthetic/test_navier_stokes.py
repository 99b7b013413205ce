import numpy as np
import pytest
import torch

from pipeline.errors import ConfigError
from pipeline.synthetic.navier_stokes import enstrophy, evolve, navier_stokes, random_field, stable_step


def grid(size):
    points = np.arange(size) / size
    return np.meshgrid(points, points, indexing="ij")


def frames(start, steps, **options):
    return np.stack(list(evolve(start, steps, **options)))


def rms(field):
    return float(np.sqrt(np.square(field).mean()))


@pytest.fixture(scope="module")
def ensemble():
    """Twenty-four flows of 31 frames."""
    return np.concatenate(list(navier_stokes(range(24), 31, 32, seed=0)))


def test_enstrophy_is_that_of_the_reference_solver(ensemble):
    mean = enstrophy(ensemble.astype(np.float64)).mean(axis=0)
    assert mean[0] == pytest.approx(0.058, rel=0.2)
    assert mean[10] == pytest.approx(0.24, rel=0.1)
    assert mean[30] == pytest.approx(0.48, rel=0.1)


def test_the_start_has_the_variance_of_its_spectrum():
    modes = np.fft.fftfreq(32, 1 / 32)
    square = 4 * np.pi**2 * (modes[:, None] ** 2 + modes**2)
    spectrum = 7.0**2 * (square + 7.0**2) ** -2.0
    spectrum[0, 0] = 0.0
    expected = 0.5 * 2.0 * spectrum.sum()
    found = enstrophy(random_field(range(400), 32, 0))
    error = found.std() / np.sqrt(found.size)
    assert expected == pytest.approx(0.058, rel=0.04)
    assert abs(found.mean() - expected) < 4 * error


def test_the_mean_stays_zero(ensemble):
    assert abs(ensemble.astype(np.float64).mean(axis=(-2, -1))).max() < 1e-7


def test_the_flow_from_rest_follows_its_analytic_solution():
    size, viscosity = 32, 1e-3
    y, x = grid(size)
    force = 0.1 * (np.sin(2 * np.pi * (x + y)) + np.cos(2 * np.pi * (x + y)))
    rate = viscosity * 2 * (2 * np.pi) ** 2
    found = frames(np.zeros((1, size, size)), 21, viscosity=viscosity)
    times = np.arange(21)[:, None, None]
    np.testing.assert_allclose(found[:, 0], force * (1 - np.exp(-rate * times)) / rate, atol=1e-6)


def test_vortices_that_do_not_advect_themselves_decay_by_viscosity_alone():
    y, x = grid(24)
    cells = np.cos(2 * np.pi * x) * np.cos(2 * np.pi * y)
    found = frames(cells[None], 4, viscosity=0.01, forcing=0.0)
    decay = np.exp(-0.01 * 2 * (2 * np.pi) ** 2 * np.arange(4))
    np.testing.assert_allclose(found[:, 0], decay[:, None, None] * cells, atol=1e-4)


def test_the_first_change_is_the_advection_worked_out_by_hand():
    y, x = grid(32)
    a, b = 2 * np.pi * x, 4 * np.pi * y
    # w = sin a + sin b: ψ = sin a / 4π² + sin b / 16π², u = ∂ψ/∂y, v = -∂ψ/∂x, and -u·∇w by the product rule.
    u, v = np.cos(b) / (4 * np.pi), -np.cos(a) / (2 * np.pi)
    change = -(u * 2 * np.pi * np.cos(a) + v * 4 * np.pi * np.cos(b))
    before, after = frames((np.sin(a) + np.sin(b))[None], 2, viscosity=0.0, forcing=0.0, interval=1e-5, time_step=1e-5)
    np.testing.assert_allclose((after - before)[0] / 1e-5, change, atol=1e-4)


def test_without_viscosity_energy_and_enstrophy_are_conserved():
    start = random_field(range(2), 32, 3)
    found = frames(start, 4, viscosity=0.0, forcing=0.0, time_step=1 / 200)
    modes = 2 * np.pi * np.fft.fftfreq(32, 1 / 32)
    square = modes[:, None] ** 2 + modes**2
    square[0, 0] = np.inf
    energy = (abs(np.fft.fft2(found)) ** 2 / square).sum(axis=(-2, -1))
    assert rms(found[3] - found[0]) > 0.2 * rms(found[0])
    np.testing.assert_allclose(energy, np.broadcast_to(energy[0], energy.shape), rtol=1e-5)
    np.testing.assert_allclose(enstrophy(found), np.broadcast_to(enstrophy(found[0]), (4, 2)), rtol=1e-5)


@pytest.mark.parametrize(("rows", "columns"), [(5, -5), (-8, 8)])
def test_a_shift_along_the_forcing_s_crests_shifts_the_solution(rows, columns):
    start = random_field([0], 24, 1)
    moved = frames(np.roll(start, (rows, columns), axis=(-2, -1)), 4)
    np.testing.assert_allclose(moved, np.roll(frames(start, 4), (rows, columns), axis=(-2, -1)), atol=1e-12)


def test_the_error_falls_with_the_square_of_the_time_step():
    start = random_field(range(2), 24, 2)
    exact = frames(start, 4, time_step=1 / 320)[-1]
    errors = [rms(frames(start, 4, time_step=step)[-1] - exact) for step in (1 / 20, 1 / 40, 1 / 80)]
    assert 3.0 < errors[0] / errors[1] < 5.5
    assert 3.0 < errors[1] / errors[2] < 5.5
    assert rms(frames(start, 4)[-1] - exact) < 1e-4 * rms(exact)


def test_a_finer_grid_gives_the_same_flow():
    coarse, fine = (frames(random_field([4], size, 0), 9)[-1, 0] for size in (32, 64))
    assert rms(coarse - fine[::2, ::2]) < 0.02 * rms(fine)


@pytest.mark.parametrize("size", [16, 33, 64, 100])
def test_the_step_is_a_whole_fraction_of_the_unit(size):
    assert (1 / stable_step(size)).is_integer()
    assert stable_step(size) <= 0.64 / size


def test_the_paper_s_step():
    assert stable_step(64) == pytest.approx(1e-2)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not():
    one, again, other = (np.concatenate(list(navier_stokes(range(2), 3, 16, seed))) for seed in (7, 7, 8))
    assert one.tobytes() == again.tobytes()
    assert not np.array_equal(one, other)
    assert rms(one[0] - one[1]) > 0.1


@pytest.mark.parametrize("block_points", [1, 16 * 16 * 3, 2**15])
def test_a_sample_does_not_depend_on_the_others(block_points):
    together = np.concatenate(list(navier_stokes(range(5), 3, 16, 0)))
    blocks = list(navier_stokes([4, 1], 3, 16, 0, block_points=block_points))
    np.testing.assert_array_equal(np.concatenate(blocks), together[[4, 1]])
    assert len(blocks) == (2 if block_points == 1 else 1)


def test_coarse_frames_are_means_of_fine_ones():
    fine, coarse = (next(iter(navier_stokes([0], 2, 16, 0, coarsen=width))) for width in (1, 4))
    assert coarse.shape == (1, 2, 4, 4)
    assert coarse.dtype == np.float32
    np.testing.assert_allclose(coarse[0, 1, 1, 2], fine[0, 1, 4:8, 8:12].mean(), rtol=1e-5)


def test_too_long_a_step_is_an_error_not_a_file_of_nonsense():
    start = 200.0 * random_field([0], 32, 0)
    with pytest.raises(ConfigError, match="unstable with time step 1"):
        frames(start, 20, time_step=1.0)


def test_the_number_of_torch_threads_is_given_back():
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        list(navier_stokes([0], 2, 8, 0))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
