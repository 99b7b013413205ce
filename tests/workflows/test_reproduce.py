"""`minconv reproduce`: the same weights bit for bit from what the lineage names; other code or data is said."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from pipeline import lineage
from pipeline.config import GenerateConfig
from pipeline.registry import Registry
from pipeline.synthetic import generate
from workflows.cli import app


def minconv(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(app, [*arguments])
    assert result.exit_code == code, result.output
    return result


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], str]:
    """Archive some blobs and train a small model on them; the configuration's file."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def make(workers: int) -> str:
        tree: dict[str, Any] = {
            "name": "blobs",
            "root": str(tmp_path / "runs"),
            "source": {"path": str(tmp_path / "source")},
            "variables": {"tracer": {"units": "1"}},
            "window": {"history": 4, "horizon": 4, "stride": 2},
            "model": {"hidden": [6, 6], "patch": 1},
            "training": {"epochs": 2, "batch_size": 2, "threads": 1, "workers": workers},
        }
        generate(GenerateConfig(kind="advection", samples=10, steps=12, size=8, coarsen=1), tmp_path / "source")
        path = tmp_path / "blobs.yaml"
        path.write_text(yaml.safe_dump(tree))
        minconv("ingest", "-c", str(path), "-q")
        minconv("train", "-c", str(path), "-q")
        return str(path)

    return make


def versions(tmp_path: Path) -> list[int]:
    return [one.version for one in Registry(f"sqlite:///{tmp_path}/runs/mlflow.db", None, "blobs").versions()]


@pytest.mark.slow
def test_weights_are_equal_bit_for_bit_and_nothing_is_left(
    trained: Callable[[int], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = trained(0)
    result = minconv(  # settings of today do not count
        *("reproduce", "models:/blobs/1", "-c", config, "-q"),
        *("--set", "training.epochs=1", "--set", "seed=9", "--set", "model.hidden=[3]"),
    )
    assert "equal bit for bit" in result.output
    assert versions(tmp_path) == [1]
    assert len(list((tmp_path / "runs" / "blobs" / "training").iterdir())) == 1

    monkeypatch.setattr(lineage, "code_hash", lambda: "other")
    refused = minconv("reproduce", "models:/blobs@champion", "-c", config, code=1)
    assert "trained by other code" in refused.output
    anyway = minconv("reproduce", "models:/blobs@champion", "-c", config, "--anyway")
    assert "the code differ" in anyway.output
    assert "equal bit for bit" in anyway.output


@pytest.mark.slow
def test_other_weights_are_told_apart(
    trained: Callable[[int], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = trained(0)
    from workflows import reproduce

    honest = reproduce.recipe
    monkeypatch.setattr(reproduce, "recipe", lambda *args: honest(*args).model_copy(update={"seed": 1}))
    result = minconv("reproduce", "models:/blobs/1", "-c", config, "-q", code=1)
    assert "weights differ by up to" in result.output


@pytest.mark.slow
@pytest.mark.cluster
def test_on_ray_they_are_equal_too(trained: Callable[[int], str]) -> None:
    result = minconv("reproduce", "models:/blobs/1", "-c", trained(1), "-q")
    assert "equal bit for bit" in result.output
