"""The sections of a configuration, with their defaults and the rules that concern one section alone.

What lives here: one frozen pydantic class per section. What does not: rules between sections (`config_rules`).

    WindowConfig(history=24, horizon=24).stride      # 1
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

# Section and the kinds of numbers are part of this room for those who write further sections.
from .config_base import Count as Count
from .config_base import Flag as Flag
from .config_base import Number as Number
from .config_base import Positive as Positive
from .config_base import Section as Section
from .config_base import Share as Share
from .config_transforms import Derive, How, RegridConfig, ResampleConfig, Since, made_last
from .file_pattern import FilePattern, leads_out
from .source_location import location

Role = Literal["prognostic", "forcing", "static", "diagnostic"]
GribValue = str | int | float
GribKeys = dict[str, GribValue | tuple[GribValue, ...]]
Forcing = Literal["time_of_day", "time_of_year", "insolation", "latitude", "longitude", "position", "mask"]


class GenerateConfig(Section):
    """A simulation to make the input with (`minconv generate`)."""

    kind: Literal["navier_stokes", "advection"] = "navier_stokes"
    samples: Positive = 96
    steps: Positive = Field(50, description="frames recorded per sample")
    size: Positive = Field(32, description="grid points along each side")
    coarsen: Positive = Field(2, description="mean-pool this many points along each side before writing")
    noise: Annotated[Number, Field(ge=0.0)] = Field(
        0.0, description="standard deviation of an error that every written value has, as a sensor's readings have"
    )
    seed: Count = 0
    samples_per_file: Positive = 50


class RegionConfig(Section):
    """The part of the globe that is taken: points on its edges are inside."""

    lat: tuple[Number, Number] = Field((-90.0, 90.0), description="[south, north] in degrees")
    lon: tuple[Number, Number] = Field(
        (-180.0, 180.0), description="[west, east] in degrees, going east; [170, -170] crosses the date line"
    )

    @field_validator("lat")
    @classmethod
    def _south_is_first(cls, lat: tuple[float, float]) -> tuple[float, float]:
        if not -90.0 <= lat[0] < lat[1] <= 90.0:
            raise ValueError(f"must be [south, north] within -90 and 90, got [{lat[0]:g}, {lat[1]:g}]")
        return lat

    @field_validator("lon")
    @classmethod
    def _at_most_once_around(cls, lon: tuple[float, float]) -> tuple[float, float]:
        if min(lon) < -360.0 or max(lon) > 540.0 or lon[1] - lon[0] > 360.0 or lon[0] == lon[1]:
            raise ValueError(f"must be [west, east] at most 360 degrees apart, got [{lon[0]:g}, {lon[1]:g}]")
        return lon

    @property
    def west(self) -> float:
        """Western edge, -180 up to (not including) 180."""
        return (self.lon[0] + 180.0) % 360.0 - 180.0

    @property
    def width(self) -> float:
        """Degrees from the western to the eastern edge, above 0 up to 360."""
        return (self.lon[1] - self.lon[0]) % 360.0 or 360.0


class SourceConfig(Section):
    """Where the input files are, and what is taken of them."""

    path: Annotated[Path | str | None, BeforeValidator(location)] = Field(
        None, description="folder of input files, or its URL (s3://..., https://...); empty: what `generate` made"
    )
    files: Annotated[tuple[str, ...], Field(min_length=1)] = Field(
        ("*.nc",),
        description="patterns of names inside the folder: NetCDF and GRIB files, Zarr groups, Icechunk repositories; "
        "with a time in them, as {time:%Y%m%d}.nc, only files that can hold newer frames are opened",
    )
    reopen_hours: Annotated[Number, Field(ge=0.0)] = Field(
        0.0, description="open files again whose time lies so many hours before the archive's end, and compare them"
    )
    group: str | None = Field(None, description="group inside each file that holds the variables, as a/b")
    revise: Literal["refuse", "accept"] = Field(
        "refuse",
        description="files with other values for times that are archived: reject them, or replace those frames",
    )
    settle_seconds: Annotated[Number, Field(ge=0.0)] = Field(
        0.0, description="files written to within so many seconds wait for the next ingest; they may not be whole yet"
    )
    every: Positive = Field(1, description="of a film take every so many-th frame")
    member: Count | None = Field(None, description="take this member of an ensemble: its number, else its place")
    grib_keys: GribKeys = Field(
        {}, description="of GRIB files take the messages that have these values, e.g. {typeOfLevel: heightAboveGround}"
    )
    max_rejected_share: Annotated[Number, Field(ge=0.0, le=1.0)] = Field(
        0.5, description="above this share of rejected files nothing of the batch is committed"
    )
    region: RegionConfig | None = Field(None, description="take only this part of a grid of latitudes and longitudes")
    coarsen: Positive = Field(1, description="average blocks of this many points along each side, weighted by area")
    regrid: RegridConfig | None = Field(None, description="bring the fields to this grid")
    resample: ResampleConfig | None = Field(None, description="bring the fields to this step in time")

    @property
    def url(self) -> str | None:
        """Where the input is, if not in a folder here."""
        return self.path if isinstance(self.path, str) else None

    @field_validator("files")
    @classmethod
    def _patterns_are_relative(cls, files: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in files:
            if not Path(pattern).parts or Path(pattern).is_absolute():
                raise ValueError(
                    f"must be names or patterns inside the folder like '*.nc', got {pattern!r}; "
                    "put the folder into source.path"
                )
            if leads_out(pattern):
                raise ValueError(f"must stay inside the folder, got {pattern!r}; put the folder into source.path")
            FilePattern.parse(pattern)
        return files

    @model_validator(mode="after")
    def _one_way_to_another_grid(self) -> SourceConfig:
        if self.regrid is not None and self.coarsen > 1:
            raise ValueError(f"either regrid or coarsen, got regrid and coarsen={self.coarsen}; remove one")
        return self


class VariableConfig(Section):
    """One variable of the archive."""

    role: Role = Field(
        "prognostic",
        description="prognostic: predicted and fed back; diagnostic: predicted only; forcing: known ahead, an input; "
        "static: constant in time, an input",
    )
    units: str = Field(description="units in the archive; input in other, convertible units is converted")
    source_name: str | None = Field(None, description="name in the files, where it differs from the name here")
    level: Number | None = Field(
        None,
        description="entry along the vertical axis: hPa where that is a pressure in the files, else its own number",
    )
    levels: Annotated[tuple[Number, ...], Field(min_length=1)] | None = Field(
        None, description="short for one variable NAME_LEVEL at each of these levels"
    )
    grib_keys: GribKeys = Field({}, description="as source.grib_keys, on top of these, for this variable alone")
    valid_range: tuple[Number, Number] | None = Field(
        None, description="plausible values in `units`; others are rejected"
    )
    derive: Derive | None = Field(
        None, description="made of other variables: {wind_speed: [u10, v10]}, or of its own source: rate, amount"
    )
    accumulated: Since = Field(
        "start",
        description="what the source of a rate sums up: all since the start of the forecast or day, where it falls "
        "(start); what came since the frame before (step); all since multiples of a time, as 24h",
    )
    resample: How | None = Field(None, description="what is made of the frames within a step of source.resample")

    @field_validator("valid_range")
    @classmethod
    def _range_is_ordered(cls, valid_range: tuple[float, float] | None) -> tuple[float, float] | None:
        if valid_range is not None and valid_range[0] >= valid_range[1]:
            low, high = valid_range
            raise ValueError(f"must be [lowest, highest], got [{low:g}, {high:g}]; put the smaller number first")
        return valid_range

    @model_validator(mode="after")
    def _one_way_to_name_levels(self) -> VariableConfig:
        if self.level is not None and self.levels is not None:
            raise ValueError("either level or levels, got both; remove one")
        if self.levels is not None and len(set(self.levels)) < len(self.levels):
            raise ValueError(f"levels must differ, got {', '.join(f'{level:g}' for level in self.levels)}")
        return self

    @model_validator(mode="after")
    def _derived_of_what_it_needs(self) -> VariableConfig:
        if self.accumulated != "start" and "rate" not in (self.derive or ()):
            raise ValueError(f"accumulated goes with derive: rate, got {self.accumulated!r} without; remove it")
        if self.role == "static" and (self.derive is not None or self.resample is not None):
            raise ValueError("a static variable can be neither derived nor resampled; remove derive and resample")
        if self.resample is not None and made_last(self.derive):
            raise ValueError("what is made after resampling has no resample of its own; set that of what it is made of")
        return self

    @property
    def water(self) -> bool:
        """Whether a depth in the files is one of water: where amounts and rates are made of each other."""
        return not {"rate", "amount"}.isdisjoint(self.derive or ())

    def by_level(self, name: str) -> dict[str, VariableConfig]:
        """The variable as the archive has it: one per level, ``z_850`` for 850."""
        if self.levels is None:
            return {name: self}
        known = {"source_name": self.source_name or name, "levels": None}
        return {
            f"{name}_{level:g}".replace(".", "_"): self.model_copy(update={**known, "level": level})
            for level in self.levels
        }


class ArchiveConfig(Section):
    """Chunks and shards of the archive's arrays, in points along the axes (time; both space axes), and its upkeep."""

    chunk_time: Positive = 24
    chunk_space: Positive = 128
    shard_time: Positive = Field(240, description="a multiple of chunk_time")
    shard_space: Positive = Field(512, description="a multiple of chunk_space")
    keep_days: Count = Field(30, description="versions younger than this stay in every 'minconv archive gc'")
    wait_seconds: Annotated[Number, Field(ge=0.0)] = Field(
        600.0, description="how long an ingest waits for another process that writes to the archive"
    )

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
    newest: Positive | None = Field(
        None,
        description="cut only the newest so many frames (or samples), so that what is learned keeps up; empty: all",
    )

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


class ForecastConfig(Section):
    """The forecast that `run` writes."""

    steps: Positive | None = Field(None, description="lead times; empty: window.horizon")


class EvaluationConfig(Section):
    """Scoring on the test split."""

    stride: Positive = Field(1, description="distance between two test cases in time, in frames")
    batch_size: Positive = 16
