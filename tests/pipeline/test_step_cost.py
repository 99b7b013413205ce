from pathlib import Path

from pipeline import step_cost
from pipeline.config import Config
from pipeline.ingest import rehearse
from pipeline.preflight import step_job


def test_a_step_costs_something(time_config: Config) -> None:
    with rehearse(time_config) as rehearsal:
        job = step_job(time_config, rehearsal, Path("unused"))
    cost = step_cost._measured(job)
    assert cost.windows == 4
    assert cost.seconds > 0
    assert cost.predicted_seconds > step_cost.CALL_SECONDS * time_config.training.closed_loop_steps
    assert 0 < cost.base_bytes <= cost.peak_bytes
    assert cost.predicted_bytes > cost.base_bytes + 16 * cost.parameters
    assert cost.parameters > 100


def test_the_batch_is_shared_by_the_workers(time_config: Config) -> None:
    training = time_config.training.model_copy(update={"workers": 2})
    with rehearse(time_config) as rehearsal:
        job = step_job(time_config.model_copy(update={"training": training}), rehearsal, Path("unused"))
    assert step_cost._measured(job).windows == 2
