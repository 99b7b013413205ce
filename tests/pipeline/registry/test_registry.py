"""Versions in MLflow: what is kept, what is found, what is refused, and what a kill leaves."""

from __future__ import annotations

import hashlib
import os
import warnings

import numpy as np
import pytest
import torch
import yaml

import minconv
from pipeline.errors import RegistryError
from pipeline.registry import Registry

# Versions


def test_the_first_version_is_champion_and_the_newest_later_one_challenger(registry, register, checkpoint):
    first = register(registry, checkpoint)
    assert (first.version, first.aliases, first.uri) == (1, ("champion",), f"models:/{registry.name}/1")
    assert register(registry, checkpoint).aliases == ("challenger",)
    assert register(registry, checkpoint).aliases == ("challenger",)
    assert [(v.version, v.aliases) for v in registry.versions()] == [(3, ("challenger",)), (2, ()), (1, ("champion",))]
    assert registry.resolve().version == 1
    assert registry.resolve(f"models:/{registry.name}@challenger").version == 3
    assert registry.resolve(f"models:/{registry.name}/2").version == 2


def test_where_no_champion_is_the_next_version_becomes_it(registry, register, checkpoint):
    register(registry, checkpoint)
    registry._client.delete_registered_model_alias(registry.name, "champion")
    assert register(registry, checkpoint).aliases == ("champion",)


def test_a_candidate_is_challenger_even_where_no_champion_is(registry, register, checkpoint):
    assert register(registry, checkpoint, candidate=True).aliases == ("challenger",)
    assert register(registry, checkpoint).aliases == ("champion",)
    assert register(registry, checkpoint, candidate=True).aliases == ("challenger",)
    assert [(v.version, v.aliases) for v in registry.versions()] == [(3, ("challenger",)), (2, ("champion",)), (1, ())]


def test_a_kill_between_a_version_and_its_alias_leaves_no_model_without_champion(registry, register, checkpoint):
    version = register(registry, checkpoint)
    registry._client.delete_registered_model_alias(registry.name, "champion")
    assert registry.ensure_champion(version).aliases == ("champion",)
    later = register(registry, checkpoint)
    assert registry.ensure_champion(later).aliases == ("challenger",)
    assert registry.resolve().version == version.version


def test_a_version_has_its_tags_the_sha256_of_its_weights_and_its_run(registry, register, checkpoint):
    version = register(registry, checkpoint, {"snapshot_id": "ABC", "config_hash": "123"})
    weights = (checkpoint / "weights.safetensors").read_bytes()
    assert version.tags["sha256"] == hashlib.sha256(weights).hexdigest()
    assert version.tags["snapshot_id"] == "ABC"
    assert version.tags["config_hash"] == "123"
    assert registry.resolve().tags == version.tags
    assert registry._client.get_run(version.run_id).info.run_name == f"run of {registry.name}"


def test_a_version_is_found_by_its_tags_the_newest_first(registry, register, checkpoint):
    assert registry.find(run_name="a") is None
    for run_name, cell in (("a", "convgru"), ("a", "conv"), ("b", "conv")):
        register(registry, checkpoint, {"run_name": run_name, "cell": cell})
    assert registry.find(run_name="a").version == 2
    assert registry.find(run_name="a", cell="convgru").version == 1
    assert registry.find(run_name="b", cell="convgru") is None
    assert registry.find(nothing="a") is None


def test_a_tag_with_quotes_in_it_is_found(registry, register, checkpoint):
    values = ("it's", 'the "best"', "% _ \\", 'it\'s `both` "kinds"')
    for value in values:
        register(registry, checkpoint, {"note": value})
    for number, value in enumerate(values, start=1):
        assert registry.find(note=value).version == number
    assert registry.find(note="its") is None


def test_versions_are_listed_page_by_page_with_their_metrics(registry, register, checkpoint, monkeypatch):
    monkeypatch.setattr("pipeline.registry.registry._VERSIONS_PER_CALL", 2)
    for number in range(1, 6):
        run = registry.run(f"{registry.name} {number}", {})
        run.log_metrics({"score": number})
        registry.register(run, checkpoint, {"even": str(number % 2 == 0)}, (2, 1, 4, 6))
    listed = registry.versions()
    assert [(v.version, v.metrics) for v in listed] == [(n, {"score": float(n)}) for n in (5, 4, 3, 2, 1)]
    assert listed == [registry.resolve(v.uri) for v in listed]
    assert registry.find(even="True").version == 4


