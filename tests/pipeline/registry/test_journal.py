"""The journal of a training: one line for each epoch, whatever happens while it is written."""

from __future__ import annotations

import json
import math

import pytest

from pipeline.registry import Journal


def test_an_epoch_is_written_down_once_and_read_again(tmp_path):
    path = tmp_path / "run" / "metrics.jsonl"
    journal = Journal(path)
    assert not path.parent.exists()
    journal.add({"epoch": 1, "train_loss": 0.5, "validation_loss": math.inf})
    journal.add({"epoch": 2, "train_loss": 0.4})
    journal.add({"epoch": 1, "train_loss": 0.9})  # trained again after a kill
    again = Journal(path)
    again.add({"epoch": 2, "train_loss": 0.8})
    assert again.entries == journal.entries
    assert [(one.epoch, dict(one.values)) for one in again.entries] == [
        (1, {"training/train_loss": 0.5}),
        (2, {"training/train_loss": 0.4}),
    ]
    assert again.registered is None
    again.close("models:/demo/3")
    again.close("models:/demo/3")
    assert Journal(path).registered == "models:/demo/3"
    assert len(path.read_text().splitlines()) == 3


def test_a_line_that_a_kill_tore_at_any_byte_is_written_anew(tmp_path):
    path = tmp_path / "metrics.jsonl"
    journal = Journal(path)
    journal.add({"epoch": 1, "train_loss": 0.5})
    whole = len(path.read_bytes())
    journal.add({"epoch": 2, "train_loss": 0.25})
    data = path.read_bytes()
    for length in range(whole, len(data)):
        path.write_bytes(data[:length])
        torn = Journal(path)
        assert [one.epoch for one in torn.entries] == [1]
        torn.add({"epoch": 2, "train_loss": 0.125})
        assert [json.loads(line)["epoch"] for line in path.read_bytes().splitlines()] == [1, 2]
        assert Journal(path).entries[1].values == {"training/train_loss": 0.125}


def test_a_write_that_fails_is_made_good_by_the_next(tmp_path, monkeypatch):
    path = tmp_path / "metrics.jsonl"
    journal = Journal(path)
    journal.add({"epoch": 1, "train_loss": 0.5})

    def full(descriptor):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", full)
        with pytest.raises(OSError, match="No space"):
            journal.add({"epoch": 2, "train_loss": 0.4})
    assert [one.epoch for one in journal.entries] == [1]
    journal.add({"epoch": 2, "train_loss": 0.4})
    assert [one.epoch for one in Journal(path).entries] == [1, 2]
