"""What `recipes.py` trains: tasks, the recipe of each, and one change of it at a time."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Study:
    """A task and its recipe.

    Attributes:
        config: Name of a shipped configuration.
        settings: What is set on top of it.
        seconds: Training time; None: as many epochs as the configuration has.
        ablation: One change of the recipe at a time.
        published: Changes that make the recipe of the paper's code of it.
    """

    config: str
    settings: tuple[str, ...]
    seconds: float | None
    ablation: dict[str, tuple[str, ...]]
    published: tuple[str, ...] = ()


FLUID = Study(
    config="navier_stokes_paper",
    settings=(
        "generate.samples=300",
        "split.train=0.66667",
        "split.validation=0.16667",
        "split.test=0.16666",
        "window.horizon=20",
        "window.stride=5",
        "forecast.steps=30",
    ),
    seconds=225.0,
    ablation={
        "the recipe": (),
        "AdamW": ("training.optimizer=adamw",),
        "mean squared error": ("training.loss=mse",),
        "AdamW, mean squared error": ("training.optimizer=adamw", "training.loss=mse"),
        "whole state, not tendency": ("model.tendency=false",),
        "tendency statistics": ("model.tendency_scale=statistics",),
        "position": ("forcings=[position]",),
        "four layers of 48": ("model.hidden=[48, 48, 48, 48]",),
        "patch 4": ("model.patch=4",),
        "patch 1": ("model.patch=1",),
        "group norm": ("model.norm=group",),
        "LayerNorm([H, W])": ("model.norm=layer_hw",),
        "norm after the layer": ("model.post_norm=true",),
        "no norm": ("model.norm=none",),
        "no residual": ("model.residual=false",),
        "no input noise": ("training.input_noise=0",),
        "input noise 0.003": ("training.input_noise=0.003",),
        "no warm-up": ("training.warmup=0",),
        "linear schedule": ("training.schedule=linear",),
        "averaged weights": ("training.average=0.999",),
        "10 frames in batches of 4": ("window.history=5", "window.horizon=5", "training.batch_size=4"),
        "batches of 2": ("training.batch_size=2",),
        "learning rate 2e-3": ("training.learning_rate=0.002",),
        "learning rate 8e-3": ("training.learning_rate=0.008",),
        "gradients through 20 of 40 frames, state carried": ("training.truncate=20",),
        "last 19 of 40 frames in closed loop": ("training.closed_loop_steps=19",),
        "last 1 to 19 in closed loop, from half of the run on": (
            "training.closed_loop_steps=19",
            "training.closed_loop_ramp=[0.5, 1]",
        ),
    },
    # the whole state through a LayerNorm([H, W]) after the last layer; Adam, teacher-forced, no noise
    published=(
        "model.patch=1",
        "model.norm=layer_hw",
        "model.post_norm=true",
        "model.tendency=false",
        "training.optimizer=adamw",
        "training.loss=mse",
        "training.learning_rate=0.001",
        "training.warmup=0",
        "training.input_noise=0",
    ),
)
# Noise of a third of the field's spread on every frame: what a model without memory sees of it is one noisy frame.
NOISY = replace(FLUID, settings=(*FLUID.settings, "generate.noise=0.3"), seconds=120.0)
WFDE5 = Study(
    config="wfde5_gb",
    settings=(),
    seconds=None,
    ablation={
        "the recipe": (),
        "Muon": ("training.optimizer=muon",),
        "Muon, loss of logarithms": ("training.optimizer=muon", "training.loss=log_mse"),
        "loss of logarithms": ("training.loss=log_mse",),
        "0.2 for all, not each variable's change": ("model.tendency_scale=0.2",),
        "fields, not anomalies": ("model.anomaly=false",),
        "no damping": ("model.damping=false",),
        "whole state, not tendency": ("model.tendency=false", "model.damping=false"),
        "two layers of 16": ("model.hidden=[16, 16]",),
        "no norm": ("model.norm=none",),
        "input noise 0.1": ("training.input_noise=0.1",),
        "no input noise": ("training.input_noise=0",),
        "weight decay 1": ("training.weight_decay=1",),
        "two epochs": ("training.epochs=2",),
        "teacher-forced": ("training.closed_loop_steps=0",),
        "closed loop that grows": ("training.closed_loop_ramp=[0, 0.8]",),
        "averaged weights": ("training.average=0.99",),
        "linear schedule": ("training.schedule=linear",),
        "wind counts twice": ("training.loss_weights={wind: 2.0}",),
    },
)
DEMO = Study(config="demo", settings=(), seconds=60.0, ablation=FLUID.ablation, published=FLUID.published)
ERSST = Study(
    config="ersst",
    settings=(),
    seconds=None,
    ablation={
        name: settings
        for name, settings in {
            **WFDE5.ablation,
            "two layers of 8": ("model.hidden=[8, 8]",),
            "ten epochs": ("training.epochs=10",),
            "weight decay 10": ("training.weight_decay=10",),
        }.items()
        if name not in ("two layers of 16", "input noise 0.1", "two epochs", "weight decay 1", "wind counts twice")
    },
)
STUDIES = {"fluid": FLUID, "noisy": NOISY, "demo": DEMO, "wfde5": WFDE5, "ersst": ERSST}
