"""What `minconv tune` refuses before anything is trained, each in one sentence, and what it makes of its options."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from pipeline.errors import RegistryError, TrainingError
from pipeline.study import Ending, train_trial
from workflows.cli import app
from workflows.console import Console
from workflows.context import Context
from workflows.tune import Request, _settled, conclude, prepare_study, tune
from workflows.tune_tracking import StudyRuns


@pytest.fixture
def blobs(sample_config, tmp_path) -> Path:
    """A configuration whose archive is there, and nothing else."""
    tree = {**sample_config.model_dump(mode="json"), "root": str(tmp_path / "runs")}
    (tmp_path / "runs" / "blobs").mkdir(parents=True)
    (tmp_path / "runs" / "blobs" / "archive").symlink_to(sample_config.archive_path)
    (tmp_path / "blobs.yaml").write_text(yaml.safe_dump(tree))
    (tmp_path / "space.yaml").write_text("training.learning_rate: {log: [1e-3, 1e-2]}\n")
    (tmp_path / "wrong.yaml").write_text("training.learning_rates: {log: [1e-3, 1e-2]}\n")
    (tmp_path / "empty.yaml").write_text("")
    return tmp_path / "blobs.yaml"


@pytest.fixture
def context(blobs, sample_config):
    return Context(sample_config.model_copy(update={"root": blobs.parent / "runs"}), Console(quiet=True))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--space", "{folder}/none.yaml"], "space .*none.yaml cannot be read"),
        (["--space", "{folder}/empty.yaml"], "a space must map settings to their values"),
        (["--space", "{folder}/wrong.yaml"], "did you mean 'training.learning_rate'"),
        (["--search", "model.patch"], "--search must have the form KEY=VALUES"),
        (["--search", "model.patch={choice: [1"], "--search .*: the value is not valid YAML"),
        (
            ["--search", "model.patch={choice: [1, 3]}", "--trials", "2"],
            "trial . of the space .* model.patch must divide",
        ),
        (["--grace", "9"], "--grace must not be above the 2 epochs of a trial, got 9"),
        (["--max-epochs", "3", "--grace", "4"], "--grace must not be above the 3 epochs of a trial, got 4"),
    ],
)
def test_what_cannot_be_searched_is_one_sentence(blobs, options, words):
    folder = blobs.parent
    given = [option.replace("{folder}", str(folder)) for option in options]
    result = CliRunner().invoke(app, ["tune", "-c", str(blobs), "-q", *given])
    assert result.exit_code == 1
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert re.search(words, line), line
    assert not (folder / "runs" / "blobs" / "tune").exists()
    assert not (folder / "runs" / "mlflow.db").exists()


def test_options_and_file_make_one_space_and_more_trials_the_same_study(context):
    folder = context.config.root.parent
    request = Request(folder / "space.yaml", ("training.batch_size={choice: [1, 2]}",), trials=3, max_epochs=5)
    study = prepare_study(context, request)
    assert study.space.to_dict() == {
        "training.batch_size": {"choice": [1, 2]},
        "training.learning_rate": {"log": [1e-3, 1e-2]},
    }
    more = prepare_study(context, Request(folder / "space.yaml", request.search, trials=5))
    assert more.plan.folder == study.plan.folder
    assert more.plan.trials[:3] == study.plan.trials
    assert prepare_study(context, Request(folder / "space.yaml", request.search, 3, seed=1)).name != study.name


def test_the_best_is_the_best_of_those_that_finished(context):
    plan = prepare_study(context, Request(trials=4)).plan

    def ending(status, *errors):
        return Ending(status, "why", tuple({"epoch": at, "validation_loss": one} for at, one in enumerate(errors, 1)))

    endings = {0: ending("stopped", 0.1), 1: ending("finished", 0.5, 0.3), 2: ending("finished", 0.2, 0.4)}
    assert conclude(plan, endings).best == 2
    with pytest.raises(TrainingError, match="none of the 2 trials could be trained to the end: why"):
        conclude(plan, {0: ending("failed"), 3: ending("stopped", 0.1)})


@pytest.mark.slow
def test_a_search_that_mlflow_does_not_take_is_registered_later_without_training(context, monkeypatch):
    """All trials ended, so that Ray is not started; MLflow fails at first."""
    request = Request(search=("seed={choice: [0, 1]}",), trials=2)
    study = prepare_study(Context(_settled(context.config, request), context.console), request)
    for number, one in enumerate(study.plan.trials):
        trained = train_trial(one.trial, study.plan.snapshot_id, study.plan.folder)
        Ending("finished", "", tuple(trained.outcome.history)).write(study.plan.folder_of(number))

    def down(self, endings):
        raise RegistryError("MLflow is down")

    with monkeypatch.context() as patched:
        patched.setattr(StudyRuns, "send", down)
        with pytest.raises(RegistryError, match=r"MLflow is down; all trials are kept in .* same command again"):
            tune(context, request)
    _, found, version = tune(context, request)
    assert (version.version, version.aliases) == (1, ("challenger",))
    assert version.tags["run_name"].startswith("blobs-")
    again = tune(context, request)[2]
    assert again.version == 1
    assert found.importance is None
    # The very training that is registered is not registered again, and a champion stays champion.
    context.registry.set_alias("champion", 1)
    (study.plan.folder / "study.json").unlink()
    assert tune(context, request)[2].aliases == ("challenger", "champion")