def test_a_listing_asks_mlflow_a_few_times_however_many_versions_there_are(registry, register, checkpoint, monkeypatch):
    for _ in range(3):
        register(registry, checkpoint)
    single = []
    for name in ("get_model_version", "get_run"):
        monkeypatch.setattr(registry._client, name, lambda *arguments: single.append(arguments))
    assert len(registry.versions()) == 3
    assert single == []


def test_aliases_and_tags_are_changed_and_read_back(registry, register, checkpoint):
    assert registry.aliases() == {}
    for _ in range(2):
        register(registry, checkpoint, {"cell": "conv"})
    assert registry.aliases() == {"champion": 1, "challenger": 2}
    registry.set_alias("previous_champion", 1)
    registry.set_alias("champion", 2)
    registry.remove_alias("challenger")
    assert registry.aliases() == {"champion": 2, "previous_champion": 1}
    registry.set_tags(2, {"verdict": "promote", "cell": "convgru"})
    tags = registry.resolve().tags
    assert (tags["verdict"], tags["cell"]) == ("promote", "convgru")
    assert registry.resolve(f"models:/{registry.name}@previous_champion").aliases == ("previous_champion",)


def test_a_version_loads_as_it_was_saved(registry, register, checkpoint, made):
    version = register(registry, checkpoint)
    model = registry.load()
    assert model.version == version
    assert model.metadata == {"variables": ["t2m"], "history": 4}
    assert model.climatology is None
    assert not model.forecaster.training
    x = torch.randn(1, 3, 2, 4, 6)
    assert torch.equal(model.forecaster(x)[0], made()(x)[0])


# What is refused


@pytest.mark.parametrize("end", ["/7", "@nobody", "/0"])
def test_an_unknown_version_or_alias_names_those_there_are(registry, register, checkpoint, end):
    register(registry, checkpoint)
    name = registry.name
    message = rf"there is no model models:/{name}{end} in sqlite:.*\(versions of {name}: {name}/1\); train one, or name"
    with pytest.raises(RegistryError, match=message):
        registry.resolve(f"models:/{name}{end}")
    with pytest.raises(RegistryError, match=message):
        registry.load(f"models:/{name}{end}")


def test_the_champion_is_the_version_with_that_alias_or_none(registry, register, checkpoint):
    assert registry.champion() is None
    first, _ = register(registry, checkpoint), register(registry, checkpoint)
    assert registry.champion() == registry.resolve(first.uri)


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


def test_a_kill_before_the_version_is_made_leaves_no_version(registry, register, checkpoint, monkeypatch):
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


def test_registering_and_loading_say_nothing(registry, register, checkpoint, capfd):
    capfd.readouterr()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        register(registry, checkpoint)
        registry.load()
    shown = [str(warning.message) for warning in caught if not issubclass(warning.category, DeprecationWarning)]
    assert shown == []
    assert capfd.readouterr() == ("", "")


def test_nothing_is_pickled(registry, register, stored, checkpoint):
    register(registry, checkpoint)
    files = [path for path in stored(registry, 1, "MLmodel").parent.rglob("*") if path.is_file()]
    assert {"weights.safetensors", "forecaster.json", "pyfunc_model.py", "MLmodel"} <= {path.name for path in files}
    for path in files:
        assert path.suffix not in (".pkl", ".pickle", ".joblib", ".pt", ".pth"), path
        assert not path.read_bytes().startswith(b"\x80"), path  # how a pickle of protocol 2 or later begins
    flavor = yaml.safe_load(stored(registry, 1, "MLmodel").read_text())["flavors"]["python_function"]
    assert "model_code_path" in flavor
    assert not {"python_model", "data"} & set(flavor)


def test_two_registries_in_one_process_keep_apart(registry, register, checkpoint, tmp_path):
    other = Registry(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path / "mlartifacts", registry.name)
    register(registry, checkpoint)
    assert other.versions() == []
    register(other, checkpoint)
    assert [len(one.versions()) for one in (registry, other)] == [1, 1]
    assert other.load().version.run_id != registry.load().version.run_id
    assert len(list((tmp_path / "mlartifacts").rglob("weights.safetensors"))) == 1
    assert "MLFLOW_TRACKING_URI" not in os.environ


def test_mlflow_itself_loads_the_model_and_forecasts_the_same(
    registry, register, checkpoint, made, tmp_path, monkeypatch
):
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
