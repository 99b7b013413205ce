"""The report stage: choose the example case, gather the facts, write the page, send the figures to MLflow.

make_report(context, version, scorecard, {"train": 62.0})
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping

import numpy as np
import xarray as xr

from pipeline import archive, lineage
from pipeline.config import Config
from pipeline.evaluation import truth_at
from pipeline.forecast import make_forecast, open_reader
from pipeline.registry import ModelVersion, RegisteredModel
from pipeline.report import ReportContent, write_report
from pipeline.scorecard import Scorecard
from pipeline.windows import Splits, Window, make_splits, windows

from .context import Context
from .stages import Outcome


def make_report(context: Context, version: ModelVersion, scorecard: Scorecard, seconds: Mapping[str, float]) -> Outcome:
    """Write the report of a version, unless it is there.

    Args:
        context: Configuration and registry.
        version: The model.
        scorecard: Its scores.
        seconds: Time of each stage so far.
    """
    config = context.config
    page = config.work_dir / "report" / "report.html"
    made_from = page.with_name("made_from.json")
    key = {"model": version.uri, "scores": scorecard.attrs, "config_hash": config.hash()}
    if page.is_file() and made_from.is_file() and json.loads(made_from.read_text()) == key:
        return Outcome("the same model, data and configuration", True, str(page))
    snapshot_id = scorecard.attrs["snapshot_id"]
    model = context.registry.load(version.uri)
    with context.console.stage("report"):
        made_from.unlink(missing_ok=True)
        written = write_report(page, _content(config, model, scorecard, snapshot_id, seconds))
    run = context.registry.open_run(version.run_id)
    for figure in written.figures.values():
        run.log_file(figure, "figures")
    run.log_file(written.page, "report")
    made_from.write_text(json.dumps(key))
    return Outcome(f"{len(written.figures)} figures", False, str(page))


def _content(
    config: Config, model: RegisteredModel, scorecard: Scorecard, snapshot_id: str, seconds: Mapping[str, float]
) -> ReportContent:
    history, steps = int(model.metadata["history"]), config.forecast_steps
    with archive.open_dataset(config.archive_path, snapshot_id) as dataset:
        splits = make_splits(dataset, config.split, config.gap)
    cases = windows(splits.test, history + steps, config.evaluation.stride)
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
