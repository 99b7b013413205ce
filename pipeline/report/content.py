"""What goes into the report of a model: the example case, the facts, the history of its training.

write_report(page, gather(config, model, scorecard, {"train": 62.0}))
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping

import numpy as np
import xarray as xr

from .. import archive, lineage
from ..config import Config
from ..evaluation import scoring_cases, truth_at
from ..forecast import make_forecast, open_reader
from ..registry import RegisteredModel
from ..scorecard import Scorecard
from ..windows import Splits, Window, make_splits
from .page import ReportContent


def gather(config: Config, model: RegisteredModel, scorecard: Scorecard, seconds: Mapping[str, float]) -> ReportContent:
    """Everything a report shows.

    Args:
        config: Names the archive, the splits and the test cases.
        model: The registered version.
        scorecard: Its scores, made with the same configuration.
        seconds: Time of each stage of the run.
    """
    snapshot_id = scorecard.attrs["snapshot_id"]
    history, steps = int(model.metadata["history"]), config.forecast_steps
    with archive.open_dataset(config.archive_path, snapshot_id) as dataset:
        splits = make_splits(dataset, config.split, config.gap)
    cases = scoring_cases(splits.test, config, history)
    number = median_case(scorecard)
    reader = open_reader(model, config.archive_path, snapshot_id)
    case: Window = cases[number]
    forecast = make_forecast(model, reader, [case], steps, {}).isel({("sample" if reader.sampled else "init_time"): 0})
    truth = forecast.copy()
    for channel, field in enumerate(np.moveaxis(truth_at(reader, case, history, steps), 1, 0)):
        name = model.metadata["variables"][channel]
        truth[name] = (forecast[name].dims, field, forecast[name].attrs)
    return ReportContent(
        title=config.name,
        scorecard=scorecard,
        truth=truth,
        forecast=forecast,
        case=f"{scorecard.scores['case'].values[number]}, the test case of median error",
        history=model.metadata["epochs"],
        facts=_facts(config, model, splits, snapshot_id),
        timings=seconds,
        config_yaml=config.to_yaml(),
        created=f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC",
    )


def median_case(scorecard: Scorecard) -> int:
    """Number of the case whose error, over all variables and lead times, is the median: neither picked nor lucky."""
    rmse = scorecard.scores["rmse"].sel(source="climatology", drop=True)
    relative = scorecard.scores["mse"].sel(source="model", drop=True) / rmse.where(rmse > 0) ** 2
    errors: xr.DataArray = relative.mean(dim=("variable", "lead_time"))
    return int(np.argsort(errors.values, kind="stable")[(errors.sizes["case"] - 1) // 2])


def _facts(config: Config, model: RegisteredModel, splits: Splits, snapshot_id: str) -> dict[str, dict[str, str]]:
    info = archive.info(config.archive_path, snapshot_id)
    tags = model.version.tags
    parameters = sum(parameter.numel() for parameter in model.forecaster.parameters())
    along = "samples" if "sample" in info.dims else "frames"
    return {
        "Data": {
            "archive": str(info.path),
            "snapshot_id": snapshot_id,
            "dimensions": ", ".join(f"{name} {size}" for name, size in info.dims.items()),
            "times": f"{info.first_time} to {info.last_time}",
            **{split.name: f"{along} {_span(getattr(split, along))}" for split in splits},
        },
        "Model": {
            "version": f"{model.version.name}/{model.version.version}",
            "aliases": ", ".join(model.version.aliases) or "none",
            "cell": config.model.cell,
            "parameters": f"{parameters:,}",
            "history, horizon": f"{config.window.history}, {config.window.horizon} frames",
            "trained on": tags.get("snapshot_id", ""),
            "MLflow run": model.version.run_id,
        },
        "Code": {"version": lineage.code_version(), "hash": tags.get("code_hash", ""), "config_hash": config.hash()},
    }


def _span(span: tuple[int, int]) -> str:
    return f"{span[0]} to {span[1] - 1}"
