"""The version that a training starts from (warm start), and what is taken over from it beside the weights.

The new model keeps the parent's Normalizer (and, where it predicts anomalies, its climatology). The weights have
learned to read numbers on the parent's scale: with the moments of the newer snapshot the same weights would be another
function, the further from the parent's the more the data have moved, and the first epochs would go into undoing that.
So the new model begins, bit for bit, as its parent. The price is a scale that ages: whoever starts trainings measures
how far the data have left it (`pipeline.drift`) and starts afresh when they are far from it.

    job = prepare(config, snapshot_id, parent=Parent.of(registry.load()))
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

import minconv

from ..climatology import Climatology
from ..errors import ConfigError
from ..statistics import Statistics

if TYPE_CHECKING:
    from ..registry import RegisteredModel


@dataclass(frozen=True)
class Parent:
    """A registered version, as the start of another.

    Attributes:
        uri: ``models:/NAME/VERSION``.
        sha256: Of its weights.
        config: Of its Forecaster.
        weights: Its parameters and buffers, the Normalizer's among them.
        statistics: What its Normalizer was made of.
        climatology: What its anomalies are departures from, if it predicts those.
    """

    uri: str
    sha256: str
    config: minconv.ForecasterConfig
    weights: Mapping[str, Tensor]
    statistics: Statistics
    climatology: Climatology | None

    @classmethod
    def of(cls, model: RegisteredModel) -> Parent:
        """A loaded version as a parent."""
        return cls(
            model.version.uri,
            model.version.tags["sha256"],
            model.forecaster.config,
            model.forecaster.state_dict(),
            Statistics.from_dict(model.metadata["statistics"]),
            model.climatology,
        )

    def start(self, forecaster: minconv.Forecaster) -> minconv.Forecaster:
        """The Forecaster with the parent's weights and Normalizer.

        Raises:
            ConfigError: The parent is built differently.
        """
        mine, wanted = self.config.to_dict(), forecaster.config.to_dict()
        if different := [key for key in wanted if mine.get(key) != wanted[key]]:
            key = different[0]
            raise ConfigError(
                f"training cannot start from {self.uri}: its {key} is {mine.get(key)}, the configuration asks for "
                f"{wanted[key]}; train afresh, or change the configuration"
            )
        forecaster.load_state_dict(self.weights)
        return forecaster
