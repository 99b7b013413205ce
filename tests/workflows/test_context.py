"""Where a command starts: configurations by name or path, absolute paths, the registry, other people's log lines."""

from __future__ import annotations

import logging
import os
import warnings
from pathlib import Path

import pytest

from pipeline.errors import ConfigError
from workflows.console import Console
from workflows.context import Context, load_config, quiet_libraries, ray_token, shipped_configs


@pytest.fixture
def context(time_config, tmp_path):
    return Context(time_config.model_copy(update={"root": tmp_path}), Console(quiet=True))


def test_the_shipped_configurations_are_the_files_of_the_folder():
    folder = Path(__file__).parents[2] / "configs"
    assert shipped_configs() == sorted(path.stem for path in folder.glob("*.yaml"))
    assert "demo" in shipped_configs()


@pytest.mark.parametrize("name", shipped_configs())
def test_a_shipped_configuration_is_found_from_anywhere(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = load_config(name)
    assert config.name == name
    assert config.root == tmp_path / "runs"
    assert config.source_path.is_absolute()


def test_a_file_is_found_by_its_path_and_counts_from_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    file = tmp_path / "elsewhere" / "mine.yaml"
    file.write_text("{name: mine, source: {path: files}, root: out}")
    monkeypatch.chdir(tmp_path)
    config = load_config("elsewhere/mine.yaml")
    assert (config.root, config.source.path) == (tmp_path / "out", tmp_path / "files")
    assert load_config(str(file)) == config


def test_a_file_without_a_suffix_and_a_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    file = tmp_path / "mine"
    file.write_text("{name: mine, source: {path: '~/files'}, root: '~/out'}")
    config = load_config(str(file))
    assert (config.root, config.source.path) == (tmp_path / "out", tmp_path / "files")


@pytest.mark.parametrize("folder", ["it's: here, [1] #2", "plain", "ünï cödé", "null", "2017-01"])
def test_data_takes_the_place_of_any_source_whatever_its_name(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("demo", "wfde5_gb"):
        config = load_config(name, ["training.epochs=3"], Path(folder))
        assert config.source_path == tmp_path / folder
        assert (config.generate, config.training.epochs) == (None, 3)


def test_input_may_be_named_by_its_url():
    source = load_config("wfde5_gb", data="s3://weather/gb 2017/").source
    assert (source.url, source.files) == ("s3://weather/gb 2017", load_config("wfde5_gb").source.files)
    with pytest.raises(ConfigError, match="a URL has no user and no password in it"):
        load_config("wfde5_gb", data="s3://me:secret@weather/gb")


def test_an_unknown_name_lists_the_ones_there_are():
    with pytest.raises(ConfigError, match=r"no configuration 'deom': give the path of a YAML file or one of demo, "):
        load_config("deom")


def test_a_missing_file_is_named():
    with pytest.raises(ConfigError, match=r"nowhere\.yaml cannot be read \(No such file or directory\)"):
        load_config("nowhere.yaml")


def test_mlflow_lies_under_the_root_unless_the_environment_names_a_server(context, monkeypatch, tmp_path):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert context.tracking_uri == f"sqlite:///{tmp_path}/mlflow.db"
    assert not context.has_registry
    (tmp_path / "mlflow.db").touch()
    assert context.has_registry
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow.example:5000")
    assert context.tracking_uri == "http://mlflow.example:5000"
    assert context.has_registry


def test_the_token_of_a_cluster_comes_from_the_environment(monkeypatch):
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    assert ray_token() is None
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "/run/token")
    assert ray_token() == Path("/run/token")


def test_other_peoples_lines_are_kept_off_the_screen_and_the_users_settings_are_kept(capsys, monkeypatch):
    monkeypatch.setattr(os, "environ", {"MLFLOW_LOGGING_LEVEL": "DEBUG"})
    levels = {name: logging.getLogger(name).level for name in ("mlflow", "alembic", "ray", "distributed")}
    try:
        with warnings.catch_warnings():
            quiet_libraries()
            warnings.warn("soon to be removed", DeprecationWarning, stacklevel=1)
            logging.getLogger("alembic").warning("context impl SQLiteImpl")
        assert os.environ["MLFLOW_LOGGING_LEVEL"] == "DEBUG"
        assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
        assert os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false"
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
    seen = capsys.readouterr()
    assert seen.out + seen.err == ""
