"""The closed loop: equal to stepping by hand, with forcings, masks and gradients."""

from __future__ import annotations

import pytest
import torch

from minconv import Forecaster, ForecasterConfig, InputError, closed_loop, rollout


def made(cell="minconvgru", forcings=1):
    torch.manual_seed(0)
    config = ForecasterConfig(
        cell=cell, in_channels=2 + forcings, out_channels=2, hidden=(4, 4), patch=2, tendency=True
    )
    forecaster = Forecaster(config)
    torch.nn.init.normal_(forecaster.decoder.weight)
    forcing = torch.randn(2, 5, forcings, 4, 6).double() if forcings else None
    return forecaster.double(), torch.randn(2, 3, 2 + forcings, 4, 6).double(), forcing


@pytest.mark.parametrize("cell", ["minconvgru", "minconvlstm", "minconvexplstm", "convgru", "convlstm", "conv"])
@pytest.mark.parametrize("forcings", [0, 2])
def test_equals_stepping_by_hand(cell, forcings):
    forecaster, history, forcing = made(cell, forcings)
    state = None
    for t in range(3):
        frame, state = forecaster.step(history[:, t], state)
    expected = [frame]
    for lead in range(4):
        x = frame if forcing is None else torch.cat([frame, forcing[:, lead]], dim=1)
        frame, state = forecaster.step(x, state)
        expected.append(frame)
    found = list(rollout(forecaster, history, 5, forcing))
    assert len(found) == 5
    torch.testing.assert_close(torch.stack(found), torch.stack(expected), rtol=0.0, atol=1e-12)


@pytest.mark.parametrize("shape", [(4, 6), (1, 2, 4, 6), (2, 2, 4, 6), (2, 1, 1, 6)])
def test_masked_points_hold_the_last_value_seen(shape):
    forecaster, history, forcing = made()
    mask = torch.rand(shape) > 0.4
    free = list(rollout(forecaster, history, 5, forcing))
    held = list(rollout(forecaster, history, 5, forcing, mask))
    last, full = history[:, -1, :2], mask.expand(2, 2, 4, 6)
    for frame in held:
        assert torch.equal(frame[~full], last[~full])
    assert torch.equal(held[0][full], free[0][full])
    assert not torch.equal(held[1][full], free[1][full])  # what is held is also what is fed back


def test_gradients_flow_through_the_loop():
    forecaster, history, forcing = made()
    history.requires_grad_()
    forcing.requires_grad_()
    frames = list(rollout(forecaster, history, 5, forcing))
    frames[-1].square().sum().backward()
    assert history.grad[:, 0].abs().sum() > 0
    assert (forcing.grad[:, :4].abs().sum(dim=(0, 2, 3, 4)) > 0).all()
    assert (forcing.grad[:, 4] == 0).all()  # valid when the last frame is already predicted
    assert all(parameter.grad.abs().sum() > 0 for parameter in forecaster.parameters())


def test_the_callers_grad_mode_holds():
    forecaster, history, forcing = made()
    with torch.no_grad():
        assert not any(frame.requires_grad for frame in rollout(forecaster, history, 5, forcing))


def test_closed_loop_goes_on_where_the_caller_stopped():
    forecaster, history, forcing = made()
    expected = list(rollout(forecaster, history, 5, forcing))
    y, state = forecaster(history)
    found = [y[:, -1], *(frame for frame, _ in closed_loop(forecaster, y[:, -1], state, 4, forcing[:, :4]))]
    torch.testing.assert_close(torch.stack(found), torch.stack(expected), rtol=0.0, atol=1e-12)


def test_nothing_is_computed_before_it_is_asked_for():
    forecaster, history, forcing = made()
    calls = []
    forecaster.register_forward_hook(lambda *_: calls.append(1))
    frames = rollout(forecaster, history, 5, forcing)
    assert len(calls) == 0
    next(frames)
    assert len(calls) == 1


FORCING = torch.zeros(2, 5, 1, 4, 6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps must be a positive integer, got 0"),
        ({"steps": 2.0}, r"steps must be a positive integer, got 2\.0"),
        ({"history": torch.zeros(3, 3, 4, 6)}, "history must have 5 dimensions"),
        ({"history": torch.zeros(2, 0, 3, 4, 6)}, "history must have at least one frame"),
        ({"forcing": None}, r"forcing must be given with shape \(2, 5, 1, 4, 6\)"),
        ({"forcing": FORCING[:, :4]}, r"forcing must have shape \(2, 5, 1, 4, 6\) .* got \(2, 4, 1, 4, 6\)"),
        ({"mask": torch.ones(4, 6)}, r"mask must be bool, got torch\.float32"),
        ({"mask": torch.ones(4, 5).bool()}, r"mask must be \[H, W\] or fit \(2, 2, 4, 6\) .* got \(4, 5\)"),
        ({"mask": torch.ones(1, 1, 1, 4, 6).bool()}, r"mask must be \[H, W\] or fit"),
    ],
)
def test_bad_arguments_get_a_sentence_at_the_call(changes, message):
    forecaster, history, _ = made()
    arguments = {"history": history, "steps": 5, "forcing": FORCING, **changes}
    with pytest.raises(InputError, match=message):
        rollout(forecaster, **arguments)


def test_forcing_for_a_model_without_is_refused():
    forecaster, history, _ = made(forcings=0)
    with pytest.raises(InputError, match="forcing must be None for a model without forcing channels"):
        rollout(forecaster, history, 5, FORCING)
