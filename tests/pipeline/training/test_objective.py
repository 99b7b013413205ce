import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import minconv
from pipeline.grid import GridSpec
from pipeline.tiles import Halo, Tiling
from pipeline.training.loader import TileWeights
from pipeline.training.objective import Objective, closed_loop_length, learning_rate_factor


def make(
    forcings: int = 1, weights: torch.Tensor | None = None, of_variables: tuple[float, ...] | None = None
) -> Objective:
    torch.manual_seed(0)
    config = minconv.ForecasterConfig(
        cell="minconvgru", in_channels=2 + forcings, out_channels=2, hidden=(6,), boundary="zeros"
    )
    forecaster = minconv.Forecaster(config).eval()
    mean = torch.zeros(2 + forcings)
    std = torch.ones(2 + forcings)
    std[:2] = torch.tensor([2.0, 0.5])
    forecaster.normalizer = minconv.Normalizer(mean, std)
    return Objective(forecaster, torch.ones(4, 5) if weights is None else weights, None, of_variables)


def data(batch: int = 2, time: int = 7, forcings: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return (
        torch.randn((batch, time, 2, 4, 5), generator=generator),
        torch.randn((batch, time, forcings, 4, 5), generator=generator),
    )


def test_teacher_forced_loss_is_the_mean_squared_error_in_standard_deviations() -> None:
    objective = make()
    frames, forcing = data()
    predicted, _ = objective.forecaster(torch.cat((frames, forcing), dim=2))
    error = (predicted[:, :-1] - frames[:, 1:]) / torch.tensor([2.0, 0.5])[:, None, None]
    torch.testing.assert_close(objective(frames, forcing)[0], error.square().mean())


@pytest.mark.parametrize("closed", [0, 3])
def test_logarithms_are_of_each_frame_and_variable(closed: int) -> None:
    mask = torch.ones(4, 5)
    mask[1] = 0.0
    frames, forcing = data()
    plain, logarithms = make(weights=mask, of_variables=(1.5, 0.5)), make(weights=mask, of_variables=(1.5, 0.5))
    logarithms.kind = "log_mse"
    seen = frames.shape[1] - 1 - closed
    predicted, state = plain.forecaster(torch.cat((frames, forcing), dim=2)[:, :seen])
    made = [*predicted.unbind(1)]
    for number in range(closed):
        held = torch.where(mask > 0, made[-1], made[seen - 1])
        one, state = plain.forecaster.step(torch.cat((held, forcing[:, seen + number]), dim=1), state)
        made.append(one)
    errors = (torch.stack(made, dim=1) - frames[:, 1:]) / torch.tensor([2.0, 0.5])[:, None, None]
    each = errors[..., mask > 0].square().mean(dim=-1)
    expected = (torch.log(each + 1e-6) * torch.tensor([1.5, 0.5])).mean()
    torch.testing.assert_close(logarithms(frames, forcing, closed)[0], expected)
    assert logarithms.as_error(float(torch.log(torch.tensor(0.25)))) == pytest.approx(0.5)
    assert plain.as_error(0.25) == 0.5


@pytest.mark.parametrize("closed", [0, 3])
def test_variables_have_weights_in_the_loss_and_none_in_the_validation_error(closed: int) -> None:
    frames, forcing = data()
    weighted, plain = make(of_variables=(1.5, 0.5)), make()
    alone = [make(of_variables=only)(frames, forcing, closed)[0] for only in ((2.0, 0.0), (0.0, 2.0))]
    assert alone[0] != alone[1]
    expected = (1.5 * alone[0] + 0.5 * alone[1]) / 2
    torch.testing.assert_close(weighted(frames, forcing, closed)[0], expected)
    torch.testing.assert_close(plain(frames, forcing, closed)[0], (alone[0] + alone[1]) / 2)
    assert plain.closed_loop_error(frames, forcing, 4).equal(weighted.closed_loop_error(frames, forcing, 4))


@pytest.mark.parametrize("closed", [1, 2, 5])
def test_closed_loop_steps_feed_the_model_its_own_output(closed: int) -> None:
    objective = make()
    frames, forcing = data()
    seen = 7 - 1 - closed
    predicted, _ = objective.forecaster(torch.cat((frames, forcing), dim=2)[:, :seen])
    history = torch.cat((frames, forcing), dim=2)[:, :seen]
    later = list(minconv.rollout(objective.forecaster, history, closed + 1, forcing[:, seen:]))
    everything = torch.cat((predicted[:, :-1], torch.stack(later, dim=1)), dim=1)
    error = (everything - frames[:, 1:]) / torch.tensor([2.0, 0.5])[:, None, None]
    torch.testing.assert_close(objective(frames, forcing, closed)[0], error.square().mean())


def test_masked_points_do_not_count_and_are_held_in_closed_loop() -> None:
    weights = torch.ones(4, 5)
    weights[0] = 0.0
    objective = make(weights=weights)
    frames, forcing = data()
    changed = frames.clone()
    changed[:, -1, :, 0] += 100.0  # the last frame is a target only
    assert objective(frames, forcing, 2)[0] == objective(changed, forcing, 2)[0]
    changed[:, -1, :, 1] += 1.0
    assert objective(frames, forcing, 2)[0] != objective(changed, forcing, 2)[0]


def test_gradients_flow_through_the_closed_loop() -> None:
    objective = make()
    frames, forcing = data()
    objective(frames, forcing, 3)[0].backward()
    assert all(parameter.grad is not None for parameter in objective.parameters())
    assert any(parameter.grad.abs().sum() > 0 for parameter in objective.parameters())


def test_noise_is_in_standard_deviations_of_each_variable() -> None:
    objective = make()
    frames, forcing = data()
    noise = torch.full((2, 6, 2, 4, 5), 0.1)
    noisy = frames.clone()
    noisy[:, :6] += 0.1 * torch.tensor([2.0, 0.5])[:, None, None]
    predicted, _ = objective.forecaster(torch.cat((noisy, forcing), dim=2)[:, :6])
    error = (predicted - frames[:, 1:]) / torch.tensor([2.0, 0.5])[:, None, None]
    torch.testing.assert_close(objective(frames, forcing, 0, noise)[0], error.square().mean())


def test_closed_loop_error_has_a_value_for_each_case_and_lead() -> None:
    objective = make()
    frames, forcing = data()
    errors = objective.closed_loop_error(frames, forcing, history=4)
    assert errors.shape == (2, 3)
    predicted = list(minconv.rollout(objective.forecaster, torch.cat((frames, forcing), 2)[:, :4], 3, forcing[:, 4:]))
    last = ((predicted[2] - frames[:, 6]) / torch.tensor([2.0, 0.5])[:, None, None]).square().mean(dim=(1, 2, 3))
    torch.testing.assert_close(errors[:, 2], last)


@given(st.floats(0.0, 1.5), st.integers(0, 30), st.tuples(st.floats(0.0, 1.0), st.floats(0.0, 1.0)).map(sorted))
def test_the_closed_loop_grows_from_nothing_to_all(progress: float, steps: int, ramp: list[float]) -> None:
    first, last = ramp
    found = closed_loop_length(progress, steps, (first, last))
    assert 0 <= found <= steps
    assert closed_loop_length(progress, steps, None) == steps
    if progress >= last:
        assert found == steps
    elif progress < first:
        assert found == 0
    else:
        assert found >= min(1, steps)
    assert closed_loop_length(progress + 0.01, steps, (first, last)) >= found


def test_each_length_of_the_closed_loop_has_the_same_share_of_its_ramp() -> None:
    lengths = [closed_loop_length((n + 0.5) / 100, 5, (0.2, 0.7)) for n in range(100)]
    assert [lengths.count(length) for length in range(7)] == [20, 10, 10, 10, 10, 40, 0]
    assert lengths == sorted(lengths)
    assert [closed_loop_length(n / 4, 5, (0.5, 0.5)) for n in range(5)] == [0, 0, 5, 5, 5]
    assert closed_loop_length(0.0, 5, (0.0, 1.0)) == 1


SCHEDULES = st.sampled_from(["cosine", "linear", "constant"])


@given(st.floats(0.0, 1.5), st.floats(0.0, 0.9), SCHEDULES)
def test_learning_rate_factor_stays_between_zero_and_one(progress: float, warmup: float, schedule: str) -> None:
    assert 0.0 <= learning_rate_factor(progress, warmup, schedule) <= 1.0
    if progress < warmup:
        assert learning_rate_factor(progress, warmup, schedule) == learning_rate_factor(progress, warmup)


@given(st.floats(0.0, 1.0), st.floats(0.0, 0.9))
def test_after_the_warmup_it_falls_along_a_line_or_not_at_all(share: float, warmup: float) -> None:
    progress = warmup + (1.0 - warmup) * share
    assert learning_rate_factor(progress, warmup, "linear") == pytest.approx(1.0 - share, abs=1e-9)
    assert learning_rate_factor(progress, warmup, "constant") == 1.0


@given(st.floats(0.01, 0.9))
def test_learning_rate_rises_then_falls_to_zero(warmup: float) -> None:
    assert learning_rate_factor(0.0, warmup) < 0.2
    assert learning_rate_factor(warmup, warmup) == pytest.approx(1.0)
    assert learning_rate_factor(1.0, warmup) == pytest.approx(0.0, abs=1e-12)
    falling = [learning_rate_factor(warmup + (1 - warmup) * n / 10, warmup) for n in range(11)]
    assert falling == sorted(falling, reverse=True)


def tiled(boundary: str, closed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The loss over a whole grid, and the mean of that over its tiles."""
    torch.manual_seed(0)
    config = minconv.ForecasterConfig(
        in_channels=3, out_channels=2, hidden=(6, 6), boundary="zeros" if boundary == "closed" else boundary
    )
    generator = torch.Generator().manual_seed(3)
    shape = (9, 11)
    weights = torch.rand(shape, generator=generator) + 0.5
    weights[2:5, 3:6] = 0.0
    frames, forcing = (torch.randn((2, 6, n, *shape), generator=generator) for n in (2, 1))
    axes = (tuple(float(n) for n in range(side)) for side in shape)
    grid = GridSpec(*axes, "y", "x", geographic=False, boundary=boundary)  # type: ignore[arg-type]
    tiling = Tiling.of(grid, (4, 5), Halo(2, 2), (weights > 0).numpy())
    objective = Objective(minconv.Forecaster(config).eval(), weights, tiling)
    of_tile = TileWeights(weights, tiling)
    losses = [
        objective(tile.cut(frames), tile.cut(forcing), closed, None, of_tile(tile).expand(2, *tile.shape))[0]
        for tile in tiling.tiles
    ]
    whole = Objective(objective.forecaster, weights)
    return whole(frames, forcing, closed)[0], torch.stack(losses).mean()


@pytest.mark.parametrize("boundary", ["periodic", "cylinder", "closed"])
def test_the_loss_on_tiles_is_on_average_the_loss_on_the_grid(boundary: str) -> None:
    torch.testing.assert_close(*tiled(boundary, 0))


def test_in_closed_loop_a_tile_is_fed_the_truth_in_its_halo_and_its_own_output_in_its_core() -> None:
    torch.manual_seed(0)
    config = minconv.ForecasterConfig(in_channels=1, out_channels=1, hidden=(4,), boundary="zeros")
    forecaster = minconv.Forecaster(config).eval()
    axes = (tuple(float(n) for n in range(12)),) * 2
    grid = GridSpec(*axes, "y", "x", geographic=False, boundary="closed")
    tiling = Tiling.of(grid, (4, 4), Halo(2, 2))
    objective, of_tile = Objective(forecaster, torch.ones(12, 12), tiling), TileWeights(torch.ones(12, 12), tiling)
    tile = tiling.tiles[4]
    frames = torch.randn((1, 6, 1, *tile.shape), generator=torch.Generator().manual_seed(1))
    weights, nothing = of_tile(tile)[None], torch.zeros((1, 6, 0, *tile.shape))
    loss = objective(frames, nothing, 2, None, weights)[0]

    def changed(frame: int, rows: slice) -> torch.Tensor:
        other = frames.clone()
        other[:, frame, :, rows] += 1.0
        return objective(other, nothing, 2, None, weights)[0]

    halo, core = slice(0, tile.rows.inner.start), tile.rows.inner
    # frame 3 is the first that is predicted and fed back: its halo is read, its core is a target only
    assert changed(3, halo) != loss
    assert changed(5, halo) == loss  # a target only, and not scored
    assert changed(5, core) != loss
    by_hand, state = forecaster(frames[:, :3])
    errors = [by_hand - frames[:, 1:4]]
    frame = by_hand[:, -1]
    for step in (3, 4):
        frame, state = forecaster.step(torch.where(weights > 0, frame, frames[:, step]), state)
        errors.append((frame - frames[:, step + 1])[:, None])
    wanted = (torch.cat(errors, dim=1).square() * weights).mean()
    torch.testing.assert_close(loss, wanted)
