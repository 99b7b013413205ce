"""What made two versions differ: only what differs, each thing once."""

from __future__ import annotations

import dataclasses

from pipeline.difference import Difference, differences, flat


def test_a_version_does_not_differ_from_itself(time_model):
    assert differences(time_model, time_model) == ()


def test_data_code_and_configuration_are_named(time_model):
    tags = {**time_model.version.tags, "snapshot_id": "OTHER"}
    del tags["code_hash"]
    config = time_model.metadata["config"]
    changed = {**config, "seed": 5, "model": {**config["model"], "hidden": [4, 4]}}
    del changed["boundary"]
    other = dataclasses.replace(
        time_model,
        version=dataclasses.replace(time_model.version, tags=tags),
        metadata={**time_model.metadata, "config": changed},
    )
    of = time_model.version.tags
    assert differences(time_model, other) == (
        Difference("data", "snapshot_id", of["snapshot_id"], "OTHER"),
        Difference("code", "code_hash", of["code_hash"], "not set"),
        Difference("configuration", "boundary", "closed", "not set"),
        Difference("configuration", "model.hidden", "[8]", "[4, 4]"),
        Difference("configuration", "seed", "0", "5"),
    )


def test_other_models_differ_in_size(time_model, sample_model):
    found = {one.name: one for one in differences(time_model, sample_model)}
    assert found["parameters"].what == "model"
    assert found["parameters"].a != found["parameters"].b
    assert found["window.history"] == Difference("configuration", "window.history", "6", "4")


def test_a_tree_is_flat_by_dotted_keys():
    assert flat({"a": 1, "b": {"c": [1, 2], "d": {"e": None}}}) == {"a": 1, "b.c": [1, 2], "b.d.e": None}
