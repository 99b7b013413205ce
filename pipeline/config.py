"""The configuration: one frozen pydantic tree, `Config`, read from YAML.

What lives here: the sections with their defaults and rules, reading a file with overrides, the hash of a configuration.
What does not: rules that need data (the first stage that has the data raises them) and the environment (`workflows`).

    config = read_config(Path("my.yaml"), overrides=["training.epochs=5"])
    config.archive_path      # runs/<name>/archive
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from .errors import ConfigError

Positive = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(gt=0.0, lt=1.0)]
Cell = Literal["minconvgru", "minconvlstm", "minconvexplstm", "convgru", "convlstm", "conv"]
Forcing = Literal["time_of_day", "time_of_year", "latitude", "longitude", "mask"]


class Section(BaseModel):
    """A part of the configuration: frozen, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class GenerateConfig(Section):
    """A simulation to make the input with (`minconv generate`)."""

    kind: Literal["navier_stokes", "advection"] = "navier_stokes"
    samples: Positive = 96
    steps: Positive = Field(50, description="frames recorded per sample")
    size: Positive = Field(32, description="grid points along each side")
    coarsen: Positive = Field(2, description="mean-pool this many points along each side before writing")
    seed: Count = 0
    samples_per_file: Positive = 50


class SourceConfig(Section):
    """Where the input files are."""

    path: Path | None = Field(None, description="folder of input files; empty: what `generate` made")
    files: tuple[str, ...] = Field(
        ("*.nc",), description="patterns of file names (NetCDF, or *.zarr) inside the folder"
    )
    max_rejected_share: Annotated[float, Field(ge=0.0, le=1.0)] = Field(
        0.5, description="above this share of rejected files nothing of the batch is committed"
    )


class VariableConfig(Section):
    """One prognostic variable: predicted, and fed back in a rollout."""

    units: str = Field(description="units in the archive; input in other, convertible units is converted")
    source_name: str | None = Field(None, description="name in the files, where it differs from the name here")
    valid_range: tuple[float, float] | None = Field(
        None, description="plausible values in `units`; others are rejected"
    )


class ArchiveConfig(Section):
    """Chunks and shards of the archive's arrays, in points along the axes (time; both space axes)."""

    chunk_time: Positive = 24
    chunk_space: Positive = 128
    shard_time: Positive = Field(240, description="a multiple of chunk_time")
    shard_space: Positive = Field(512, description="a multiple of chunk_space")

    @model_validator(mode="after")
    def _shards_hold_whole_chunks(self) -> ArchiveConfig:
        for axis in ("time", "space"):
            chunk, shard = getattr(self, f"chunk_{axis}"), getattr(self, f"shard_{axis}")
            if shard % chunk:
                raise ValueError(f"shard_{axis} must be a multiple of chunk_{axis} ({chunk}), got {shard}")
        return self


class SplitConfig(Section):
    """Shares of the archive, in order: along `sample` where there is one, else along time with a gap between splits."""

    train: Share = 0.6
    validation: Share = 0.2
    test: Share = 0.2
    gap: Count | None = Field(None, description="frames left out between splits in time; empty: history + horizon")

    @model_validator(mode="after")
    def _shares_sum_to_one(self) -> SplitConfig:
        total = self.train + self.validation + self.test
        if abs(total - 1.0) > 1e-6:
            raise ValueError(f"train + validation + test must be 1, got {total:.4g}")
        return self


class WindowConfig(Section):
    """The training and test case in time, in frames."""

    history: Positive = Field(20, description="frames seen before a forecast starts")
    horizon: Positive = Field(20, description="frames predicted")
    stride: Positive = Field(1, description="distance between the starts of two training windows")


