"""What to train: the data, the model and the options of one training run, fixed before any worker starts.

job = prepare(config, snapshot_id, progress)
forecaster = build_forecaster(job, open_reader(job, job.splits.train))
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

import minconv

from .. import archive
from ..climatology import Climatology, fit_climatology
from ..config import Config
from ..errors import ConfigError
from ..forcings import CHANNELS
from ..grid import GridSpec
from ..kept_statistics import training_statistics
from ..progress import Progress, silent
from ..statistics import Statistics, compute_statistics
from ..tiles import Halo, Tiling
from ..windows import CachePlan, FrameReader, Split, Splits, make_splits
from .parent import Parent

STEADY_SCALE = 0.2  # tendency_scale of a variable whose changes have no spread that it could be taken from


@dataclass(frozen=True)
class TrainingJob:
    """Everything that decides the outcome of a training run.

    Attributes:
        config: The configuration, with an absolute `root`.
        snapshot_id: The version of the Archive to train on.
        grid: Its grid.
        splits: Its splits.
        statistics: Moments of its training split, of anomalies where the model predicts those.
        climatology: What anomalies are departures from; None: the model predicts the fields themselves.
        parent: The version that the training starts from, whose statistics and climatology these are; None: it starts
            from fresh weights.
    """

    config: Config
    snapshot_id: str
    grid: GridSpec
    splits: Splits
    statistics: Statistics
    climatology: Climatology | None
    parent: Parent | None = None

    @property
    def tiles(self) -> tuple[tuple[int, int], tuple[int, int]] | None:
        """Size and halo of tiles; None: the grid is trained on as a whole."""
        tiles = self.config.tiles
        return None if tiles is None else (tiles.size, tiles.halo_of(self.config.model))

    def tiling(self, mask: Tensor) -> Tiling | None:
        """The grid cut into tiles, of those with a valid point (mask bool [H, W]); None: it is not cut."""
        if self.tiles is None:
            return None
        size, halo = self.tiles
        return Tiling.of(self.grid, size, Halo(*halo), mask.numpy())

    @property
    def forcing_channels(self) -> int:
        """Channels of an input frame beside the prognostic ones."""
        config = self.config
        computed = sum(len(CHANNELS[name]) for name in config.forcings)
        return computed + len(config.of_role("static")) + len(config.of_role("forcing"))

    @property
    def mean(self) -> tuple[float, ...]:
        """Mean of each predicted variable as the model sees it: that of an anomaly is (very nearly) zero."""
        count = len(self.config.predicted)
        means = [0.0] * count if self.climatology else self.statistics.state.mean[:count]
        return tuple(float(mean) for mean in means)

    @property
    def tendency_scale(self) -> float | tuple[float, ...]:
        """What a unit of the model's output changes, in standard deviations: one number, or one of each prognostic."""
        scale = self.config.model.tendency_scale
        if not isinstance(scale, str):
            return scale
        found = self.statistics.change(otherwise=STEADY_SCALE)
        return tuple(found[: len(self.config.of_role("prognostic"))].tolist())

    @property
    def loss_weights(self) -> tuple[float, ...]:
        """Weight of each predicted variable in the loss; their mean is 1."""
        given = [self.config.training.loss_weights.get(name, 1.0) for name in self.config.predicted]
        return tuple(weight * len(given) / sum(given) for weight in given)

    @property
    def forcing_mean(self) -> dict[str, float]:
        """Mean of each forcing variable."""
        means = self.statistics.state.mean[len(self.config.predicted) :]
        return {name: float(mean) for name, mean in zip(self.config.of_role("forcing"), means, strict=True)}


def prepare(
    config: Config,
    snapshot_id: str,
    progress: Progress = silent,
    *,
    parent: Parent | None = None,
    splits: Splits | None = None,
) -> TrainingJob:
    """Cut the splits and take the statistics of the training split.

    Args:
        config: With an absolute `root`.
        snapshot_id: The version of the Archive to train on.
        progress: Told about the statistics.
        parent: The version to start from; its statistics are kept (see `parent`).
        splits: In place of those of the configuration; their statistics are not kept for later versions.

    Raises:
        ConfigError: The Archive is too short for the splits and windows, or has another boundary.
        ArchiveError: It lacks a variable.
    """
    window = config.window
    with archive.open_dataset(config.archive_path, snapshot_id) as dataset:
        grid = GridSpec.from_dataset(dataset)
        if grid.boundary != config.boundary:
            raise ConfigError(
                f"boundary is {config.boundary}, but archive {config.archive_path} was ingested as {grid.boundary}; "
                "set it to that, or ingest under another name"
            )
        parts = splits or make_splits(dataset, config.split, config.gap, window.history + window.horizon)
        if parent is not None:
            return TrainingJob(config, snapshot_id, grid, parts, parent.statistics, parent.climatology, parent)
        climatology = (
            fit_climatology(dataset, config.predicted, parts.train, progress=progress) if config.model.anomaly else None
        )
        variables = (*config.predicted, *config.of_role("forcing"))
        # A climatology is of the whole split: every departure from it is another with every frame that comes.
        if climatology is None and splits is None:
            statistics = training_statistics(config, snapshot_id, dataset, variables, parts.train, progress)
        else:
            statistics = compute_statistics(
                dataset, variables, parts.train, progress, snapshot_id=snapshot_id, climatology=climatology
            )
        return TrainingJob(config, snapshot_id, grid, parts, statistics, climatology)


