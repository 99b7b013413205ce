"""The Forecaster: equal modes, symmetry, units, tendency, memory, and its messages."""

from __future__ import annotations

import pytest
import torch

from minconv import ConfigurationError, Forecaster, ForecasterConfig, InputError, Normalizer, rollout

CELLS = ("minconvgru", "minconvlstm", "minconvexplstm", "convgru", "convlstm", "conv")
SMALL = {"in_channels": 1, "out_channels": 1, "hidden": (8,)}


def made(**changes):
    """A small model in float64 whose decoder is not zero, and frames for it."""
    torch.manual_seed(0)
    settings = {"in_channels": 3, "out_channels": 2, "hidden": (6, 6, 4), "patch": 2, "tendency": True, **changes}
    forecaster = Forecaster(ForecasterConfig(**settings))
    for parameter in forecaster.decoder.parameters():
        torch.nn.init.normal_(parameter)
    return forecaster.double(), torch.randn(2, 6, settings["in_channels"], 8, 12, dtype=torch.float64)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("post_norm", [False, True])
@pytest.mark.parametrize("norm", ["channel", "group", "none", "layer_hw"])
def test_parallel_step_and_chunks_are_equal(cell, norm, post_norm):
    forecaster, x = made(cell=cell, norm=norm, grid_shape=(8, 12), post_norm=post_norm)
    whole, final = forecaster(x)
    assert whole.shape == (2, 6, 2, 8, 12)
    state, frames = None, []
    for t in range(6):
        y, state = forecaster.step(x[:, t], state)
        frames.append(y)
    torch.testing.assert_close(torch.stack(frames, dim=1), whole, rtol=0.0, atol=1e-12)
    torch.testing.assert_close(state, final, rtol=0.0, atol=1e-12)
    first, state = forecaster(x[:, :2])
    second, state = forecaster(x[:, 2:], state)
    torch.testing.assert_close(torch.cat([first, second], dim=1), whole, rtol=0.0, atol=1e-12)
    assert len(state) == 3


@pytest.mark.parametrize("cell", CELLS)
def test_float32_modes_agree_to_its_rounding(cell):
    forecaster, x = made(cell=cell)
    forecaster.float()
    x = x.float()
    whole, _ = forecaster(x)
    state, frames = None, []
    for t in range(6):
        y, state = forecaster.step(x[:, t], state)
        frames.append(y)
    torch.testing.assert_close(torch.stack(frames, dim=1), whole, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("boundary", "shift"), [("periodic", (2, 0)), ("periodic", (4, -6)), ("cylinder", (0, 2)), ("cylinder", (0, -8))]
)
@pytest.mark.parametrize("cell", ["minconvgru", "convlstm"])
def test_what_wraps_commutes_with_translation_by_patches(boundary, shift, cell):
    forecaster, x = made(boundary=boundary, cell=cell, encoder_kernel_size=3)
    moved, _ = forecaster(x.roll(shift, dims=(-2, -1)))
    torch.testing.assert_close(moved, forecaster(x)[0].roll(shift, dims=(-2, -1)), rtol=0.0, atol=1e-12)


@pytest.mark.parametrize(
    ("boundary", "shift"), [("cylinder", (2, 0)), ("zeros", (2, 0)), ("zeros", (0, 2)), ("reflect", (0, 2))]
)
def test_what_does_not_wrap_sees_its_edge(boundary, shift):
    forecaster, x = made(boundary=boundary)
    moved, _ = forecaster(x.roll(shift, dims=(-2, -1)))
    assert (moved - forecaster(x)[0].roll(shift, dims=(-2, -1))).abs().max() > 1e-6


def test_an_untrained_tendency_model_forecasts_persistence():
    forecaster = Forecaster(ForecasterConfig(in_channels=2, out_channels=1, hidden=(4,), tendency=True))
    forecaster.normalizer = Normalizer([280.0, 0.0], [5.0, 1.0])
    x = 280 + torch.randn(1, 3, 2, 4, 4)
    assert torch.equal(forecaster(x)[0], x[:, :, :1])


