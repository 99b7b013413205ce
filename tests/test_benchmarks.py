"""The benchmarks run: on tiny cases, for what they print and not for how fast it is."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from workflows.context import load_config

BENCH = Path(__file__).parent / "bench"

pytestmark = pytest.mark.slow


def run(script, *arguments):
    done = subprocess.run([sys.executable, BENCH / script, *arguments], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_cpu(tmp_path):
    run("cpu.py", "--case", "step-minconvgru-4-1-2", "--rounds", "1", "--out", str(tmp_path))
    rows = json.loads((tmp_path / "cpu.json").read_text())["rows"]
    found = {row["contestant"]: row for row in rows}
    assert {"minconv", "logspace", "convlstm", "convgru", "convolutions, faster"} <= set(found)
    assert found["minconv"]["times_ours"] == 1.0
    assert 0 < found["minconv"]["error"] < 1e-5
    assert found["convlstm"]["peak_mib"] > 50
    assert (tmp_path / "cpu.md").read_text().count("\n| step-minconvgru-4-1-2 |") == len(rows)


def test_recipes(tmp_path):
    small = ("generate.samples=16", "generate.steps=30", "generate.size=16", "window.history=5", "forecast.steps=8")
    tiny = (*small, "window.horizon=5", "model.hidden=[4]")
    settings = [word for setting in tiny for word in ("--set", setting)]
    words = ("demo", "--only", "minconvgru", "convlstm", "--seeds", "0", "1", "--epochs", "1", "--root", str(tmp_path))
    words += ("--against", "convlstm")
    printed = run("recipes.py", *words, *settings)
    written = (tmp_path / "demo" / "cells.md").read_text()
    assert written in printed + "\n"
    rows = {line.split(" | ")[0].removeprefix("| "): line for line in written.splitlines() if line.startswith("|")}
    assert {"minconvgru", "convlstm", "persistence", "climatology", "damped persistence"} <= set(rows)
    assert re.search(r"^\| minconvgru \| [+-][\d.]+ % \| [+-][\d.]+ % to [+-][\d.]+ % \| 2 \|$", written, re.MULTILINE)
    assert len(list((tmp_path / "demo" / "trials").glob("*/result.json"))) == 4
    assert (tmp_path / "demo" / "cells.png").read_bytes().startswith(b"\x89PNG")
    assert written in run("recipes.py", *words, *settings) + "\n"  # nothing is trained again
    numbered = ("demo", "--only", "conv", "--steps", "convlstm=3", "conv=2", "--seeds", "0", "--root", str(tmp_path))
    run("recipes.py", *numbered, *settings)
    (result,) = (tmp_path / "demo" / "trials").glob("conv-0-*/result.json")
    assert json.loads(result.read_text())["steps"] == 2
    timed = ("demo", "--only", "conv", "--seconds", "2", "--measure", "--root", str(tmp_path))
    assert re.search(r"conv: [\d.]+ ms a step, \d+ steps in 2 s", run("recipes.py", *timed, *settings))


def test_each_recipe_of_a_study_is_a_valid_configuration(monkeypatch):
    monkeypatch.syspath_prepend(BENCH)
    from studies import STUDIES

    for study in STUDIES.values():
        for settings in (*study.ablation.values(), study.published):
            load_config(study.config, [*study.settings, *settings], None)


def test_loader(tmp_path):
    tiny = ("--shape", "4", "2", "16", "16", "--frames", "40", "--rounds", "1", "--count", "2", "--samples", "25")
    small = ("--set", "generate.steps=50", "--set", "generate.size=16", "--set", "model.hidden=[4]")
    printed = run("loader.py", *tiny, *small, "--set", "training.epochs=1", "--out", str(tmp_path))
    found = json.loads((tmp_path / "loader.json").read_text())
    contestants = {"ours, in memory", "ours, on disk", "xarray + Dask", "plain Zarr", "memory-mapped npy"}
    assert contestants <= set(found["windows"])
    assert found["windows"]["ours, in memory"]["ratio"] == 1.0
    assert all(row["per_second"] > 0 for row in found["windows"].values())
    assert found["epoch"]["windows"] == 37
    assert len(found["data_wait"]) == 5
    assert all(0 <= share <= 1 for share in found["data_wait"].values())
    assert "of the training time" in printed


def test_ingest(tmp_path):
    sizes = ("--mb", "3", "--files", "1", "--files", "2", "--form", "packed", "--rounds", "1")
    run("ingest.py", *sizes, "--out", str(tmp_path))
    found = json.loads((tmp_path / "ingest.json").read_text())
    assert [(row["form"], row["files"], row["rounds"]) for row in found["rows"]] == [("packed", 1, 1), ("packed", 2, 1)]
    for row in found["rows"]:
        assert row["range"][0] <= row["ratio"] <= row["range"][1]
        assert all(rate > 0 for rate in row["rates"].values())
        assert all(peak > 50 for peak in row["peak_mib"].values())
    assert {"processor", "cores", "date", "xarray", "icechunk"} <= set(found["machine"])
    assert (tmp_path / "ingest.md").read_text().count("\n| packed |") == 2


def test_long():
    sizes = ("--frames", "120", "--size", "48", "--tile", "16", "--rounds", "1")
    printed = run("long.py", *sizes, "--cells", "minconvgru")
    rows = [[word.strip() for word in line.split("|")[1:-1]] for line in printed.splitlines() if "minconvgru" in line]
    sequence = {row[2]: float(row[-1]) for row in rows if len(row) == 9}  # error of the gradient by the input
    assert set(sequence) == {"whole", "segments", "recomputed", "log domain"}
    assert 0 < sequence["whole"] == sequence["recomputed"] < 1e-5
    assert 1e-3 < sequence["segments"] < 1
    on_tiles = {row[1]: row[-1] for row in rows if len(row) == 6}
    assert set(on_tiles) == {"whole", "one tile", "all tiles"}
    assert float(on_tiles["all tiles"]) < 1e-5
