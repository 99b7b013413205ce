"""The rules between the sections of a configuration: what one of them says must go with what another says.

What lives here: these rules, each one sentence where it is broken. What does not: the tree (`config`), the rules that
concern one section alone (`config_sections` and its neighbours), rules that need data.

    check_sections(config)           # ValueError, which pydantic makes part of its own
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .config_sections import GenerateConfig
from .config_transforms import check_order

if TYPE_CHECKING:
    from .config import Config


def check_sections(config: Config) -> None:
    """What holds between sections.

    Raises:
        ValueError: It does not, in one sentence.
    """
    if config.generate is None and config.source.path is None:
        raise ValueError("source.path is missing: name the folder of input files, or add a 'generate' section")
    _check_region(config)
    _check_transforms(config)
    if config.generate is not None:
        _check_generated(config, config.generate)
    if config.training.closed_loop_steps >= config.window.horizon:
        raise ValueError(
            f"training.closed_loop_steps must be below window.horizon ({config.window.horizon}), as the first step "
            f"starts from the last true frame, "
            f"got {config.training.closed_loop_steps}"
        )
    if config.training.batch_size < config.training.most_workers:
        raise ValueError(
            f"training.batch_size must be at least training.workers ({config.training.most_workers}), as each needs "
            f"a window, got {config.training.batch_size}"
        )
    _check_names(config)
    if config.model.damping and not config.model.tendency:
        raise ValueError("model.damping needs model.tendency=true, got false")
    if config.tiles is not None:
        config.tiles.check(config.model)


def _check_names(config: Config) -> None:
    """What is said of single variables is said of those that there are."""
    predicted, varying = ("that are predicted", config.predicted), ("that vary", config.varying)
    for key, names, verb, (kind, known) in (
        ("training.loss_weights", config.training.loss_weights, "name variables", predicted),
        ("promotion.variables", config.promotion.variables, "be among those", predicted),
        ("quality.max_jump", config.quality.max_jump, "name variables", varying),
        ("quality.tiny_negative", config.quality.tiny_negative, "name variables", varying),
    ):
        if unknown := [name for name in names if name not in known]:
            raise ValueError(f"{key} must {verb} {kind} ({', '.join(known)}), got {unknown[0]!r}")


def _check_region(config: Config) -> None:
    """What is cut out of a globe has edges where the cut was."""
    region = config.source.region
    if region is None:
        return
    if config.boundary == "periodic" or (config.boundary == "cylinder" and region.width < 360.0):
        fitting = "closed" if region.width < 360.0 else "cylinder or closed"
        raise ValueError(f"boundary must be {fitting} with this source.region, got {config.boundary}")


def _check_transforms(config: Config) -> None:
    """What is regridded wraps only where the new grid does; what is derived is made in an order that there is."""
    regrid = config.source.regrid
    if regrid is not None and (config.boundary == "periodic" or (config.boundary == "cylinder") > regrid.goes_around):
        fitting = "cylinder or closed" if regrid.goes_around else "closed"
        raise ValueError(f"boundary must be {fitting} with this source.regrid, got {config.boundary}")
    for name, variable in config.variables.items():
        if variable.resample is not None and config.source.resample is None:
            raise ValueError(f"variables.{name}.resample goes with source.resample; set its step, or remove it")
    check_order({name: variable.derive for name, variable in config.variables.items()})
    _check_gaps(config)


def _check_gaps(config: Config) -> None:
    """A frame beside a gap is whole: it is not made of frames within the gap as well."""
    if config.quality.longest_gap is None and not config.quality.allowed_gaps:
        return
    sums = [
        name for name, one in config.variables.items() if "rate" in (one.derive or {}) and one.accumulated != "step"
    ]
    if sums or config.source.resample is not None:
        made = "source.resample" if config.source.resample is not None else f"variables.{sums[0]}.derive: rate"
        raise ValueError(
            f"quality.longest_gap and quality.allowed_gaps do not go with {made}, by which a frame is made of "
            "several frames of the input; remove one of them"
        )


def _check_generated(config: Config, generate: GenerateConfig) -> None:
    """The simulation is the source, and its frames and grid suffice for the windows and the model."""
    if config.source.path is not None:
        raise ValueError(
            f"the input must be either generated or read, got a 'generate' section and source.path "
            f"({config.source.path}); remove one of them"
        )
    if generate.size % generate.coarsen:
        raise ValueError(
            f"generate.coarsen must divide generate.size ({generate.size}), got {generate.coarsen}; change one"
        )
    side = generate.size // generate.coarsen
    if side % config.model.patch:
        raise ValueError(
            f"model.patch must divide the generated grid of {side} x {side} points, got {config.model.patch}; use 1"
        )
    history = config.window.history
    for name, ahead in (("window.horizon", config.window.horizon), ("forecast.steps", config.forecast_steps)):
        if history + ahead > generate.steps:
            raise ValueError(
                f"generate.steps must be at least window.history + {name} ({history} + {ahead}), "
                f"got {generate.steps}; raise it or shorten the window or forecast"
            )
