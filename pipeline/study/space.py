"""What a search varies: settings of the configuration, each with the values it may take.

What lives here: reading a space, the default one, and the settings of a trial, a pure function of seed and number. What
does not: the configurations made of them (`sampling`), training them (`tuning`).

    space = read_space({"training.learning_rate": {"log": [1e-3, 1e-2]}, "training.batch_size": {"choice": [1, 2]}})
    space.settings(seed=0, count=2)      # [{"training.learning_rate": 0.004312, "training.batch_size": 1}, ...]

A study ranks by the validation error, which can be compared only where data and windows are alike: settings of the
sections `model` and `training` can be searched, and `seed`, which shows how much of the error is chance.
"""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..config import Config, ModelConfig, Section, TrainingConfig
from ..errors import ConfigError

DIGITS = 4  # significant ones of a number that is drawn
_KINDS = ("choice", "uniform", "log")
# Errors of anomalies are in other units; the search itself ends trials; the rest says where and how it is trained.
_FIXED = {
    "model.anomaly",
    "training.epochs",
    "training.max_seconds",
    "training.max_steps",
    "training.patience",
    "training.gpu",
}


@dataclass(frozen=True)
class Dimension:
    """One setting and its values.

    Attributes:
        key: Dotted path in the configuration.
        kind: ``choice`` of `values`; ``uniform`` or ``log`` between the two `values`.
        values: Plain data.
    """

    key: str
    kind: str
    values: tuple[Any, ...]

    def at(self, share: float) -> Any:
        """The value at a share of the way, 0 up to (not including) 1."""
        if self.kind == "choice":
            return self.values[int(share * len(self.values))]
        low, high = self.values
        if self.kind == "log":
            return float(f"{low * (high / low) ** share:.{DIGITS}g}")
        return float(f"{low + (high - low) * share:.{DIGITS}g}")


@dataclass(frozen=True)
class Space:
    """All that is varied; everything else is as the configuration has it."""

    dimensions: tuple[Dimension, ...]

    def settings(self, seed: int, count: int) -> list[dict[str, Any]]:
        """The first so many settings that differ; fewer where the space has no more.

        Further ones do not change those before them. They are points of a scrambled Halton sequence, which fills a
        space more evenly than independent draws.
        """
        found: list[dict[str, Any]] = []
        for one in self._sequence(seed):
            if len(found) == min(count, self.size):
                break
            if one not in found:
                found.append(one)
        return found

    @property
    def size(self) -> float:
        """How many settings there are; infinite where one of them is a number between two others."""
        return math.prod(len(one.values) if one.kind == "choice" else math.inf for one in self.dimensions)

    def to_dict(self) -> dict[str, dict[str, list[Any]]]:
        """As its YAML has it."""
        return {one.key: {one.kind: list(one.values)} for one in self.dimensions}

    def to_json(self) -> str:
        """The same text for the same space."""
        return json.dumps(self.to_dict(), sort_keys=True)

    def _sequence(self, seed: int) -> Iterator[dict[str, Any]]:
        from scipy.stats import qmc

        points = qmc.Halton(len(self.dimensions), scramble=True, rng=seed)
        while True:
            (shares,) = points.random(1)
            yield {one.key: one.at(float(share)) for one, share in zip(self.dimensions, shares, strict=True)}


def read_space(tree: Any) -> Space:
    """A space from plain data: ``{KEY: {choice: [...]}}``, ``{uniform: [LOW, HIGH]}`` or ``{log: [LOW, HIGH]}``.

    Raises:
        ConfigError: A key is no setting, or cannot be searched; a dimension has another form.
    """
    if not isinstance(tree, Mapping) or not tree or not all(isinstance(key, str) for key in tree):
        raise ConfigError(
            "a space must map settings to their values, as training.learning_rate: {log: [1e-3, 1e-2]}, "
            f"got {str(tree)[:80]!r}"
        )
    return Space(tuple(_dimension(key, tree[key]) for key in sorted(tree)))


