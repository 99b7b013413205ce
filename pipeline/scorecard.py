"""The Scorecard: error by variable and lead_time of a model and of the baselines, and what can be read off it.

What lives here: the value, its skill, its names as metrics, its rows as a table, its JSON form. What does not: how
errors are computed (`verification`), figures (`figures`) and comparing two models.

    scorecard = Scorecard.from_json(path.read_text())
    scorecard.skill("persistence").sel(variable="t2m")
    scorecard.metrics()["test/rmse/t2m/06h"]
"""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from .errors import RegistryError
from .lead_time import LeadTimes, milestones
from .skill import SkillInterval, skill_interval

Reference = Literal["persistence", "climatology", "damped_persistence"]
SOURCES = ("model", "persistence", "climatology", "damped_persistence")
SCORES = ("rmse", "mae", "bias", "acc")
REFERENCES: tuple[Reference, ...] = ("persistence", "climatology", "damped_persistence")

_FORMAT = 2
_WITHOUT = {1: ("acc",)}  # older formats that are still read, and the scores they lack


@dataclass(frozen=True)
class Skill:
    """Skill of one variable at one lead time, with the ends of its interval."""

    value: float
    lower: float
    upper: float

    @property
    def better(self) -> bool:
        """Whether all of the interval lies above zero: the model beats the baseline."""
        return self.lower > 0

    @property
    def worse(self) -> bool:
        """Whether all of it lies below zero."""
        return self.upper < 0


@dataclass(frozen=True)
class ScoreRow:
    """One line of a score table: one variable at one lead time; RMSE, MAE and bias in `units`, ACC from -1 to 1."""

    variable: str
    units: str
    lead_time: str
    rmse: float
    baselines: dict[Reference, float]
    skills: dict[Reference, Skill]
    mae: float
    bias: float
    acc: float

    @property
    def better(self) -> bool:
        """Whether the model's RMSE is below that of every baseline."""
        return self.rmse < min(self.baselines.values())

    @property
    def best(self) -> Reference:
        """The baseline with the smallest RMSE: the one that is hardest to beat."""
        return min(self.baselines, key=lambda name: self.baselines[name])


