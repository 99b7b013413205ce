"""The trials of a search: settings of a space put into a configuration, and checked before anything is trained.

trials = sample_trials(job, space, seed=0, count=20)
trials[3].trial.config.training.learning_rate == trials[3].settings["training.learning_rate"]
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..config import Config
from ..errors import ConfigError
from ..training.job import TrainingJob, forecaster_config
from .settings import value_at, with_settings
from .space import Space
from .trial import Trial


@dataclass(frozen=True)
class Sampled:
    """A trial and what makes it differ from the others.

    Attributes:
        trial: Its configuration, under the number of the trial.
        settings: By dotted key, as the configuration has them.
    """

    trial: Trial
    settings: Mapping[str, Any]


def sample_trials(job: TrainingJob, space: Space, seed: int, count: int) -> list[Sampled]:
    """The first so many trials of a space; fewer where it has no more.

    Args:
        job: Whose configuration is varied, and whose grid has to fit.
        space: What is varied.
        seed: Of the settings; weights and the order of windows have that of the configuration.
        count: How many.

    Raises:
        ConfigError: The settings of one of them are not valid together.
    """
    found = []
    for number, settings in enumerate(space.settings(seed, count)):
        try:
            config = with_settings(job.config, settings)
            forecaster_config(replace(job, config=config))
        except ConfigError as error:
            told = ", ".join(f"{key}={value}" for key, value in settings.items())
            raise ConfigError(
                f"trial {number} of the space ({told}) is not valid: {error}; change the space so that all its "
                "combinations are"
            ) from error
        tree = config.model_dump(mode="json")
        found.append(Sampled(Trial(f"{number:03d}", config), {key: value_at(tree, key) for key in settings}))
    return found


def study_name(config: Config, snapshot_id: str, space: Space, seed: int, grace: int, reduction: int) -> str:
    """Name of a search: the same data, configuration, code and space give the same name, and so go on with it.

    How many trials it has is no part of it: more of them are added to those that are there.
    """
    parts = (Trial("", config).key(snapshot_id), space.to_json(), str(seed), str(grace), str(reduction))
    return f"{config.name}-tune-{hashlib.sha256('-'.join(parts).encode()).hexdigest()[:12]}"