def default_space(config: Config, grid: tuple[int, int]) -> Space:
    """Optimizer, loss and learning rate, width, depth, patch, noise and weight decay, around a configuration's own.

    Args:
        config: To start from.
        grid: Points along each side, which a patch has to divide.
    """
    rate, hidden = config.training.learning_rate, config.model.hidden
    width, depth = max(hidden), len(hidden)
    widths = sorted({max(4, width // 2), width, width * 3 // 2})
    depths = sorted({max(1, depth // 2), depth, math.ceil(depth * 1.5)})
    sides = [*grid, *(() if config.tiles is None else (*config.tiles.size, *(config.tiles.halo or ())))]
    patches = [patch for patch in (1, 2, 4) if all(side % patch == 0 for side in sides)]
    return read_space(
        {
            "training.optimizer": {"choice": ["adamw", "muon"]},
            "training.loss": {"choice": ["mse", "log_mse"]},
            "training.learning_rate": {"log": [rate / 4, rate * 4]},
            "training.input_noise": {"log": [1e-3, 0.3]},
            "training.weight_decay": {"log": [1e-5, 0.1]},
            "model.hidden": {"choice": [[width] * depth for depth in depths for width in widths]},
            "model.patch": {"choice": patches},
        }
    )


def searchable() -> list[str]:
    """Keys that a space may name."""
    sections: dict[str, type[Section]] = {"model": ModelConfig, "training": TrainingConfig}
    keys = [f"{name}.{field}" for name, section in sections.items() for field in section.model_fields]
    execution = {f"training.{name}" for name in TrainingConfig.EXECUTION}
    return ["seed", *(key for key in keys if key not in _FIXED | execution)]


def _dimension(key: str, given: Any) -> Dimension:
    _check_key(key)
    if not isinstance(given, Mapping) or len(given) != 1 or (kind := str(next(iter(given)))) not in _KINDS:
        raise ConfigError(
            f"{key} must have one of the forms {{choice: [...]}}, {{uniform: [LOW, HIGH]}} and {{log: [LOW, HIGH]}}, "
            f"got {str(given)[:80]!r}"
        )
    values = given[kind]
    if kind == "choice":
        if not isinstance(values, list) or not values or any(one in values[:at] for at, one in enumerate(values)):
            raise ConfigError(f"{key}: choice must list values that differ, got {str(values)[:80]!r}")
        return Dimension(key, kind, tuple(values))
    low, high = _ends(key, kind, values)
    if not (low < high and (kind == "uniform" or low > 0)):
        above = "both above 0, " if kind == "log" else ""
        raise ConfigError(f"{key}: {kind} must be [LOW, HIGH], {above}the smaller first, got [{low:g}, {high:g}]")
    return Dimension(key, kind, (low, high))


def _ends(key: str, kind: str, values: Any) -> tuple[float, float]:
    """Two numbers; they may be text, as YAML takes 1e-3 for text."""
    try:
        low, high = (float(value) for value in values if not isinstance(value, bool))
    except (TypeError, ValueError):
        raise ConfigError(f"{key}: {kind} must be two numbers [LOW, HIGH], got {str(values)[:80]!r}") from None
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ConfigError(f"{key}: {kind} must be two finite numbers, got [{low:g}, {high:g}]")
    return low, high


def _check_key(key: str) -> None:
    """Refuse what is no setting, or one that trials cannot differ in."""
    known = searchable()
    if key in known:
        return
    section, _, field = key.partition(".")
    if _is_setting(section, field.partition(".")[0]):
        raise ConfigError(
            f"{key} cannot be searched: trials are ranked by their validation error, so they share data, windows and "
            "units, and the search itself says how long and where they train; name settings of model and training"
        )
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.4)
    hint = f"did you mean '{near[0]}'?" if near else f"keys that can be searched: {', '.join(known)}"
    raise ConfigError(f"the space names '{key}', which is no setting; {hint}")


def _is_setting(section: str, field: str) -> bool:
    """Whether the configuration has such a field; without a `field`, such a section."""
    if section not in Config.model_fields:
        return False
    fields: Mapping[str, Any] = getattr(Config.model_fields[section].annotation, "model_fields", {})
    return not field or field in fields
