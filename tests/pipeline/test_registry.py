"""Runs and versions in MLflow: what is kept, what is found, what is refused, and what a kill leaves."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import minconv
from pipeline import archive
from pipeline.config import Config
from pipeline.errors import RegistryError
from pipeline.forecast import cases_at, make_forecast, open_reader, valid_times
from pipeline.lineage import version_tags
from pipeline.model_files import write_model_files
from pipeline.registry import CLIMATOLOGY_FILE, EpochLog, Registry
from pipeline.training import LocalWorker, prepare, run_loop
from pipeline.training.job import build_forecaster
from pipeline.training.job import open_reader as open_training_reader

SIZES = (2, 1, 4, 6)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("registry")


@pytest.fixture
def registry(root, request):
    """A registry whose model has the name of the test: one database for all of them."""
    name = hashlib.sha256(request.node.name.encode()).hexdigest()[:12]
    return Registry(f"sqlite:///{root / 'mlflow.db'}", root / "mlartifacts", name)


def made(forcings: int = 1) -> minconv.Forecaster:
    torch.manual_seed(0)
    return minconv.Forecaster(minconv.ForecasterConfig(in_channels=1 + forcings, out_channels=1, hidden=(3,)))


@pytest.fixture(scope="module")
def checkpoint(root):
    minconv.save(root / "checkpoint", made(), {"variables": ["t2m"], "history": 4})
    return root / "checkpoint"


@pytest.fixture(scope="module")
def climatology_file(root):
    """Whatever has the right name is sealed; it is only read after its sha256 is checked."""
    (root / CLIMATOLOGY_FILE).write_bytes(b"climatology")
    return root / CLIMATOLOGY_FILE


def register(registry: Registry, checkpoint: Path, tags: dict[str, str] | None = None, extra: tuple[Path, ...] = ()):
    run = registry.run(f"run of {registry.name}", {})
    return registry.register(run, checkpoint, tags or {}, SIZES, extra)


def stored(root: Path, registry: Registry, version: int, name: str) -> Path:
    """A file of a version where MLflow keeps it."""
    source = registry._client.get_model_version(registry.name, str(version)).source.removeprefix("models:/")
    (found,) = (root / "mlartifacts").rglob(f"{source}/**/{name}")
    return found


# Versions


def test_the_first_version_is_champion_and_the_newest_later_one_challenger(registry, checkpoint):
    first = register(registry, checkpoint)
    assert (first.version, first.aliases, first.uri) == (1, ("champion",), f"models:/{registry.name}/1")
    assert register(registry, checkpoint).aliases == ("challenger",)
    assert register(registry, checkpoint).aliases == ("challenger",)
    assert [(v.version, v.aliases) for v in registry.versions()] == [(3, ("challenger",)), (2, ()), (1, ("champion",))]
    assert registry.resolve().version == 1
    assert registry.resolve(f"models:/{registry.name}@challenger").version == 3
    assert registry.resolve(f"models:/{registry.name}/2").version == 2


def test_where_no_champion_is_the_next_version_becomes_it(registry, checkpoint):
    register(registry, checkpoint)
    registry._client.delete_registered_model_alias(registry.name, "champion")
    assert register(registry, checkpoint).aliases == ("champion",)


def test_a_kill_between_a_version_and_its_alias_does_not_leave_the_model_without_champion(registry, checkpoint):
    version = register(registry, checkpoint)
    registry._client.delete_registered_model_alias(registry.name, "champion")
    assert registry.ensure_champion(version).aliases == ("champion",)
    later = register(registry, checkpoint)
    assert registry.ensure_champion(later).aliases == ("challenger",)
    assert registry.resolve().version == version.version


def test_a_version_has_its_tags_the_sha256_of_its_weights_and_its_run(registry, checkpoint):
    version = register(registry, checkpoint, {"snapshot_id": "ABC", "config_hash": "123"})
    weights = (checkpoint / "weights.safetensors").read_bytes()
    assert version.tags["sha256"] == hashlib.sha256(weights).hexdigest()
    assert version.tags["snapshot_id"] == "ABC"
    assert version.tags["config_hash"] == "123"
    assert registry.resolve().tags == version.tags
    assert registry._client.get_run(version.run_id).info.run_name == f"run of {registry.name}"


def test_a_version_is_found_by_its_tags_the_newest_first(registry, checkpoint):
    assert registry.find(run_name="a") is None
    for run_name, cell in (("a", "convgru"), ("a", "conv"), ("b", "conv")):
        register(registry, checkpoint, {"run_name": run_name, "cell": cell})
    assert registry.find(run_name="a").version == 2
    assert registry.find(run_name="a", cell="convgru").version == 1
    assert registry.find(run_name="b", cell="convgru") is None
    assert registry.find(nothing="a") is None


def test_a_version_loads_as_it_was_saved(registry, checkpoint):
    version = register(registry, checkpoint)
    model = registry.load()
    assert model.version == version
    assert model.metadata == {"variables": ["t2m"], "history": 4}
    assert model.climatology is None
    assert not model.forecaster.training
    x = torch.randn(1, 3, 2, 4, 6)
    assert torch.equal(model.forecaster(x)[0], made()(x)[0])


# What is refused


@pytest.mark.parametrize("name", ["weights.safetensors", "forecaster.json", CLIMATOLOGY_FILE])
@pytest.mark.parametrize("damage", ["flip", "remove"])
def test_a_file_that_is_not_the_registered_one_is_refused(root, registry, checkpoint, climatology_file, name, damage):
    register(registry, checkpoint, extra=(climatology_file,))
    file = stored(root, registry, 1, name)
    if damage == "remove":
        file.unlink()
    else:
        content = bytearray(file.read_bytes())
        content[-3] ^= 1
        file.write_bytes(bytes(content))
    with pytest.raises(RegistryError, match=rf"/1: the stored {name} is not the registered one \(sha256 differs"):
        registry.load()


def test_a_forged_checkpoint_that_agrees_with_itself_is_refused(root, registry, checkpoint, tmp_path):
    register(registry, checkpoint)
    minconv.save(tmp_path / "forged", made(), {"variables": ["q2m"], "history": 4})
    shutil.copy(tmp_path / "forged" / "forecaster.json", stored(root, registry, 1, "forecaster.json"))
    with pytest.raises(RegistryError, match=r"the stored forecaster\.json is not the registered one"):
        registry.load()


def test_a_climatology_that_was_not_registered_is_refused(root, registry, checkpoint, climatology_file):
    register(registry, checkpoint)
    shutil.copy(climatology_file, stored(root, registry, 1, "weights.safetensors").parent.parent)
    with pytest.raises(RegistryError, match=r"the stored climatology\.npz is not the registered one"):
        registry.load()


@pytest.mark.parametrize("end", ["/7", "@nobody", "/0"])
def test_an_unknown_version_or_alias_names_those_there_are(registry, checkpoint, end):
    register(registry, checkpoint)
    name = registry.name
    message = rf"there is no model models:/{name}{end} in sqlite:.*\(versions of {name}: {name}/1\); train one, or name"
    with pytest.raises(RegistryError, match=message):
        registry.resolve(f"models:/{name}{end}")
    with pytest.raises(RegistryError, match=message):
        registry.load(f"models:/{name}{end}")


def test_without_any_version_there_is_no_champion(registry):
    with pytest.raises(RegistryError, match=rf"no model models:/{registry.name}@champion in .*: none yet\); train one"):
        registry.resolve()
    assert registry.versions() == []


def test_a_malformed_uri_gets_the_form_it_must_have(registry):
    without_scheme = ["demo", "demo@champion", "models:demo/1", "runs:/abc/model"]
    broken = ["", "demo", "demo@", "@champion", "demo/latest", "demo/-1", "demo/1.5"]
    for uri in (*without_scheme, *(f"models:/{rest}" for rest in broken)):
        with pytest.raises(
            RegistryError, match=r"must have the form models:/NAME@ALIAS or models:/NAME/VERSION, e\.g\."
        ):
            registry.resolve(uri)


def test_a_registry_that_cannot_be_reached_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RegistryError, match=r"MLflow at sqlite:.*mlflow.db failed \(.*\); check MLFLOW_TRACKING_URI"):
        Registry(f"sqlite:///{tmp_path / 'file' / 'mlflow.db'}", tmp_path, "demo")


# What registering does to its surroundings


def test_a_kill_before_the_version_is_made_leaves_no_version(registry, checkpoint, monkeypatch):
    def killed(*arguments, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(registry._client, "create_model_version", killed)
        with pytest.raises(KeyboardInterrupt):
            register(registry, checkpoint, {"run_name": "a"})
    assert registry.versions() == []
    assert registry.find(run_name="a") is None
    with pytest.raises(RegistryError, match="there is no model"):
        registry.resolve()
    again = register(registry, checkpoint, {"run_name": "a"})
    assert (again.version, again.aliases) == (1, ("champion",))
    assert registry.load().version == again


def test_registering_and_loading_say_nothing(registry, checkpoint, capfd):
    capfd.readouterr()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        register(registry, checkpoint)
        registry.load()
    shown = [str(warning.message) for warning in caught if not issubclass(warning.category, DeprecationWarning)]
    assert shown == []
    assert capfd.readouterr() == ("", "")


def test_nothing_is_pickled(root, registry, checkpoint):
    register(registry, checkpoint)
    files = [path for path in stored(root, registry, 1, "MLmodel").parent.rglob("*") if path.is_file()]
    assert {"weights.safetensors", "forecaster.json", "pyfunc_model.py", "MLmodel"} <= {path.name for path in files}
    for path in files:
        assert path.suffix not in (".pkl", ".pickle", ".joblib", ".pt", ".pth"), path
        assert not path.read_bytes().startswith(b"\x80"), path  # how a pickle of protocol 2 or later begins
    flavor = yaml.safe_load(stored(root, registry, 1, "MLmodel").read_text())["flavors"]["python_function"]
    assert "model_code_path" in flavor
    assert not {"python_model", "data"} & set(flavor)


def test_two_registries_in_one_process_keep_apart(root, registry, checkpoint, tmp_path):
    other = Registry(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path / "mlartifacts", registry.name)
    register(registry, checkpoint)
    assert other.versions() == []
    register(other, checkpoint)
    assert [len(one.versions()) for one in (registry, other)] == [1, 1]
    assert other.load().version.run_id != registry.load().version.run_id
    assert len(list((tmp_path / "mlartifacts").rglob("weights.safetensors"))) == 1
    assert "MLFLOW_TRACKING_URI" not in os.environ


def test_mlflow_itself_loads_the_model_and_forecasts_the_same(registry, checkpoint, tmp_path, monkeypatch):
    import mlflow

    plain = tmp_path / "plain"
    minconv.save(plain, made(forcings=0))
    run = registry.run("both", {})
    versions = [register(registry, checkpoint), registry.register(run, plain, {}, (1, 1, 4, 6))]
    history, forcing = torch.randn(2, 5, 2, 4, 6), torch.randn(2, 3, 1, 4, 6)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", registry.tracking_uri)
    forced, free = (mlflow.pyfunc.load_model(version.uri) for version in versions)
    found = forced.predict({"history": history.numpy(), "forcing": forcing.numpy()})
    with torch.no_grad():
        np.testing.assert_array_equal(found, torch.stack(list(minconv.rollout(made(), history, 3, forcing)), 1).numpy())
        found = free.predict({"history": history[:, :, :1].numpy()}, params={"steps": 4})
        expected = torch.stack(list(minconv.rollout(made(0), history[:, :, :1], 4)), 1).numpy()
    np.testing.assert_array_equal(found, expected)
    assert forced.metadata.signature.inputs.input_names() == ["history", "forcing"]


# Runs


def test_a_run_of_the_same_name_is_gone_on_with(registry):
    first = registry.run("demo-1", {"training.epochs": 2})
    first.log_metrics({"a": 1.0})
    first.finish("KILLED")
    again = registry.run("demo-1", {"training.epochs": 3})
    assert again.run_id == first.run_id
    known = registry._client.get_run(first.run_id)
    assert known.info.status == "RUNNING"
    assert known.data.params == {"training.epochs": "2"}
    assert known.data.metrics == {"a": 1.0}
    assert registry.run("demo-2", {}).run_id != first.run_id
    again.finish()
    assert registry._client.get_run(first.run_id).info.status == "FINISHED"


def test_a_run_killed_before_its_parameters_gets_them_later(registry, monkeypatch):
    def killed(*arguments, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(registry._client, "log_batch", killed)
        with pytest.raises(KeyboardInterrupt):
            registry.run("demo", {"seed": 0})
    run = registry.run("demo", {f"parameter.{number}": number for number in range(250)})
    assert len(registry._client.get_run(run.run_id).data.params) == 250


def test_metrics_that_are_not_finite_are_left_out(registry):
    run = registry.run("demo", {})
    run.log_metrics({"test/rmse/t2m/06h": 0.5, "nan": math.nan, "inf": math.inf, "-inf": -math.inf})
    run.log_metrics({f"many/{number}": number for number in range(2500)}, step=3)
    metrics = registry._client.get_run(run.run_id).data.metrics
    assert metrics.pop("test/rmse/t2m/06h") == 0.5
    assert metrics == {f"many/{number}": number for number in range(2500)}
    assert registry._client.get_metric_history(run.run_id, "many/7")[0].step == 3


def test_a_run_keeps_its_input_files_and_tags(registry, tmp_path):
    run = registry.run("demo", {})
    run.log_input("demo", "SNAPSHOT", {"archive": tmp_path, "snapshot_id": "SNAPSHOT"}, "training")
    (tmp_path / "figure.png").write_bytes(b"png")
    run.log_file(tmp_path / "figure.png", "figures")
    run.set_tags({"snapshot_id": "SNAPSHOT"})
    known = registry._client.get_run(run.run_id)
    (used,) = known.inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest) == ("demo", "SNAPSHOT")
    assert json.loads(used.dataset.source) == {"archive": str(tmp_path), "snapshot_id": "SNAPSHOT"}
    assert [tag.value for tag in used.tags] == ["training"]
    assert known.data.tags["snapshot_id"] == "SNAPSHOT"
    assert [entry.path for entry in registry._client.list_artifacts(run.run_id, "figures")] == ["figures/figure.png"]
    opened = registry.open_run(run.run_id)
    opened.log_metrics({"a": 1})
    assert registry._client.get_run(run.run_id).data.metrics == {"a": 1.0}


def test_training_goes_on_while_mlflow_is_down_and_every_epoch_arrives_once(registry, monkeypatch):
    from mlflow.exceptions import MlflowException

    run = registry.run("demo", {})
    log = EpochLog(run)
    records = [{"epoch": epoch, "train_loss": 1 / epoch, "learning_rate": 0.1} for epoch in (1, 2, 3, 4)]
    log.add(records[0])
    failures = iter((MlflowException("503"), ConnectionError("refused"), OSError(28, "No space left on device")))

    def down(*arguments, **options):
        raise next(failures)

    with monkeypatch.context() as patched:
        patched.setattr(registry._client, "log_batch", down)
        log.add(records[1])
        log.add(records[2])
        with pytest.raises(RegistryError, match="No space left on device"):
            log.complete(records)
    log.add(records[3])
    log.complete(records)
    log.complete(records)
    history = registry._client.get_metric_history(run.run_id, "training/train_loss")
    assert sorted((entry.step, entry.value) for entry in history) == [(r["epoch"], r["train_loss"]) for r in records]
    assert "training/epoch" not in registry._client.get_run(run.run_id).data.metrics


# A model of anomalies from training to forecast


def anomalies(config: Config, **model) -> Config:
    update = {"anomaly": True, "damping": True, **model}
    return config.model_copy(update={"model": config.model.model_copy(update=update)})


def registered(registry: Registry, config: Config, folder: Path, forecaster=None):
    """Trained by a local worker unless given, registered with all its files, and loaded."""
    job = prepare(config, archive.head(config.archive_path))
    if forecaster is None:
        run_loop(job, LocalWorker(folder / "training"))
        (best,) = folder.glob("training/epoch-*/best")
    else:
        best = folder / "given"
        minconv.save(best, forecaster(job))
    files = write_model_files(folder, best, job, [])
    run = registry.run(f"anomalies of {registry.name}", {})
    registry.register(run, files.checkpoint, version_tags(job), files.sizes, files.extra)
    return job, registry.load()


def test_a_model_of_anomalies_forecasts_in_physical_units(registry, time_config, tmp_path):
    config = anomalies(time_config)
    job, model = registered(registry, config, tmp_path)
    assert model.climatology.cycle == job.climatology.cycle == "hour_of_day"
    np.testing.assert_array_equal(model.climatology.fields, job.climatology.fields)
    assert model.metadata["fill"] == [0.0, 0.0]
    assert model.version.tags["sha256_climatology"]
    reader = open_reader(model, config.archive_path, job.snapshot_id)
    init = np.datetime64("2020-03-09T18")
    fields = make_forecast(model, reader, cases_at(reader, 6, [init]), 3, {})["t2m"].values[0]
    with archive.open_dataset(config.archive_path) as dataset:
        truth = dataset["t2m"].sel(time=init + np.arange(1, 4) * np.timedelta64(1, "h")).values
    assert (np.isnan(fields) == np.isnan(truth)).all()
    assert np.nanmax(np.abs(fields - truth)) < 8  # of 280 K, where an anomaly would be off by as much


def test_full_damping_with_nothing_to_add_forecasts_the_climatology(registry, time_config, tmp_path):
    def returning(job):
        forecaster = build_forecaster(job, open_training_reader(job, job.splits.train))
        torch.nn.init.ones_(forecaster.damping)
        return forecaster

    config = anomalies(time_config)
    job, model = registered(registry, config, tmp_path, returning)
    reader = open_reader(model, config.archive_path, job.snapshot_id)
    cases = cases_at(reader, 6, [np.datetime64("2020-03-09T18"), np.datetime64("2020-03-10T23")])
    forecast = make_forecast(model, reader, cases, 5, {})
    for number, case in enumerate(cases):
        expected = job.climatology.at(valid_times(reader, case.start + 5, 5))
        for channel, name in enumerate(("t2m", "q2m")):
            np.testing.assert_array_equal(forecast[name].values[number], expected[:, channel])
