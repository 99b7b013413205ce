"""Checkpoints: what is saved comes back; what was damaged is named; what is there is not lost."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from minconv import (
    CheckpointDamagedError,
    CheckpointError,
    CheckpointMissingError,
    CheckpointVersionError,
    Forecaster,
    ForecasterConfig,
    Normalizer,
    load,
    save,
)
from minconv.checkpoint import DESCRIPTION, WEIGHTS


def made(seed=0, **changes):
    torch.manual_seed(seed)
    settings = {"in_channels": 2, "out_channels": 1, "hidden": (3, 4), "patch": 2, **changes}
    forecaster = Forecaster(ForecasterConfig(**settings))
    forecaster.normalizer = Normalizer([1.0, 2.0], [3.0, 4.0])
    return forecaster


def edit(folder, change):
    """Change the description as an honest editor of the format would not: the digest stays as it was."""
    content = json.loads((folder / DESCRIPTION).read_text())
    change(content)
    (folder / DESCRIPTION).write_text(json.dumps(content))


@pytest.fixture
def folder(tmp_path):
    save(tmp_path / "model", made(), {"snapshot_id": "abc", "scores": {"rmse": [1.0, 2.5]}})
    return tmp_path / "model"


@pytest.mark.parametrize("cell", ["minconvgru", "minconvlstm", "minconvexplstm", "convgru", "convlstm", "conv"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_what_was_saved_comes_back(tmp_path, cell, dtype):
    forecaster = made(cell=cell, norm="layer_hw", grid_shape=(4, 6), tendency_scale=0.3).to(dtype)
    metadata = {"snapshot_id": "abc", "number": 0.1, "text": "Grüße", "nested": {"list": [1, None, True]}}
    save(tmp_path / "a" / "model", forecaster, metadata)
    back, found = load(tmp_path / "a" / "model")
    assert found == metadata
    assert back.config == forecaster.config
    assert not back.training
    x = torch.randn(1, 3, 2, 4, 6).to(dtype)
    assert torch.equal(back(x)[0], forecaster(x)[0])
    assert {path.name for path in (tmp_path / "a").iterdir()} == {"model"}
    assert {path.name for path in (tmp_path / "a" / "model").iterdir()} == {WEIGHTS, DESCRIPTION}


@pytest.mark.parametrize("scale", [0.3, (0.3, 0.7)])
def test_the_scale_of_the_tendency_comes_back_with_the_configuration(tmp_path, scale):
    forecaster = made(out_channels=2, tendency=True, tendency_scale=scale)
    torch.nn.init.normal_(forecaster.decoder.weight)
    save(tmp_path / "model", forecaster)
    back, _ = load(tmp_path / "model")
    assert back.config == forecaster.config
    x = torch.randn(1, 3, 2, 4, 6)
    assert torch.equal(back(x)[0], forecaster(x)[0])


def test_the_damping_comes_back(tmp_path):
    forecaster = made(tendency=True, damping=True)
    torch.nn.init.constant_(forecaster.damping, 0.25)
    save(tmp_path / "model", forecaster)
    back, _ = load(tmp_path / "model")
    assert back.config.damping
    assert back.damping.tolist() == [0.25]
    x = torch.randn(1, 3, 2, 4, 6)
    assert torch.equal(back(x)[0], forecaster(x)[0])


def test_metadata_may_be_left_out_and_paths_may_be_text(tmp_path):
    save(str(tmp_path / "model"), made())
    assert load(str(tmp_path / "model"))[1] == {}


def test_an_empty_folder_may_be_filled_and_a_checkpoint_replaced(tmp_path):
    target = tmp_path / "model"
    target.mkdir()
    save(target, made(), {"n": 1})
    save(target, made(1), {"n": 2})
    back, metadata = load(target)
    assert metadata == {"n": 2}
    assert torch.equal(back.encoder.weight, made(1).encoder.weight)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_folder_with_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(CheckpointError, match="exists and is no checkpoint; choose another folder"):
        save(tmp_path, made())
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize("failing", [WEIGHTS, DESCRIPTION, "rename"])
def test_a_failure_while_writing_leaves_the_older_checkpoint(folder, monkeypatch, failing):
    open_file, rename = Path.open, Path.rename

    def full_disk(path, *arguments, **keywords):
        if path.name == failing and arguments == ("xb",):
            raise OSError(28, "No space left on device")
        return open_file(path, *arguments, **keywords)

    def no_rename(path, target):
        if failing == "rename" and path.name.endswith(".new"):
            raise OSError(5, "Input/output error")
        return rename(path, target)

    monkeypatch.setattr(Path, "open", full_disk)
    monkeypatch.setattr(Path, "rename", no_rename)
    with pytest.raises(CheckpointError, match=r"could not be written .*; nothing was changed"):
        save(folder, made(1))
    monkeypatch.undo()
    back, _ = load(folder)
    assert torch.equal(back.encoder.weight, made().encoder.weight)
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


@pytest.mark.parametrize("metadata", [{"a": object()}, {"a": float("nan")}, {("a", "b"): 1}])
def test_metadata_must_be_json(tmp_path, metadata):
    with pytest.raises(CheckpointError, match="metadata must hold only what JSON can"):
        save(tmp_path / "model", made(), metadata)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [WEIGHTS, DESCRIPTION])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(CheckpointMissingError, match=f"{name} is missing"):
        load(folder)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(CheckpointMissingError, match=r"must be a folder.* check the path"):
        load(tmp_path / "nowhere")


@pytest.mark.parametrize("name", [WEIGHTS, DESCRIPTION])
@pytest.mark.parametrize("length", [0, 1, 100, -1])
def test_a_truncated_file_is_found(folder, name, length):
    whole = (folder / name).read_bytes().rstrip()
    (folder / name).write_bytes(whole[:length])
    with pytest.raises(CheckpointDamagedError, match=name):
        load(folder)


def test_a_flipped_bit_in_the_weights_is_found(folder):
    weights = bytearray((folder / WEIGHTS).read_bytes())
    weights[-5] ^= 1
    (folder / WEIGHTS).write_bytes(bytes(weights))
    with pytest.raises(CheckpointDamagedError, match="must have sha256"):
        load(folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content["config"].update(tendency_scale=0.9),
        lambda content: content["metadata"].update(snapshot_id="other"),
        lambda content: content["weights"].update(sha256="0" * 64),
        lambda content: content.pop("sha256"),
        lambda content: content.pop("weights"),
    ],
)
def test_a_changed_description_is_found(folder, change):
    edit(folder, change)
    with pytest.raises(CheckpointDamagedError, match="was changed after it was written"):
        load(folder)


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_an_unknown_version_is_refused(folder, version):
    edit(folder, lambda content: content.update(version=version))
    with pytest.raises(CheckpointVersionError, match="must have format version 1, got"):
        load(folder)


@pytest.mark.parametrize("text", ["[]", '"text"', "{}", '{"format": "other"}'])
def test_another_json_file_is_refused(folder, text):
    (folder / DESCRIPTION).write_text(text)
    with pytest.raises(CheckpointDamagedError, match="must describe a minconv-forecaster"):
        load(folder)


def test_weights_of_another_model_are_refused(folder, tmp_path):
    """Both files are intact, and their digests agree, but the configuration is not that of the weights."""
    from minconv import checkpoint

    weights = (folder / WEIGHTS).read_bytes()
    (folder / DESCRIPTION).write_text(checkpoint._describe(made(hidden=(5,)).config, weights, {}))
    with pytest.raises(CheckpointDamagedError, match="do not make a model"):
        load(folder)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_an_unreadable_file_is_named(folder):
    (folder / WEIGHTS).chmod(0)
    with pytest.raises(CheckpointMissingError, match="cannot be read"):
        load(folder)
