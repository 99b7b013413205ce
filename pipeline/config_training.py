"""The training section of a configuration.

TrainingConfig(epochs=8, workers={"min": 1, "max": 8})
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from .config_base import Count, Flag, Number, Positive, Section

Fraction = Annotated[Number, Field(ge=0.0, le=1.0)]


class WorkersConfig(Section):
    """As many workers as the cluster has room for, while it grows and shrinks."""

    min: Positive = Field(1, description="with fewer the training waits")
    max: Positive
    resize_seconds: Annotated[Number, Field(gt=0.0)] = Field(
        60.0, description="how often to look for room for more; those that train go on from their newest checkpoint"
    )

    @model_validator(mode="after")
    def _min_is_not_above_max(self) -> WorkersConfig:
        if self.min > self.max:
            raise ValueError(f"min must not be above max, got {self.min} and {self.max}")
        return self


class TrainingConfig(Section):
    """The training run."""

    # They say how the weights are found and not which: with others the same run goes on.
    EXECUTION: ClassVar[frozenset[str]] = frozenset(
        {
            "workers",
            "threads",
            "prefetch",
            "max_failures",
            "deadline_seconds",
            "checkpoint_seconds",
            "stall_seconds",
        }
    )

    epochs: Positive = 8
    batch_size: Positive = Field(1, description="windows per optimizer step, over all workers")
    optimizer: Literal["adamw", "muon"] = Field(
        "adamw", description="muon: orthogonal steps for the cells' convolutions, and adamw for all other weights"
    )
    learning_rate: Annotated[Number, Field(gt=0.0)] = 4e-3
    warmup: Annotated[Number, Field(ge=0.0, lt=1.0)] = Field(0.05, description="share of the run with a rising rate")
    schedule: Literal["cosine", "linear", "constant"] = Field(
        "cosine", description="of the learning rate after the warm-up: half a cosine or a line down to 0, or as it is"
    )
    weight_decay: Annotated[Number, Field(ge=0.0)] = 0.0
    clip_norm: Annotated[Number, Field(gt=0.0)] = 1.0
    input_noise: Annotated[Number, Field(ge=0.0)] = Field(0.01, description="in standard deviations of each variable")
    loss: Literal["mse", "log_mse"] = Field(
        "mse",
        description="mean over frames and variables of the mean squared error in standard deviations, or of its "
        "logarithm: then the first lead times, whose errors are small, count as much as the last",
    )
    loss_weights: dict[str, Annotated[Number, Field(gt=0.0)]] = Field(
        {},
        description="weights of variables in the loss, 1 for those not named: {t2m: 2.0}; scaled so that their mean is "
        "1; the validation error knows none",
    )
    closed_loop_steps: Count = Field(0, description="last frames of a window predicted from the model's own output")
    closed_loop_ramp: tuple[Fraction, Fraction] | None = Field(
        None,
        description="[from, to], shares of the run between which closed_loop_steps grow from 1 to their number; before "
        "them there is none; empty: all from the first step on",
    )
    patience: Positive | None = Field(None, description="stop after this many epochs without a better validation loss")
    max_seconds: Annotated[Number, Field(gt=0.0)] | None = Field(None, description="stop training after this time")
    max_steps: Positive | None = Field(None, description="stop training after this many optimizer steps")
    accumulate: Positive = Field(
        1, description="parts that a worker computes its windows of a batch in, one after the other: less memory"
    )
    truncate: Positive | None = Field(
        None,
        description="frames of a window that gradients flow through: it is learned from in such segments, one after "
        "the other, and each goes on from the state of the one before; empty: the whole window at once",
    )
    precision: Literal["fp32", "bf16"] = Field(
        "fp32", description="of convolutions; bf16 for GPUs and CPUs that have it"
    )
    compile: Flag = Field(False, description="compile the model with torch.compile: minutes at the start, faster steps")
    average: Annotated[Number, Field(gt=0.0, lt=1.0)] | None = Field(
        None, description="decay of a moving average of the weights, which is then what is validated and kept: 0.999"
    )
    workers: Count | WorkersConfig = Field(
        1,
        description="Ray workers; 0: train in this process, without Ray; {min: 1, max: 8}: as many as have room",
    )
    gpu: Flag = Field(False, description="one GPU per worker (nccl); otherwise CPU (gloo)")
    threads: Positive | None = Field(None, description="CPU threads per worker; empty: the machine's, shared out")
    activation_checkpointing: Flag = Field(
        False, description="compute layers again in the backward pass: less memory, more time"
    )
    max_failures: Count = Field(3, description="lost workers after which the run is given up")
    checkpoint_seconds: Annotated[Number, Field(gt=0.0)] | None = Field(
        300.0, description="time after which a checkpoint is kept within an epoch too; empty: after epochs alone"
    )
    stall_seconds: Annotated[Number, Field(gt=0.0)] = Field(
        180.0, description="a worker that is not heard of for so long is lost: the others end and go on without it"
    )
    deadline_seconds: Annotated[Number, Field(gt=0.0)] = Field(86_400.0, description="end a run that takes longer")
    cache_bytes: Count = Field(2**30, description="hold a split in memory when it is smaller than this")
    cache: Literal["auto", "memory", "disk", "none"] = Field(
        "auto",
        description="where decoded frames are kept: in memory, in files in `cache` of the pipeline's folder, or "
        "nowhere; auto: in memory below cache_bytes, else on disk where twice their size is free",
    )
    prefetch: Count = Field(2, description="batches read ahead while the model computes; 0: none")
    shuffle: Literal["windows", "shards"] | None = Field(
        None,
        description="all windows at random, or shard by shard so that each is decoded about once an epoch; empty: "
        "shards where frames are kept nowhere, else windows",
    )

    @model_validator(mode="after")
    def _ramp_rises(self) -> TrainingConfig:
        if self.closed_loop_ramp is None:
            return self
        first, last = self.closed_loop_ramp
        if first > last:
            raise ValueError(f"closed_loop_ramp must be [from, to], got [{first:g}, {last:g}]; put the smaller first")
        if not self.closed_loop_steps:
            raise ValueError("closed_loop_ramp goes with closed_loop_steps, got 0 of them; set their number")
        return self

    def total_steps(self, steps: int) -> int:
        """Optimizer steps of the run, where an epoch has so many and neither time nor patience ends it."""
        whole = self.epochs * steps
        return whole if self.max_steps is None else min(whole, self.max_steps)

    @property
    def most_workers(self) -> int:
        """Processes that train, at most; without Ray it is one."""
        return self.workers.max if isinstance(self.workers, WorkersConfig) else max(1, self.workers)

    @property
    def least_workers(self) -> int:
        """Processes without which it does not start."""
        return self.workers.min if isinstance(self.workers, WorkersConfig) else max(1, self.workers)