def damped(*rates):
    """A model of two variables whose decoder is zero."""
    forecaster = Forecaster(
        ForecasterConfig(in_channels=3, out_channels=2, hidden=(4,), tendency=True, damping=True)
    ).double()
    forecaster.normalizer = Normalizer([280.0, 5.0, 0.0], [5.0, 0.25, 1.0]).double()
    with torch.no_grad():
        forecaster.damping.copy_(torch.tensor(rates, dtype=torch.float64))
    return forecaster, torch.randn(2, 3, 3, 4, 4, dtype=torch.float64) + 10.0


def test_there_is_no_damping_unless_it_is_asked_for():
    assert not ForecasterConfig(in_channels=1, out_channels=1, hidden=(4,), tendency=True).damping
    assert made()[0].damping is None
    assert "damping" not in made()[0].state_dict()


def test_damping_starts_at_nothing_so_that_an_untrained_model_forecasts_persistence():
    forecaster = Forecaster(ForecasterConfig(in_channels=2, out_channels=1, hidden=(4,), tendency=True, damping=True))
    forecaster.normalizer = Normalizer([280.0, 0.0], [5.0, 1.0])
    x = 280 + torch.randn(1, 3, 2, 4, 4)
    assert torch.equal(forecaster(x)[0], x[:, :, :1])


@pytest.mark.parametrize("rates", [(0.25, 0.0), (1.0, 0.5), (-0.1, 2.0)])
def test_damping_returns_each_variable_to_its_mean_at_its_rate(rates):
    forecaster, x = damped(*rates)
    mean, kept = torch.tensor([280.0, 5.0])[:, None, None], 1 - torch.tensor(rates)[:, None, None]
    expected = mean + kept * (x[:, :, :2] - mean)
    torch.testing.assert_close(forecaster(x)[0], expected, rtol=1e-6, atol=1e-6)
    forcing = torch.zeros(2, 4, 1, 4, 4, dtype=torch.float64)
    *_, last = rollout(forecaster, x, 4, forcing)
    torch.testing.assert_close(last, mean + kept**4 * (x[:, -1, :2] - mean), rtol=1e-6, atol=1e-6)


def test_damping_is_learned():
    forecaster, x = made(damping=True)
    y, _ = forecaster(x)
    assert torch.equal(y, made()[0](x)[0])
    y.square().mean().backward()
    assert (forecaster.damping.grad != 0).all()


@pytest.mark.parametrize("tendency", [False, True])
def test_the_normalizer_makes_units_irrelevant(tendency):
    forecaster, x = made(tendency=tendency, damping=tendency)
    if tendency:
        torch.nn.init.constant_(forecaster.damping, 0.3)
    expected, _ = forecaster(x)
    mean, std = torch.tensor([280.0, -3.0, 10.0]).double(), torch.tensor([5.0, 0.25, 100.0]).double()
    forecaster.normalizer = Normalizer(mean, std).double()
    found, _ = forecaster(x * std[:, None, None] + mean[:, None, None])
    expected = expected * std[:2, None, None] + mean[:2, None, None]
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_the_tendency_is_scaled_in_normalised_units():
    forecaster, x = made(tendency_scale=0.2)
    double, _ = made(tendency_scale=0.4)
    change, twice = forecaster(x)[0] - x[:, :, :2], double(x)[0] - x[:, :, :2]
    torch.testing.assert_close(twice, 2 * change, rtol=1e-12, atol=1e-12)


def test_each_prognostic_channel_may_have_its_own_scale_of_the_tendency():
    settings = {"out_channels": 3, "diagnostic_channels": 1}
    forecaster, x = made(**settings, tendency_scale=0.5)
    each, _ = made(**settings, tendency_scale=(0.25, 2.0))
    (y, _), (found, _) = forecaster(x), each(x)
    expected = x[:, :, :2] + (y[:, :, :2] - x[:, :, :2]) * torch.tensor([0.5, 4.0]).double()[:, None, None]
    torch.testing.assert_close(found[:, :, :2], expected, rtol=1e-12, atol=1e-12)
    assert found[:, :, 2].equal(y[:, :, 2])
    assert each.state_dict().keys() == forecaster.state_dict().keys()


