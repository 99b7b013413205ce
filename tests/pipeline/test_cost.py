import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import cost, machine
from pipeline.config import Config, check_config
from pipeline.splits import Span, Split, Splits
from pipeline.step_cost import StepCost

STEP = StepCost(
    windows=2,
    parameters=1000,
    seconds=0.5,
    predicted_seconds=0.4,
    peak_bytes=500_000_000,
    predicted_bytes=450_000_000,
    base_bytes=300_000_000,
    bytes_per_window=100_000_000,
)
SPLITS = Splits(
    Split("train", Span(0, 1), Span(0, 110)),
    Split("validation", Span(0, 1), Span(120, 140)),
    Split("test", Span(0, 1), Span(150, 200)),
)


def config(**training: object) -> Config:
    window = {"history": 5, "horizon": 6, "stride": 10}
    return check_config({"source": {"path": "."}, "window": window, "training": {"batch_size": 2, **training}})


def test_time_counts_steps_and_validation() -> None:
    # 10 training windows in 5 steps of 0.5 s; 10 validation windows at a third of 0.25 s each
    assert cost.training_seconds(config(epochs=3), STEP, SPLITS) == pytest.approx(3 * (5 * 0.5 + 10 * 0.25 / 3))


def test_time_ends_with_max_steps_and_the_validation_of_the_epoch_they_end_in() -> None:
    assert cost.training_seconds(config(epochs=3, max_steps=7), STEP, SPLITS) == pytest.approx(
        7 * 0.5 + 2 * 10 * 0.25 / 3
    )
    assert cost.training_seconds(config(epochs=1, max_steps=7), STEP, SPLITS) == pytest.approx(5 * 0.5 + 10 * 0.25 / 3)


def test_time_ends_at_max_seconds() -> None:
    assert cost.training_seconds(config(epochs=1000, max_seconds=60), STEP, SPLITS) == 60


@given(st.integers(10**8, 10**12), st.integers(1, 8), st.integers(0, 10**9), st.integers(0, 10**9))
def test_the_largest_batch_fits_and_one_more_does_not(free: int, workers: int, cached: int, slope: int) -> None:
    step = dataclasses.replace(STEP, bytes_per_window=float(slope))
    most = cost.largest_batch(step, workers, cached, free)
    assert most % workers == 0

    def needed(batch: int) -> float:
        return workers * (step.peak_bytes + cached + (batch / workers - step.windows) * max(slope, 1))

    if most:
        assert needed(most) <= cost.MEMORY_SHARE * free * (1 + 1e-9) + workers * STEP.windows
    assert needed(most + workers) > cost.MEMORY_SHARE * free * (1 - 1e-9) - workers * STEP.windows


def test_a_batch_that_does_not_fit_is_broken_and_the_one_that_does_is_named() -> None:
    finding = cost.batch_finding(config(batch_size=8), STEP, 0, 1_000_000_000)
    assert finding.state == "broken"
    assert "set training.batch_size=5" in finding.advice
    assert cost.batch_finding(config(batch_size=5), STEP, 0, 1_000_000_000).state == "ok"


def test_not_one_window_fits() -> None:
    finding = cost.batch_finding(config(), STEP, 0, 100_000_000)
    assert finding.state == "broken"
    assert "activation_checkpointing" in finding.advice


def test_a_training_past_its_deadline_is_broken() -> None:
    found = {one.name: one for one in cost.step_findings(config(epochs=100, deadline_seconds=10), STEP, SPLITS, 4)}
    assert found["training time"].state == "broken"
    assert "deadline_seconds" in found["training time"].advice


def test_frames_larger_than_the_cache_are_not_held() -> None:
    assert cost.cached_bytes(config(), SPLITS, 10) == 4 * 10 * (110 + 20)
    assert cost.cached_bytes(config(cache_bytes=4 * 10 * 20), SPLITS, 10) == 4 * 10 * 20


def test_what_is_asked_for_beyond_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "processors", lambda: 2)
    monkeypatch.setattr(machine, "gpus", list)
    monkeypatch.setattr(machine, "free_disk", lambda folder: 1000)
    found = {one.name: one for one in cost.resource_findings(config(workers=2, threads=2, gpu=True), 100, 10)}
    assert found["processors"].found == "4 asked for, 2 here"
    assert found["gpu"].found == "2 asked for, 0 here"
    assert found["disk"].state == "broken"
    assert all(one.advice for one in found.values())
