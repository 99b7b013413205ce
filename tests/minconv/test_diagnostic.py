"""Diagnostic channels: predicted, never fed back, and no input."""

from __future__ import annotations

import pytest
import torch

from minconv import Forecaster, ForecasterConfig, InputError, Normalizer, closed_loop, load, rollout, save


def made(**changes):
    """Two prognostic, one diagnostic and one forcing channel, with units that differ by channel."""
    torch.manual_seed(0)
    settings = {"in_channels": 3, "out_channels": 3, "diagnostic_channels": 1, "hidden": (6, 6), "patch": 2, **changes}
    forecaster = Forecaster(ForecasterConfig(**settings)).double()
    torch.nn.init.normal_(forecaster.decoder.weight, std=0.3)
    numbers = torch.tensor([280.0, 1.0, 50.0, 0.5]), torch.tensor([5.0, 0.1, 20.0, 2.0])
    forecaster.normalizer = Normalizer(*numbers).double()
    noise = torch.randn(2, 5, 3, 4, 6, dtype=torch.float64)
    x = torch.tensor([280.0, 1.0, 0.5])[:, None, None] + torch.tensor([5.0, 0.1, 2.0])[:, None, None] * noise
    return forecaster, x


@pytest.mark.parametrize("tendency", [False, True])
def test_the_prognostic_part_is_that_of_the_model_without(tendency):
    forecaster, x = made(tendency=tendency)
    plain = Forecaster(ForecasterConfig(in_channels=3, out_channels=2, hidden=(6, 6), patch=2, tendency=tendency))
    weights = forecaster.state_dict()
    for name in ("decoder.weight", "decoder.bias"):
        weights[name] = weights[name][: 2 * 4]
    for name in ("normalizer.mean", "normalizer.std"):
        weights[name] = weights[name][[0, 1, 3]]
    plain.double().load_state_dict(weights)
    y, _ = forecaster(x)
    assert y.shape == (2, 5, 3, 4, 6)
    torch.testing.assert_close(y[:, :, :2], plain(x)[0], rtol=1e-12, atol=1e-12)


def test_an_untrained_diagnostic_is_its_mean_and_its_units_are_its_own():
    forecaster, x = made(tendency=True, damping=True)
    assert forecaster.damping.shape == (2,)
    assert forecaster(x)[0][:, :, 2].sub(50.0).abs().max() > 1.0
    torch.nn.init.zeros_(forecaster.decoder.weight)
    y, _ = forecaster(x)
    torch.testing.assert_close(y[:, :, :2], x[:, :, :2])
    assert (y[:, :, 2] == 50.0).all()


def test_a_rollout_yields_it_and_does_not_feed_it_back():
    forecaster, x = made(tendency=True)
    forcing = torch.randn(2, 4, 1, 4, 6, dtype=torch.float64)
    mask = torch.ones(4, 6, dtype=torch.bool)
    mask[0] = False
    y, state = forecaster(x)
    expected = [y[:, -1]]
    expected[0][:, :2, 0] = x[:, -1, :2, 0]
    for lead in range(3):
        fed = torch.cat((expected[-1][:, :2], forcing[:, lead]), dim=1)
        frame, state = forecaster.step(fed, state)
        frame[:, :2, 0] = x[:, -1, :2, 0]
        expected.append(frame)
    found = list(rollout(forecaster, x, 4, forcing, mask))
    torch.testing.assert_close(torch.stack(found), torch.stack(expected), rtol=0.0, atol=1e-12)
    assert found[0].shape == (2, 3, 4, 6)


def test_the_closed_loop_takes_the_whole_predicted_frame():
    forecaster, x = made()
    forcing = torch.randn(2, 2, 1, 4, 6, dtype=torch.float64)
    y, state = forecaster(x)
    later = [frame for frame, _ in closed_loop(forecaster, y[:, -1], state, 2, forcing)]
    torch.testing.assert_close(later[0], list(rollout(forecaster, x, 2, forcing))[1], rtol=0.0, atol=1e-12)
    with pytest.raises(InputError, match=r"frame must have shape \[B, 3, H, W\], got \(2, 2, 4, 6\)"):
        closed_loop(forecaster, y[:, -1, :2], state, 2, forcing)


def test_a_checkpoint_keeps_it(tmp_path):
    forecaster, x = made()
    save(tmp_path / "model", forecaster)
    again, _ = load(tmp_path / "model")
    assert again.config.diagnostic_channels == 1
    torch.testing.assert_close(again(x)[0], forecaster(x)[0], rtol=0.0, atol=0.0)
