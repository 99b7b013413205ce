"""`minconv poc`: what is typed wrong, and the whole of it on a small archive, done once and then read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from pipeline.study import CELLS, probe
from workflows.cli import app


def invoke(*words: object):
    return CliRunner().invoke(app, ["poc", *(str(word) for word in words)], catch_exceptions=False)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--budget", "10 parsecs"), "--budget must be a duration above zero like 90s, 10m, 1h30m or 1d"),
        (("--budget", "0s"), "--budget must be a duration above zero"),
        (("--every", "often"), "--every must be a duration above zero"),
        (("--price-per-hour", "-1"), "--price-per-hour must be a number of at least 0, got -1"),
        (("--set", "training.gpu=true"), "needs a GPU and this machine has none"),
    ],
)
def test_what_is_typed_wrong_is_one_sentence(words, said, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    result = invoke("-c", "demo", "--set", f"root={tmp_path}/runs", *words)
    assert result.exit_code == 1
    assert said in result.stderr
    assert not list(tmp_path.iterdir())


def here(work: Callable[..., Any], arguments: tuple[Any, ...], progress: Any) -> Any:
    return work(*arguments, progress)


def kept(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_a_proof_of_concept_is_made_once_and_goes_on_where_it_was(sample_config, tmp_path, monkeypatch):
    monkeypatch.setattr(probe, "in_own_process", here)  # as quick as can be; trials have processes of their own
    file, out = tmp_path / "blobs.yaml", tmp_path / "poc"
    tree = sample_config.model_dump(mode="json")
    tree["training"] |= {"epochs": 1, "threads": 1}
    tree["promotion"] = {"minimum_cases": 2}
    file.write_text(yaml.safe_dump(tree))
    asked = ("-c", file, "--budget", "2h", "--price-per-hour", "0.5", "--out", out)

    small = invoke("-c", file, "--budget", "1s", "--out", out)
    assert small.exit_code == 1
    assert "a budget of 1s is too small for 5 cells on this machine: the least that works is " in small.stderr

    first = invoke(*asked)
    assert first.exit_code == 0, first.stderr
    assert "each of 5 cells trains for" in first.stdout
    assert "nothing is registered in MLflow" in first.stdout
    page = (out / "report.html").read_text()
    assert page.count('<img src="data:image/png;base64,') == 5  # three baselines, costs, learning
    found = json.loads((out / "poc.json").read_text())
    assert [one["cell"] for one in found["cells"]] == list(CELLS)
    assert found["decision"]["sentence"] in first.stdout
    assert found["failures"] == {}
    for one in found["cells"]:
        assert one["retraining"]["cost"] > 0
        assert one["training_seconds"] >= found["training_seconds_each"] * 0.99
        assert set(one["scores"]["variables"]["tracer"]["skill"]) == set(one["skill"])
    assert set(found["cells"][0]["skill"]) == {"persistence", "climatology", "damped_persistence"}

    # as if it had been stopped while it scored the last cell
    (lost,) = out.glob("trials/*/convlstm-*/result.json")
    lost.unlink()
    before = kept(out / "trials")
    again = invoke(*asked, "--json")
    after = kept(out / "trials")
    changed = {name for name in after if after[name] != before.get(name)}
    assert {Path(name).name for name in changed} == {"result.json", "scorecard.json"}
    assert {Path(name).parts[1] for name in changed} == {lost.parent.name}
    told = json.loads(again.stdout)
    assert told["cells"][:4] == found["cells"][:4]
    assert told == json.loads((out / "poc.json").read_text())