def test_the_control_has_no_memory_and_the_others_have():
    for cell in CELLS:
        forecaster, x = made(cell=cell)
        last, _ = forecaster(x)
        order = torch.tensor([3, 0, 4, 1, 2, 5])
        permuted, _ = forecaster(x[:, order])
        difference = (permuted[:, -1] - last[:, -1]).abs().max()
        assert (difference < 1e-12) == (cell == "conv"), cell


def test_batch_time_and_grid_may_change_from_call_to_call():
    forecaster, _ = made()
    for shape in [(1, 1, 3, 2, 2), (3, 4, 3, 6, 10), (1, 2, 3, 20, 28)]:
        y, _ = forecaster(torch.randn(shape, dtype=torch.float64))
        assert y.shape == (*shape[:2], 2, *shape[3:])


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("residual", [True, False])
def test_every_parameter_learns(cell, residual):
    forecaster, x = made(cell=cell, residual=residual)
    forecaster(x)[0].square().mean().backward()
    for name, parameter in forecaster.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize(
    ("cell", "width", "expected"),
    [("convgru", 28, 170), ("convlstm", 25, 181), ("minconvgru", 49, 173), ("minconvlstm", 40, 173), ("conv", 49, 173)],
)
def test_the_widths_quoted_as_equal_give_about_equal_parameters(cell, width, expected):
    forecaster = Forecaster(ForecasterConfig(cell=cell, in_channels=1, out_channels=1, hidden=(width,) * 4))
    count = sum(parameter.numel() for parameter in forecaster.parameters())
    assert abs(count / 1000 - expected) < 2


def test_backends_give_the_same_model():
    forecaster, x = made()
    other = Forecaster(forecaster.config, backend="logspace").double()
    other.load_state_dict(forecaster.state_dict())
    torch.testing.assert_close(other(x)[0], forecaster(x)[0], rtol=1e-9, atol=1e-9)


def test_bfloat16_runs_with_a_float32_state():
    forecaster, x = made()
    y, state = forecaster.bfloat16()(x.bfloat16())
    assert y.dtype == torch.bfloat16
    assert {entry.dtype for entry in state} == {torch.float32}
    forecaster.step(x[:, 0].bfloat16(), state)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2, 3, 8, 12), r"x must have shape \[B, T, 3, H, W\], got \(2, 3, 8, 12\)"),
        ((2, 6, 2, 8, 12), r"x must have shape \[B, T, 3, H, W\], got \(2, 6, 2, 8, 12\)"),
        ((2, 0, 3, 8, 12), "x must have at least one frame"),
        ((2, 6, 3, 7, 12), r"multiples of patch \(2\), got 7 x 12"),
    ],
)
def test_wrong_frames_get_a_sentence(shape, message):
    with pytest.raises(InputError, match=message):
        made()[0](torch.zeros(shape, dtype=torch.float64))


def test_other_wrong_arguments_get_a_sentence():
    forecaster, x = made()
    with pytest.raises(InputError, match=r"x must have 4 dimensions .* in step, got shape \(2, 6, 3, 8, 12\)"):
        forecaster.step(x)
    with pytest.raises(InputError, match=r"floating-point dtype, got torch\.int64"):
        forecaster(x.long())
    with pytest.raises(InputError, match="one entry for each of 3 layers, got 1"):
        forecaster(x, forecaster(x)[1][:1])
    with pytest.raises(InputError, match=r"initial_state must have shape \(1, 6, 4, 6\)"):
        forecaster(x[:1], forecaster(x)[1])
    fixed, _ = made(norm="layer_hw", grid_shape=(4, 4))
    with pytest.raises(InputError, match=r"on the grid \(4, 4\) of norm 'layer_hw', got \(8, 12\)"):
        fixed(x)


@pytest.mark.parametrize("cell", ["convgru", "convlstm"])
def test_a_state_of_another_shape_is_refused_by_the_baselines(cell):
    forecaster, x = made(cell=cell)
    with pytest.raises(InputError, match="state must have shape"):
        forecaster(x[:1], forecaster(x)[1])


