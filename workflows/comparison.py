"""Two versions compared on the same test cases: a table, JSON, a page, and the same in MLflow.

compare_models(context, "champion", "challenger", json=None, html=Path("comparison.html"))
"""

from __future__ import annotations

import datetime
import json as json_text
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from pipeline.comparison import Comparison, Interval, compare
from pipeline.difference import Difference, differences
from pipeline.error_maps import error_maps
from pipeline.errors import ComparisonError
from pipeline.lead_time import milestones
from pipeline.registry import ModelVersion
from pipeline.report import ComparisonContent, write_comparison

from .console import Console
from .context import Context
from .models import resolve
from .stages import evaluate_model, title


def compare_models(context: Context, model_a: str, model_b: str, json: Path | None, html: Path | None) -> None:
    """Score what was not scored before, then show how B differs from A.

    Args:
        context: Configuration and registry.
        model_a: A version, as for `resolve`.
        model_b: The version that is stated against it.
        json: Also written there.
        html: Also a page, written there.
    """
    versions = [resolve(context, name) for name in (model_a, model_b)]
    if versions[0].uri == versions[1].uri:
        raise ComparisonError(f"{model_a} and {model_b} are the same version, {versions[0].uri}; name two")
    cards = [evaluate_model(context, version)[0] for version in versions]
    rules = context.config.promotion
    found = compare(
        *cards,
        seed=rules.seed,
        draws=rules.draws,
        block=rules.block,
        confidence=rules.confidence,
        variables=rules.variables,
    )
    models = [context.registry.load(version.uri) for version in versions]
    changed = differences(*models)
    show(context.console, found, versions, changed)
    tree = found.to_dict() | {"differences": [asdict(one) for one in changed]}
    text = json_text.dumps(tree, indent=1, ensure_ascii=False, allow_nan=False)
    _log(context, found, versions, text)
    if json is not None:
        json.write_text(text, encoding="utf-8")
        context.console.line(f"json  {json}")
    if html is not None:
        with context.console.stage("maps") as progress:
            snapshot_id = found.a["snapshot_id"]
            maps_a, maps_b = (error_maps(model, context.config, snapshot_id, progress) for model in models)
        content = ComparisonContent(
            title=context.config.name,
            a=title(versions[0]),
            b=title(versions[1]),
            found=found,
            differences=changed,
            maps_a=maps_a,
            maps_b=maps_b,
            created=f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC",
        )
        write_comparison(html, content)
        context.console.line(f"html  {html}")


def _log(context: Context, found: Comparison, versions: list[ModelVersion], text: str) -> None:
    """Keep the comparison with the run of B: its curves, its primary metric in per cent, and all of it as JSON."""
    run, other = context.registry.open_run(versions[1].run_id), f"{versions[0].name} {versions[0].version}"
    names = ("primary change percent", "primary lower percent", "primary upper percent")
    values = dict(zip(names, found.primary.percent, strict=True))
    run.log_metrics({f"against {other}/{name}": value for name, value in values.items()})
    stem = f"rmse change percent against {other} by lead time"
    curves = {f"{stem}/{variable}": series for variable, series in found.percent_by_lead().items()}
    run.log_series({name: series for name, series in curves.items() if name not in versions[1].metrics})
    with tempfile.TemporaryDirectory(prefix="minconv-compare-") as folder:
        file = Path(folder) / f"against_{versions[0].name}_{versions[0].version}.json"
        file.write_text(text, encoding="utf-8")
        run.log_file(file, "comparisons")


def show(console: Console, found: Comparison, versions: list[ModelVersion], changed: tuple[Difference, ...]) -> None:
    """The comparison in the terminal."""
    console.line(f"A = {title(versions[0])}, B = {title(versions[1])}")
    baselines = [{"persistence": "persist.", "climatology": "climat."}.get(name, "damped") for name in found.references]
    header = ("variable", "lead", "A", "B", *baselines, "B against A", "interval")
    console.table(
        f"RMSE on {found.cases} test cases", header, list(_rows(found)), right=tuple(range(2, 6 + len(baselines)))
    )
    console.line(f"primary metric, mean over variables and lead times: RMSE of B is {found.in_words(found.primary)}")
    for (model, reference), change in found.against.items():
        console.line(f"  {model.upper()} against {reference.replace('_', ' ')}: {found.in_words(change)}")
    if changed:
        rows = [(one.what, one.name, one.a, one.b) for one in changed]
        console.table("What differs", ("", "", "A", "B"), rows)
    else:
        console.line("data, code and configuration are the same")


def _rows(found: Comparison) -> Iterator[tuple[str, ...]]:
    """One row per variable and milestone lead time, as text."""
    for variable in found.table["variable"].values:
        for lead in milestones(found.leads):
            here = found.table.sel(variable=variable).isel(lead_time=lead)
            change, low, high = Interval(*(float(here[name]) for name in ("change", "lower", "upper"))).percent
            errors = (f"{float(here[f'rmse_{name}']):.4g}" for name in ("a", "b", *found.references))
            name = f"{variable} [{here['units'].item()}]"
            yield name, found.leads.labels[lead], *errors, f"{change:+.1f} %", f"{low:+.1f} … {high:+.1f} %"
