"""The steps of a night, in order; each takes what the earlier ones noted and returns what is to be noted of it.

What lives here: what a step does, with the stages. What does not: the ledger, the lease and what was done before
(`nightly`). A step may be killed after its work and before that is noted: done again, it finds its work and notes it.

    for name, step in STEPS.items():
        tenure.record(name, step(work))
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import novelty
from pipeline.errors import ConfigError, PromotionError
from pipeline.ledger import Tenure
from pipeline.promotion import Verdict, judge, promote, refuse
from pipeline.registry import CHAMPION, ModelVersion
from pipeline.retraining import decide
from pipeline.scorecard import Scorecard
from pipeline.training import Parent

from . import stages
from .context import Context
from .night_report import write_page

Result = dict[str, Any]
BY = "minconv nightly"  # in the audit trail


@dataclass(frozen=True)
class Work:
    """A night at work.

    Attributes:
        context: Configuration, console, registry.
        date: Logical date, ISO 8601.
        backfill: It is a missed night: it changes no champion.
        tenure: The right to do it.
        done: Results of the steps that are finished.
        seen: Rejections that an earlier night reported.
    """

    context: Context
    date: str
    backfill: bool
    tenure: Tenure
    done: Mapping[str, Any]
    seen: frozenset[str] = frozenset()

    @property
    def snapshot_id(self) -> str:
        """The version of the Archive that the night is about, whatever came later."""
        return str(self.done["ingest"]["snapshot_id"])

    @property
    def folder(self) -> Path:
        """Where the night's files lie."""
        return self.context.config.work_dir / "nights" / self.date

    def version(self, number: int) -> ModelVersion:
        """A version of the pipeline's model."""
        return self.context.registry.resolve(f"models:/{self.context.config.name}/{number}")


def ingest(work: Work) -> Result:
    """Archive what is new; the version of the Archive that this leaves is the night's."""
    found, _ = stages.ingest_files(work.context)
    rejected = [str(one) for one in found.rejected]
    return {
        "snapshot_id": found.snapshot_id,
        "committed": [path.name for path in found.committed],
        "appended": found.appended,
        "revised": found.revised,
        "filled": found.filled,
        "rejected": rejected,
        "newly_rejected": [text for text in rejected if text not in work.seen],
        "waiting": [str(one) for one in found.waiting],
        "coverage": found.coverage,
    }


def gate(work: Work) -> Result:
    """Decide whether to train, and from what."""
    config, registry = work.context.config, work.context.registry
    versions = registry.versions()
    champion = next((version for version in versions if CHAMPION in version.aliases), None)
    if champion is None and work.backfill:
        raise ConfigError(
            f"{config.name} has no champion yet, and a backfill makes none; run a night without --backfill"
        )
    trained_on = versions[0].tags.get("snapshot_id", "") if versions else ""
    new = novelty.new_since(config.archive_path, work.snapshot_id, trained_on)
    revised = novelty.revised_since(config.archive_path, work.snapshot_id, trained_on)
    drift: novelty.Drift | None = None
    skill: float | None = None
    changed: tuple[str, ...] = ()
    if champion is not None:
        model = registry.load(champion.uri)
        drift = novelty.drift_since(config, work.snapshot_id, model)
        changed = novelty.changed_sections(config, model)
        skill = _mean_skill(_scorecard(work, champion.version))
    ingested = work.done["ingest"]
    bad, good = len(ingested["newly_rejected"]), len(ingested["committed"])
    decision = decide(
        config.nightly,
        champion=champion is not None,
        new=new,
        revised=revised,
        rejected_share=bad / (bad + good) if bad else 0.0,
        drift=drift,
        skill=skill,
        changed=changed,
    )
    return {
        "champion": None if champion is None else champion.version,
        "new": new,
        "revised": revised,
        "drift": None if drift is None else dataclasses.asdict(drift),
        **dataclasses.asdict(decision),
    }


