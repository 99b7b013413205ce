"""The sections of a configuration that operate the pipeline; none of them changes the weights of a model.

What lives here: one frozen pydantic class per section. What does not: what is modelled and how (`config_sections`),
rules between sections (`config_rules`).

    PromotionConfig(tolerance=0.02).confidence      # 0.95
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator

from .config_sections import Count, Flag, Number, Positive, Section, Share


class ComputeConfig(Section):
    """Where work is computed; the results are the same."""

    dask: str = Field(
        "threads",
        description="ingest reads with: threads of this process; processes of this machine; ray, Dask on the Ray "
        "cluster; or the Dask cluster of a scheduler, named as tcp://HOST:PORT (or tls://)",
    )
    processes: Positive | None = Field(None, description="of dask: processes; empty: one per CPU")
    cache_bytes: Count = Field(
        2**29,
        description="ingest keeps what it read for the checks in memory, up to this size, and writes it from there; "
        "what is beyond is read twice",
    )
    memory_bytes: Annotated[Positive, Field(ge=2**24)] | None = Field(
        None,
        description="what an ingest may take beside the program itself, which then keeps nothing it read; empty: "
        "cache_bytes, blocks of 16 MiB per thread, and 64 MiB or one row of shards while writing",
    )
    placement: Literal["spread", "pack"] = Field(
        "spread", description="training workers over as many nodes as possible, or on as few"
    )

    @field_validator("dask")
    @classmethod
    def _dask_is_known(cls, dask: str) -> str:
        if dask not in ("threads", "processes", "ray") and not re.fullmatch(r"(tcp|tls)://[^/\s]+:\d{1,5}", dask):
            raise ValueError(f"must be threads, processes, ray, or an address like tcp://10.0.0.1:8786, got {dask!r}")
        return dask


class PromotionConfig(Section):
    """When a challenger becomes champion; the errors meant are RMSE over the test cases."""

    variables: tuple[str, ...] = Field((), description="variables that the primary metric averages over; empty: all")
    confidence: Share = Field(0.95, description="of the intervals")
    gain: Annotated[Number, Field(ge=0.0, lt=1.0)] = Field(
        0.001, description="smallest relative gain on the primary metric that is worth a change of champion"
    )
    tolerance: Annotated[Number, Field(ge=0.0)] = Field(
        0.05, description="relative loss that one variable at one lead time may have"
    )
    minimum_cases: Positive = Field(8, description="with fewer test cases nothing is promoted")
    draws: Annotated[Positive, Field(ge=100)] = Field(2000, description="draws of the bootstrap")
    block: Positive | None = Field(None, description="neighbouring cases drawn together; empty: by how alike they are")
    seed: Count = Field(0, description="of the bootstrap")


class NightlyConfig(Section):
    """When `minconv nightly` trains, from what, and how long a start waits for another."""

    min_new: Positive = Field(
        1, description="new or revised frames (or samples) since the newest version that are worth a training"
    )
    max_rejected_share: Annotated[Number, Field(ge=0.0, le=1.0)] = Field(
        0.2, description="above this share of rejected files among a night's new ones nothing is trained"
    )
    min_drift: Annotated[Number, Field(ge=0.0)] = Field(
        0.0, description="train only if the new data differ so much from the champion's, in its standard deviations"
    )
    warm_start: Flag = Field(True, description="start from the champion's weights, with its Normalizer")
    max_warm_drift: Annotated[Number, Field(gt=0.0)] = Field(
        3.0, description="data that differ by more, in standard deviations, are trained on afresh"
    )
    epochs: Positive | None = Field(
        None, description="of a training from the champion's weights; empty: training.epochs"
    )
    learning_rate: Annotated[Number, Field(gt=0.0)] | None = Field(
        None, description="of a training from the champion's weights; empty: training.learning_rate"
    )
    lease_seconds: Annotated[Number, Field(ge=1.0)] = Field(
        60.0, description="a run that did not answer for so long is taken over"
    )
    wait_seconds: Annotated[Number, Field(ge=0.0)] = Field(
        21_600.0, description="how long a start waits for another that is at work"
    )
