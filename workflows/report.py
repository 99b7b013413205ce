"""The report stage: write the page unless it is there, send it and its figures to MLflow.

make_report(context, version, scorecard, {"train": 62.0})
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from pipeline.registry import ModelVersion
from pipeline.report import gather, write_report
from pipeline.scorecard import Scorecard

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
    model = context.registry.load(version.uri)
    with context.console.stage("report"):
        made_from.unlink(missing_ok=True)
        written = write_report(page, gather(config, model, scorecard, seconds))
    run = context.registry.open_run(version.run_id)
    for figure in written.figures.values():
        run.log_file(figure, "figures")
    run.log_file(written.page, "report")
    made_from.write_text(json.dumps(key))
    return Outcome(f"{len(written.figures)} figures", False, str(page))