class ModelConfig(Section):
    """The Forecaster; see `minconv.ForecasterConfig`."""

    cell: Cell = "minconvgru"
    hidden: Annotated[tuple[Positive, ...], Field(min_length=1)] = (40,) * 6
    kernel_size: Positive = 3
    patch: Positive = Field(2, description="fold patch x patch grid points into channels")
    norm: Literal["channel", "group", "none", "layer_hw"] = "channel"
    residual: bool = True
    tendency: bool = Field(True, description="predict the change from the last frame, not the frame")
    tendency_scale: Annotated[float, Field(gt=0.0)] = 0.2
    damping: bool = Field(False, description="learn how fast each variable returns to its mean; needs tendency")
    anomaly: bool = Field(False, description="predict departures from the climatology of the training split")
    closed_padding: Literal["zeros", "reflect"] = Field(
        "zeros", description="padding where the grid's boundary is closed"
    )


class TrainingConfig(Section):
    """The training run."""

    epochs: Positive = 8
    batch_size: Positive = Field(1, description="windows per optimizer step, over all workers")
    learning_rate: Annotated[float, Field(gt=0.0)] = 4e-3
    warmup: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(0.05, description="share of the run with a rising rate")
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.0
    clip_norm: Annotated[float, Field(gt=0.0)] = 1.0
    input_noise: Annotated[float, Field(ge=0.0)] = Field(0.01, description="in standard deviations of each variable")
    closed_loop_steps: Count = Field(0, description="last frames of a window predicted from the model's own output")
    patience: Positive | None = Field(None, description="stop after this many epochs without a better validation loss")
    max_seconds: Annotated[float, Field(gt=0.0)] | None = Field(None, description="stop training after this time")
    workers: Positive = 1
    gpu: bool = Field(False, description="one GPU per worker (nccl); otherwise CPU (gloo)")
    threads: Positive | None = Field(None, description="CPU threads per worker; empty: the machine's, shared out")
    max_failures: Count = 3
    deadline_seconds: Annotated[float, Field(gt=0.0)] = Field(86_400.0, description="end a run that takes longer")
    cache_bytes: Count = Field(2**30, description="hold a split in memory when it is smaller than this")


class ForecastConfig(Section):
    """The forecast that `run` writes."""

    steps: Positive | None = Field(None, description="lead times; empty: window.horizon")


class EvaluationConfig(Section):
    """Scoring on the test split."""

    stride: Positive = Field(1, description="distance between two test cases in time, in frames")
    batch_size: Positive = 16