def build_forecaster(job: TrainingJob, reader: FrameReader) -> minconv.Forecaster:
    """A Forecaster as the training starts: fresh weights from the seed and the job's statistics, or its parent's."""
    torch.manual_seed(job.config.seed)
    forecaster = minconv.Forecaster(
        forecaster_config(job),
        activation_checkpointing=job.config.training.activation_checkpointing,
        memory=job.config.model.memory,
    )
    if job.parent is not None:
        return job.parent.start(forecaster)
    predicted = len(job.mean)
    mean, std = _forcing_moments(reader)
    known_std = torch.as_tensor(job.statistics.state.std, dtype=torch.float32)
    forecaster.normalizer = minconv.Normalizer(
        torch.cat((torch.tensor(job.mean), mean, torch.tensor(list(job.forcing_mean.values())))),
        torch.cat((known_std[:predicted], std, known_std[predicted:])),
    )
    return forecaster


def forecaster_config(job: TrainingJob) -> minconv.ForecasterConfig:
    """The model section in minconv's terms.

    Raises:
        ConfigError: No model can be built so, or the grid does not fold into patches.
    """
    config, model = job.config, job.config.model
    if any(side % model.patch for side in job.grid.shape):
        height, width = job.grid.shape
        raise ConfigError(f"model.patch must divide the grid of {height} x {width} points, got {model.patch}; use 1")
    try:
        return minconv.ForecasterConfig(
            cell=model.cell,
            in_channels=len(config.of_role("prognostic")) + job.forcing_channels,
            out_channels=len(config.predicted),
            diagnostic_channels=len(config.of_role("diagnostic")),
            hidden=model.hidden,
            kernel_size=model.kernel_size,
            patch=model.patch,
            boundary=model.closed_padding if config.boundary == "closed" else config.boundary,
            norm=model.norm,
            post_norm=model.post_norm,
            grid_shape=job.grid.shape if model.norm == "layer_hw" else None,
            residual=model.residual,
            tendency=model.tendency,
            tendency_scale=job.tendency_scale,
            damping=model.damping,
        )
    except minconv.MinconvError as error:
        raise ConfigError(f"model: {error}") from error


def _forcing_moments(reader: FrameReader) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation over the grid, [Cf] each, of forcings and static variables.

    0 and 1 for a channel that is the same at every point.

    Over a region, latitude and longitude vary by a few hundredths; the model should see their differences.
    """
    fields = reader.forcing_at(reader.times[0]).flatten(1)
    if not len(fields):
        return torch.zeros(0), torch.ones(0)
    mean, std = fields.mean(dim=1), fields.std(dim=1, correction=0)
    varies = std > 1e-6
    return torch.where(varies, mean, 0.0), torch.where(varies, std, 1.0)


def open_reader(job: TrainingJob, split: Split) -> FrameReader:
    """Frames of a split in the job's version of the Archive; masked points are filled with the variable's mean."""
    config = job.config
    length = config.window.history + config.window.horizon
    whole = job.tiling(torch.ones(job.grid.shape, dtype=torch.bool))
    # Validation visits few windows, on the whole grid and in order.
    random = split.name == "train"
    cache = CachePlan(
        config.training.cache,
        config.cache_path,
        window=length if random else None,
        shape=None if whole is None else whole.shape,
    )
    return FrameReader(
        config.archive_path,
        job.snapshot_id,
        variables=config.predicted,
        forcings=config.forcings,
        fill=job.mean,
        cache_bytes=config.training.cache_bytes,
        split=split,
        climatology=job.climatology,
        static_variables=config.of_role("static"),
        forcing_variables=job.forcing_mean,
        cache=cache,
    )
