"""The configuration: one frozen pydantic tree, `Config`, read from YAML.

What lives here: the tree, what follows from it, and its hash. What does not: the sections (`config_sections`), the
rules between them (`config_rules`), YAML and overrides (`config_file`), the words of an error (`config_message`), rules
that need data (the first stage that has the data raises them) and the environment (`workflows`).

    config = read_config(Path("my.yaml"), overrides=["training.epochs=5"])
    config.archive_path      # runs/<name>/archive
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from .config_file import read_tree
from .config_message import sentence
from .config_model import ModelConfig
from .config_operations import ComputeConfig, NightlyConfig, PromotionConfig
from .config_quality import QualityConfig
from .config_rules import check_sections
from .config_sections import (
    ArchiveConfig,
    Count,
    EvaluationConfig,
    Forcing,
    ForecastConfig,
    GenerateConfig,
    RegionConfig,
    Role,
    Section,
    SourceConfig,
    SplitConfig,
    VariableConfig,
    WindowConfig,
)
from .config_sensors import SensorConfig
from .config_tiles import TilesConfig
from .config_training import TrainingConfig, WorkersConfig
from .errors import ConfigError

__all__ = [
    "RESERVED_NAMES",
    "ArchiveConfig",
    "ComputeConfig",
    "Config",
    "EvaluationConfig",
    "Forcing",
    "ForecastConfig",
    "GenerateConfig",
    "ModelConfig",
    "NightlyConfig",
    "PromotionConfig",
    "QualityConfig",
    "RegionConfig",
    "Role",
    "Section",
    "SourceConfig",
    "SplitConfig",
    "TilesConfig",
    "TrainingConfig",
    "VariableConfig",
    "WindowConfig",
    "WorkersConfig",
    "check_config",
    "read_config",
]

# Dimensions and coordinates of archives and forecasts, which a variable cannot be called.
RESERVED_NAMES = (
    "time", "lat", "lon", "y", "x", "sample", "mask", "present", "init_time", "lead_time", "valid_time",
)  # fmt: skip


class Config(Section):
    """The whole configuration; the defaults are the demo."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")] = Field("demo", description="pipeline and model name")
    root: Path = Field(Path("runs"), description="folder that everything is written under")
    seed: Annotated[Count, Field(lt=2**63)] = 0
    generate: GenerateConfig | None = None
    source: SourceConfig = SourceConfig()
    sensors: SensorConfig | None = Field(None, description="how tables of sensor readings become fields")
    variables: dict[str, VariableConfig] = Field({"vorticity": VariableConfig(units="s-1")}, min_length=1)
    boundary: Literal["periodic", "cylinder", "closed"] = Field(
        "periodic", description="of the grid: both axes wrap, only x wraps (a globe), or none"
    )
    forcings: tuple[Forcing, ...] = ()
    archive: ArchiveConfig = ArchiveConfig()
    split: SplitConfig = SplitConfig()
    window: WindowConfig = WindowConfig()
    tiles: TilesConfig | None = Field(None, description="train and forecast a large grid part by part; empty: whole")
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    forecast: ForecastConfig = ForecastConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    promotion: PromotionConfig = PromotionConfig()
    quality: QualityConfig = QualityConfig()
    compute: ComputeConfig = ComputeConfig()
    nightly: NightlyConfig = NightlyConfig()

    @field_validator("variables")
    @classmethod
    def _names_are_free(cls, variables: dict[str, VariableConfig]) -> dict[str, VariableConfig]:
        for name in variables:
            if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
                raise ValueError(
                    f"a name must be a letter followed by letters, digits and underscores, got {name!r}; rename it and "
                    "put the name in the files into source_name"
                )
            if name in RESERVED_NAMES:
                raise ValueError(
                    f"{name!r} is the name of a dimension or coordinate ({', '.join(RESERVED_NAMES)}); rename it and "
                    "put the name in the files into source_name"
                )
        if not any(variable.role == "prognostic" for variable in variables.values()):
            raise ValueError("at least one must have the role prognostic, got none; nothing could be fed back")
        expanded = [pair for name, variable in variables.items() for pair in variable.by_level(name).items()]
        if repeated := [name for name, count in Counter(name for name, _ in expanded).items() if count > 1]:
            raise ValueError(f"{repeated[0]!r} is there twice, once by its levels; rename one")
        return dict(expanded)

    @field_validator("forcings")
    @classmethod
    def _forcings_are_distinct(cls, forcings: tuple[Forcing, ...]) -> tuple[Forcing, ...]:
        if repeated := [name for name, count in Counter(forcings).items() if count > 1]:
            raise ValueError(f"each must be there once, got {repeated[0]!r} more than once; remove the others")
        return forcings

    @model_validator(mode="after")
    def _rules_between_sections(self) -> Config:
        check_sections(self)
        return self

    @property
    def varying(self) -> tuple[str, ...]:
        """The variables that vary in time, which is all but the static ones."""
        return tuple(name for name, variable in self.variables.items() if variable.role != "static")

    def of_role(self, *roles: Role) -> tuple[str, ...]:
        """Names of the variables that have one of these roles, role by role."""
        return tuple(name for role in roles for name, variable in self.variables.items() if variable.role == role)

    @property
    def predicted(self) -> tuple[str, ...]:
        """The predicted variables in the order of a model's channels: prognostic, then diagnostic."""
        return self.of_role("prognostic", "diagnostic")

    @property
    def work_dir(self) -> Path:
        """Folder of this pipeline."""
        return self.root / self.name

    @property
    def archive_path(self) -> Path:
        """The Archive."""
        return self.work_dir / "archive"

    @property
    def quarantine_path(self) -> Path:
        """Folder of the entries of rejected files."""
        return self.work_dir / "quarantine"

    @property
    def ingests_path(self) -> Path:
        """Folder of the reports of ingests."""
        return self.work_dir / "ingests"

    @property
    def cache_path(self) -> Path:
        """Folder of decoded frames that a training maps into memory."""
        return self.work_dir / "cache"

    @property
    def source_path(self) -> Path:
        """Folder of the input files; of those at a URL, the folder that they are fetched into."""
        if self.source.url is not None:
            return self.work_dir / "fetched"
        return Path(self.source.path) if self.source.path is not None else self.work_dir / "generated"

    @property
    def gap(self) -> int:
        """Frames between two splits in time."""
        return self.split.gap if self.split.gap is not None else self.window.history + self.window.horizon

    @property
    def forecast_steps(self) -> int:
        """Lead times of a forecast."""
        return self.forecast.steps if self.forecast.steps is not None else self.window.horizon

    def to_yaml(self) -> str:
        """The whole tree, defaults included, as YAML."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)

    def hash(self, sections: Iterable[str] | None = None) -> str:
        """First 12 hex digits of the sha256 of the named top-level sections (default: all but
        `root` and `compute`, which say where and not what), without how the training is carried out.
        """
        tree = self.model_dump(mode="json", exclude={"training": set(TrainingConfig.EXECUTION)})
        names = sorted(set(tree) - {"root", "compute"}) if sections is None else sorted(sections)
        canonical = json.dumps({name: tree[name] for name in names}, sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def read_config(path: Path, overrides: Sequence[str] = ()) -> Config:
    """Read a YAML file, apply overrides and check the result.

    Args:
        path: The file.
        overrides: ``"training.epochs=5"`` each: a dotted path and a YAML value.

    Raises:
        ConfigError: The file is missing, is no YAML mapping, has an unknown or repeated key, or a value breaks a rule.
    """
    return check_config(read_tree(path, overrides), where=str(path))


def check_config(tree: dict[str, Any], where: str = "configuration") -> Config:
    """Turn a plain tree into a `Config`; `where` names its origin in messages.

    Raises:
        ConfigError: Unknown key (with the nearest valid one) or invalid value; the first problem found is reported.
    """
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(f"{where}: {sentence(error, Config)}") from error