class Config(Section):
    """The whole configuration; the defaults are the demo."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")] = Field("demo", description="pipeline and model name")
    root: Path = Field(Path("runs"), description="folder that everything is written under")
    seed: Count = 0
    generate: GenerateConfig | None = None
    source: SourceConfig = SourceConfig()
    variables: Annotated[dict[str, VariableConfig], Field(min_length=1)] = {"vorticity": VariableConfig(units="s-1")}
    boundary: Literal["periodic", "cylinder", "closed"] = Field(
        "periodic", description="of the grid: both axes wrap, only x wraps (a globe), or none"
    )
    forcings: tuple[Forcing, ...] = ()
    archive: ArchiveConfig = ArchiveConfig()
    split: SplitConfig = SplitConfig()
    window: WindowConfig = WindowConfig()
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    forecast: ForecastConfig = ForecastConfig()
    evaluation: EvaluationConfig = EvaluationConfig()

    @model_validator(mode="after")
    def _rules_between_sections(self) -> Config:
        if self.generate is None and self.source.path is None:
            raise ValueError("source.path is missing: name the folder of input files, or add a 'generate' section")
        if self.training.closed_loop_steps >= self.window.horizon:
            raise ValueError(
                f"training.closed_loop_steps must be below window.horizon ({self.window.horizon}), as the first step "
                f"starts from the last true frame, "
                f"got {self.training.closed_loop_steps}"
            )
        if self.training.batch_size % self.training.workers:
            raise ValueError(
                f"training.batch_size must be a multiple of training.workers ({self.training.workers}), "
                f"got {self.training.batch_size}"
            )
        if self.model.damping and not self.model.tendency:
            raise ValueError("model.damping needs model.tendency=true, got false")
        return self

    @property
    def work_dir(self) -> Path:
        """Folder of this pipeline."""
        return self.root / self.name

    @property
    def archive_path(self) -> Path:
        """The Archive."""
        return self.work_dir / "archive"

    @property
    def source_path(self) -> Path:
        """Folder of the input files."""
        return self.source.path if self.source.path is not None else self.work_dir / "generated"

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
        """First 12 hex digits of the sha256 of the named top-level sections (default: all but `root`)."""
        tree = self.model_dump(mode="json")
        names = sorted(set(tree) - {"root"}) if sections is None else sorted(sections)
        canonical = json.dumps({name: tree[name] for name in names}, sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def read_config(path: Path, overrides: Sequence[str] = ()) -> Config:
    """Read a YAML file, apply overrides and check the result.

    Args:
        path: The file.
        overrides: ``"training.epochs=5"`` each: a dotted path and a YAML value.

    Raises:
        ConfigError: The file is missing, is no YAML mapping, has an unknown key, or a value breaks a rule.
    """
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"configuration {path} cannot be read ({error.strerror}); check the path") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        detail = " ".join(str(error).split())
        raise ConfigError(f"configuration {path} is not valid YAML ({detail}); correct that line") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"configuration {path} must be a mapping of sections, got {type(tree).__name__}")
    for override in overrides:
        _apply_override(tree, override)
    return check_config(tree, where=str(path))


def check_config(tree: dict[str, Any], where: str = "configuration") -> Config:
    """Turn a plain tree into a `Config`; `where` names its origin in messages.

    Raises:
        ConfigError: Unknown key (with the nearest valid one) or invalid value; the first problem found is reported.
    """
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(f"{where}: {_sentence(error)}") from error


def _apply_override(tree: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise ConfigError(f"override {override!r} must have the form section.key=value, e.g. training.epochs=5")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"override {override!r}: the value is not valid YAML; quote it") from error
    node = tree
    for depth, key in enumerate(keys[:-1]):
        child = node.get(key)
        if child is None:
            child = node[key] = {}
        if not isinstance(child, dict):
            raise ConfigError(f"override {override!r}: {'.'.join(keys[: depth + 1])} is a value, not a section")
        node = child
    node[keys[-1]] = value


def _sentence(error: ValidationError) -> str:
    """The first unknown key, else the first problem, as one sentence."""
    problems = error.errors(include_url=False)
    first = next((problem for problem in problems if problem["type"] == "extra_forbidden"), problems[0])
    location = [str(part) for part in first["loc"]]
    path = ".".join(location) or "the configuration"
    if first["type"] == "extra_forbidden":
        valid = _keys_at(location[:-1])
        near = difflib.get_close_matches(location[-1], valid, n=1, cutoff=0.5)
        hint = f"did you mean '{near[0]}'?" if near else f"valid keys here: {', '.join(valid)}"
        return f"unknown key '{path}'; {hint}"
    reason = first["msg"].removeprefix("Value error, ")
    if first["type"] == "value_error":
        return f"{path}: {reason}" if location else reason
    if first["type"] == "missing":
        return f"{path} is missing; add it"
    return f"{path}: {reason[:1].lower()}{reason[1:]}, got {first['input']!r}"


def _keys_at(location: Sequence[str]) -> list[str]:
    """Valid keys of the section at `location`; keys of a mapping (a variable's name) are stepped over."""
    section: type[Section] = Config
    for part in location:
        if part in section.model_fields:
            found = _section_type(section.model_fields[part].annotation)
            section = found if found is not None else section
    return list(section.model_fields)


def _section_type(annotation: Any) -> type[Section] | None:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    return next((found for arg in get_args(annotation) if (found := _section_type(arg)) is not None), None)