@dataclass(frozen=True, eq=False)
class Scorecard:
    """Scores of one model on the test cases.

    Attributes:
        scores: Float64 `rmse`, `mae`, `bias`, `acc` (source, variable, lead_time), the area-weighted `mse` of every
            case (case, source, variable, lead_time), and `excluded` (variable, lead_time), the number of unmasked
            values left out because the truth or a baseline had none. Coordinates: `source` (`SOURCES`; scorecards of
            older versions lack damped_persistence), `variable` with `units` and `long_name`, `lead_time` as
            timedelta64, `case` as text. Attributes name the model, the snapshot_id and the climatology.
    """

    scores: xr.Dataset

    @property
    def references(self) -> tuple[Reference, ...]:
        """The baselines that were scored."""
        return tuple(name for name in REFERENCES if name in self.scores["source"].values)

    @property
    def cases(self) -> int:
        """Number of test cases."""
        return int(self.scores.sizes["case"])

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of the scored variables."""
        return tuple(str(name) for name in self.scores["variable"].values)

    @property
    def leads(self) -> LeadTimes:
        """The lead times in the unit they read best in."""
        return LeadTimes.of(self.scores["lead_time"].values)

    @property
    def attrs(self) -> dict[str, str]:
        """What was scored against what."""
        return {str(name): str(value) for name, value in self.scores.attrs.items()}

    def skill(self, reference: Reference, source: str = "model") -> xr.DataArray:
        """1 - RMSE / RMSE of the reference, (variable, lead_time); NaN where the reference has no error."""
        rmse = self.scores["rmse"]
        against = rmse.sel(source=reference, drop=True)
        return (1.0 - rmse.sel(source=source, drop=True) / against.where(against > 0)).rename(f"skill_{reference}")

    @cached_property
    def skill_intervals(self) -> dict[Reference, SkillInterval]:
        """Skill of the model against each baseline with its interval; worked out once, the same every time."""
        mse = self.scores["mse"].transpose("source", "case", "variable", "lead_time")
        model = mse.sel(source="model").values
        return {name: skill_interval(model, mse.sel(source=name).values) for name in self.references}

    def metrics(self, prefix: str = "test") -> dict[str, float]:
        """Everything as flat metrics: ``test/rmse/t2m/06h``, ``test/skill_persistence/t2m/mean``, ...

        The baselines' RMSE is ``test/rmse_persistence/...``, and so on; ``mean`` is over lead times. Characters that
        MLflow refuses in a variable's name (also the ``+`` of a lead time) do not appear. Scores that are not finite
        are left out.
        """
        model = self.scores.sel(source="model", drop=True)
        tables = {name: model[name] for name in SCORES}
        tables |= {f"rmse_{name}": self.scores["rmse"].sel(source=name, drop=True) for name in self.references}
        tables |= {f"skill_{name}": self.skill(name) for name in self.references}
        found: dict[str, float] = {}
        for score, table in tables.items():
            values = table.transpose("variable", "lead_time").values
            for variable, row in zip(self.variables, values, strict=True):
                stem = f"{prefix}/{score}/{re.sub(r'[^A-Za-z0-9_.-]', '_', variable)}"
                found |= {f"{stem}/{key}": float(value) for key, value in zip(self.leads.keys, row, strict=True)}
                found[f"{stem}/mean"] = float(np.mean(row))
        return {name: value for name, value in found.items() if np.isfinite(value)}

    def by_lead(self) -> dict[str, list[float]]:
        """Scores of each lead time in order, for charts: ``rmse by lead time/t2m``, ``skill vs persistence …``."""
        tables = {"rmse by lead time": self.scores["rmse"].sel(source="model", drop=True)}
        tables |= {f"skill vs {name} by lead time": self.skill(name) for name in self.references}
        return {
            f"{title}/{re.sub(r'[^A-Za-z0-9_.-]', '_', variable)}": [float(value) for value in row]
            for title, table in tables.items()
            for variable, row in zip(self.variables, table.transpose("variable", "lead_time").values, strict=True)
        }

    def table(self, leads: int = 5) -> list[ScoreRow]:
        """Rows for a table: every variable at `leads` lead times, the first and the last among them."""
        chosen = milestones(self.leads, leads)
        return [self._row(number, lead) for number in range(len(self.variables)) for lead in chosen]

    def _row(self, number: int, lead: int) -> ScoreRow:
        here = self.scores.isel(variable=number, lead_time=lead)
        rmse = {source: float(here["rmse"].sel(source=source)) for source in ("model", *self.references)}
        return ScoreRow(
            variable=self.variables[number],
            units=str(here["units"].values),
            lead_time=self.leads.labels[lead],
            rmse=rmse["model"],
            baselines={name: rmse[name] for name in self.references},
            skills={name: self._skill(name, number, lead) for name in self.references},
            mae=float(here["mae"].sel(source="model")),
            bias=float(here["bias"].sel(source="model")),
            acc=float(here["acc"].sel(source="model")),
        )

    def _skill(self, reference: Reference, number: int, lead: int) -> Skill:
        found = self.skill_intervals[reference]
        return Skill(*(float(values[number, lead]) for values in (found.skill, found.lower, found.upper)))

    def to_json(self) -> str:
        """Text that `from_json` reads back bit for bit; the errors of single cases are packed (zlib, base64)."""
        scores = self.scores
        tree: dict[str, Any] = {"format": _FORMAT, "attrs": self.attrs}
        for name in ("source", "variable", "units", "long_name", "case"):
            tree[name] = [str(value) for value in scores[name].values]
        nanoseconds = scores["lead_time"].values.astype("timedelta64[ns]").astype(np.int64)
        tree["lead_time_ns"] = nanoseconds.tolist()
        tree["excluded"] = scores["excluded"].values.tolist()
        for name in SCORES:
            tree[name] = _with_nulls(scores[name].values)
        packed = zlib.compress(np.ascontiguousarray(scores["mse"].values, dtype="<f8").tobytes())
        tree["mse"] = base64.b64encode(packed).decode("ascii")
        return json.dumps(tree, ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Scorecard:
        """Read what `to_json` wrote.

        Raises:
            RegistryError: The text is damaged, or of a format this version does not know.
        """
        try:
            tree = json.loads(text)
            if tree["format"] != _FORMAT and tree["format"] not in _WITHOUT:
                raise ValueError(f"format {_FORMAT} was expected, got {tree['format']}")
            known = [name for name in SCORES if name not in _WITHOUT.get(tree["format"], ())]
            values = {name: np.array(tree[name], dtype=np.float64) for name in known}  # null becomes NaN
            shape = tuple(len(tree[name]) for name in ("case", "source", "variable", "lead_time_ns"))
            packed = zlib.decompress(base64.b64decode(tree["mse"], validate=True))
            mse = np.frombuffer(packed, dtype="<f8").reshape(shape).astype(np.float64)
            return make_scorecard(
                rmse=values["rmse"],
                mae=values["mae"],
                bias=values["bias"],
                acc=values.get("acc"),
                mse=mse,
                excluded=np.array(tree["excluded"], dtype=np.int64),
                variables=tree["variable"],
                units=tree["units"],
                long_names=tree["long_name"],
                lead_times=np.array(tree["lead_time_ns"], dtype="timedelta64[ns]"),
                cases=tree["case"],
                attrs=tree["attrs"],
            )
        except (ValueError, KeyError, TypeError, zlib.error) as error:
            reason = " ".join(str(error).split())
            raise RegistryError(f"the scorecard cannot be read ({reason}); evaluate the model again") from error


def make_scorecard(
    *,
    rmse: NDArray[np.float64],
    mae: NDArray[np.float64],
    bias: NDArray[np.float64],
    acc: NDArray[np.float64] | None = None,
    mse: NDArray[np.float64],
    excluded: NDArray[np.int64],
    variables: list[str],
    units: list[str],
    long_names: list[str],
    lead_times: NDArray[np.timedelta64],
    cases: list[str],
    attrs: Mapping[str, str],
) -> Scorecard:
    """Put arrays and their names together; shapes as in `Scorecard.scores`. Without `acc` it is not a number.

    The sources are the first of `SOURCES`, as many as there are rows.
    """
    by_source = ("source", "variable", "lead_time")
    return Scorecard(
        xr.Dataset(
            {
                "rmse": (by_source, rmse),
                "mae": (by_source, mae),
                "bias": (by_source, bias),
                "acc": (by_source, np.full_like(rmse, np.nan) if acc is None else acc),
                "mse": (("case", *by_source), mse),
                "excluded": (by_source[1:], excluded),
            },
            {
                "source": list(SOURCES[: len(rmse)]),
                "variable": variables,
                "units": ("variable", units),
                "long_name": ("variable", long_names),
                "lead_time": lead_times.astype("timedelta64[ns]"),
                "case": cases,
            },
            dict(attrs),
        )
    )


def _with_nulls(values: NDArray[np.float64]) -> Any:
    """Nested lists with None for NaN, which JSON does not have."""
    if values.ndim > 1:
        return [_with_nulls(row) for row in values]
    return [None if np.isnan(value) else float(value) for value in values]
