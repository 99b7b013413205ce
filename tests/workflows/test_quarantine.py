import json

import numpy as np
import pytest
import xarray as xr
import yaml
from typer.testing import CliRunner

from workflows.cli import app


def invoke(*words):
    return CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)


@pytest.fixture
def place(tmp_path):
    """A folder of one good and one warm file, and a configuration beside it."""
    folder = tmp_path / "input"
    folder.mkdir()
    for number, warm in enumerate((0.0, 60.0)):
        times = np.datetime64("2020-01-01T00", "ns") + np.arange(6 * number, 6 * number + 6) * np.timedelta64(1, "h")
        values = np.random.default_rng(number).normal(280 + warm, 1, (6, 4, 5)).astype("float32")
        xr.Dataset(
            {"t": (("time", "lat", "lon"), values, {"units": "K"})},
            coords={"time": times, "lat": np.arange(4.0), "lon": np.arange(5.0)},
        ).to_netcdf(folder / f"{number}.nc", engine="netcdf4")
    tree = {
        "name": "test",
        "root": str(tmp_path / "runs"),
        "boundary": "closed",
        "source": {"path": str(folder)},
        "variables": {"t": {"units": "K", "valid_range": [250, 310]}},
    }
    (tmp_path / "my.yaml").write_text(yaml.safe_dump(tree))
    return tmp_path


def test_list_accept_retry(place):
    config = ("-c", place / "my.yaml")
    assert "no rejected file" in invoke("quarantine", "list", *config).output
    assert "nothing to ingest again" in invoke("quarantine", "retry", *config).output
    assert "minconv quarantine list" in invoke("ingest", *config, "-q").output
    (entry,) = json.loads(invoke("quarantine", "list", "--json", *config).output)
    shown = invoke("quarantine", "list", *config).output
    short = entry["sha256"][:8]
    assert short in shown
    assert "Q-RANGE: 1.nc: variable 't' runs from" in shown
    refused = invoke("quarantine", "accept", *config, short, "--rule", "Q-MASK", "--why", "I like it")
    assert (refused.exit_code, "Q-MASK cannot be accepted" in refused.stderr) == (1, True)
    assert "rejected    " in invoke("quarantine", "retry", *config, short, "-q").output
    told = invoke("quarantine", "accept", *config, short, "--why", "a heat wave")
    assert f"next: minconv quarantine retry {short}" in told.output
    assert "accepted against Q-RANGE" in invoke("quarantine", "list", *config).output
    again = invoke("quarantine", "retry", *config, "-q")
    assert (again.exit_code, "1 file(s), 6 new along time" in again.output) == (0, True)
    assert "warning     " in again.output
    assert "no rejected file" in invoke("quarantine", "list", *config).output
    assert "ingested" in invoke("quarantine", "list", "--all", *config).output


def test_a_file_that_is_gone(place):
    config = ("-c", place / "my.yaml")
    invoke("ingest", *config, "-q")
    (place / "input" / "1.nc").unlink()
    assert "gone " in invoke("quarantine", "retry", *config).output


def test_ingest_rehearsed_and_as_json(place):
    config = ("-c", place / "my.yaml")
    foretold = invoke("ingest", *config, "--dry-run")
    assert foretold.exit_code == 0
    assert "1 accepted, 0 repairs, 0 warnings, 0 waiting, 1 rejected (1 by Q-RANGE)" in foretold.output
    assert not (place / "runs").exists()
    told = json.loads(invoke("ingest", *config, "--json").output)
    assert (told["appended"], told["rejected_by_rule"]) == (6, {"Q-RANGE": 1})
    (place / "input" / "0.nc").write_text("<html>")
    refused = invoke("ingest", *config, "--dry-run", "--json")
    assert refused.exit_code == 1
    assert "above source.max_rejected_share" in json.loads(refused.output)["error"]