def train(work: Work) -> Result:
    """Train the challenger, if that was decided."""
    decision, config = work.done["gate"], work.context.config
    if not decision["train"]:
        return {"challenger": None}
    parent = None
    if decision["warm"]:
        parent = Parent.of(work.context.registry.load(work.version(decision["champion"]).uri))
        rules, options = config.nightly, config.training
        training = options.model_copy(
            update={
                "epochs": rules.epochs or options.epochs,
                "learning_rate": rules.learning_rate or options.learning_rate,
            }
        )
        config = config.model_copy(update={"training": training})
    context = dataclasses.replace(work.context, config=config)
    version, outcome = stages.train_model(context, work.snapshot_id, parent, work.date)
    return {"challenger": version.version, "summary": outcome.summary}


def score(work: Work) -> Result:
    """Score champion and challenger on the test cases of the night's snapshot."""
    champion, challenger = work.done["gate"]["champion"], work.done["train"]["challenger"]
    return {
        role: None if number is None else _scores(work, number)
        for role, number in (("champion", champion), ("challenger", challenger))
    }


def verdict(work: Work) -> Result:
    """Judge the challenger."""
    champion, challenger = work.done["gate"]["champion"], work.done["train"]["challenger"]
    if challenger is None:
        return {"promote": False, "reasons": list(work.done["gate"]["reasons"]), "numbers": {}}
    rules = work.context.config.promotion
    if champion is None:
        found = judge(_scorecard(work, challenger), None, rules)
        against = () if found.promote else found.reasons
        first = "It is the first version, which is champion until a better one comes."
        found = Verdict(True, (first, *against), found.numbers)
    else:
        found = judge(_scorecard(work, challenger), _scorecard(work, champion), rules)
    if work.backfill:
        found = Verdict(False, ("A backfill changes no champion.", *found.reasons), found.numbers)
    return {"promote": found.promote, "reasons": list(found.reasons), "numbers": found.numbers}


def aliases(work: Work) -> Result:
    """Carry out the verdict."""
    registry, challenger = work.context.registry, work.done["train"]["challenger"]
    before = work.done["gate"]["champion"]
    if challenger is None:
        return {"champion": before, "promoted": False}
    noted = work.done["verdict"]
    found = Verdict(noted["promote"], tuple(noted["reasons"]), noted["numbers"])
    version = work.version(challenger)
    work.tenure.check()
    if not found.promote:
        refuse(registry, version, found, by=BY)
        return {"champion": before, "promoted": False}
    expected = None if before is None else work.version(before)
    try:
        promote(registry, version, found, expected, lock=work.context.promotion_lock, by=BY)
    except PromotionError as error:  # somebody else changed the champion: theirs stays
        return {"champion": registry.resolve().version, "promoted": False, "note": str(error)}
    return {"champion": challenger, "promoted": True}


def forecast(work: Work) -> Result:
    """Forecast with the champion from the night's newest frame."""
    version = work.version(work.done["aliases"]["champion"])
    out = work.folder / "forecast.nc"
    out.parent.mkdir(parents=True, exist_ok=True)
    start, config = None, work.context.config
    if work.backfill:
        start = novelty.newest_until(config.archive_path, work.snapshot_id, work.date, config.window.history)
    outcome = stages.forecast_file(work.context, version, out, start, snapshot_id=work.snapshot_id)
    return {"file": str(out), "summary": outcome.summary}


def report(work: Work) -> Result:
    """Write the night's page."""
    card = _scorecard(work, work.done["aliases"]["champion"])
    page = write_page(work.context.config, work.folder, work.date, work.done, card, work.tenure.night.started_at)
    return {"page": str(page)}


STEPS: dict[str, Callable[[Work], Result]] = {
    step.__name__: step for step in (ingest, gate, train, score, verdict, aliases, forecast, report)
}


def _scorecard(work: Work, number: int) -> Scorecard:
    return stages.evaluate_model(work.context, work.version(number), work.snapshot_id)[0]


def _scores(work: Work, number: int) -> Result:
    """Mean RMSE and skill over lead times, by variable."""
    card = _scorecard(work, number)
    metrics = card.metrics("")

    def means(score: str) -> dict[str, float | None]:
        return {name: metrics.get(f"/{score}/{name}/mean") for name in card.variables}

    named = {key: means(key) for key in ("rmse", "skill_persistence", "skill_climatology")}
    return {"version": number, "cases": card.cases, **named}


def _mean_skill(card: Scorecard) -> float | None:
    """Against persistence, over variables and lead times; None where persistence has no error."""
    found = card.skill("persistence").mean().item()
    return found if math.isfinite(found) else None