@pytest.mark.parametrize(
    ("mean", "std", "message"),
    [
        ([0.0], [1.0, 2.0], "two vectors of one length"),
        ([float("nan")], [1.0], "mean must be finite"),
        ([0.0], [0.0], "std must be positive and finite"),
    ],
)
def test_a_normalizer_needs_good_numbers(mean, std, message):
    with pytest.raises(InputError, match=message):
        Normalizer(mean, std)


def test_the_normalizer_is_undone_by_its_inverse():
    normalizer = Normalizer([1.0, 2.0], [3.0, 4.0])
    x = torch.randn(2, 5, 2, 3, 3)
    torch.testing.assert_close(normalizer.inverse(normalizer(x)), x)
    torch.testing.assert_close(normalizer.inverse(normalizer(x)[:, :, :1]), x[:, :, :1])


def test_post_norm_normalises_what_a_layer_returns():
    forecaster, _ = made(norm="channel", post_norm=True)
    hidden = torch.randn(2, 6, 6, 4, 6, dtype=torch.float64)
    h, _ = forecaster.layers[0](hidden, None)
    torch.testing.assert_close(h.mean(dim=2), torch.zeros_like(h[:, :, 0]), rtol=0.0, atol=1e-12)
    assert isinstance(forecaster.norm, torch.nn.Identity)


def gradients_and_kept_bytes(forecaster, x):
    """Gradients of all parameters, and the bytes that are kept for them between forward and backward."""
    kept = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    forecaster.zero_grad()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        y, _ = forecaster(x)
        loss = y.square().mean()
    loss.backward()
    return [parameter.grad.clone() for parameter in forecaster.parameters()], sum(kept.values())


@pytest.mark.parametrize("cell", CELLS)
def test_activation_checkpointing_gives_the_same_gradients_from_less_memory(cell):
    forecaster, x = made(cell=cell, hidden=(16, 16, 16))
    plain, all_of_it = gradients_and_kept_bytes(forecaster, x)
    forecaster.activation_checkpointing = True
    again, less = gradients_and_kept_bytes(forecaster, x)
    for one, other in zip(plain, again, strict=True):
        torch.testing.assert_close(one, other, rtol=0.0, atol=0.0)
    assert less < 0.6 * all_of_it


def reach(cell, memory, frames=150):
    """How much the last frame's forecast hangs on the first frame, against how much it hangs on the last."""
    torch.manual_seed(0)
    forecaster = Forecaster(ForecasterConfig(in_channels=1, out_channels=1, hidden=(8,), cell=cell), memory=memory)
    x = torch.randn(1, frames, 1, 3, 3, dtype=torch.float64).requires_grad_()
    y, _ = forecaster.double()(x)
    (gradient,) = torch.autograd.grad(y[:, -1].sum(), x)
    return (gradient[:, 0].norm() / gradient[:, -1].norm()).item()


@pytest.mark.parametrize("cell", [cell for cell in CELLS if cell != "conv"])
def test_with_a_memory_of_hundreds_of_frames_the_first_of_them_still_counts(cell):
    assert reach(cell, None) < 1e-25
    assert 1e-5 < reach(cell, 150) < 0.2


def test_a_memory_of_two_frames_is_the_least_and_the_control_has_none():
    assert reach("conv", 1000) == 0.0
    keep = (-Forecaster(ForecasterConfig(**SMALL), memory=2).layers[0].cell.bias[:8]).sigmoid()
    torch.testing.assert_close(keep, torch.full((8,), 0.5))
    for wrong in (1, 2.5, True):
        with pytest.raises(ConfigurationError, match="memory must be an integer of at least 2 frames"):
            Forecaster(ForecasterConfig(**SMALL), memory=wrong)


@pytest.mark.parametrize("cell", [cell for cell in CELLS if cell != "conv"])
def test_memory_is_where_weights_start_and_nothing_else(cell):
    torch.manual_seed(0)
    before = Forecaster(ForecasterConfig(**SMALL, cell=cell)).state_dict()
    torch.manual_seed(0)
    after = Forecaster(ForecasterConfig(**SMALL, cell=cell), memory=100).state_dict()
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert len(changed) == 1
    assert changed <= {"layers.0.cell.bias", "layers.0.cell.input.bias"}
