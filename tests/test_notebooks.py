"""The notebooks of the docs: what they show is small and free of this machine's paths, and they still run."""

import re
from pathlib import Path
from typing import Any

import pytest

nbformat = pytest.importorskip("nbformat")

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))


def texts(notebook: Any) -> list[str]:
    """What its cells printed."""
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    return [output.text for output in outputs if output.output_type == "stream"]


def run(path: Path, folder: Path) -> Any:
    """The notebook, executed in `folder`."""
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    # The kernel finds the packages of this tree, not of another checkout that is installed.
    notebook.cells.insert(0, nbformat.v4.new_code_cell(f"import sys; sys.path.insert(0, {str(ROOT)!r})"))
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(folder)}}).execute()
    return notebook


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_committed_outputs_are_whole_small_and_clean(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    text = path.read_text(encoding="utf-8")
    assert len(text) < 200_000
    assert not re.search(r"(?<![\w.:/<-])/(?:home|root|tmp|work|Users|usr|opt)\b", text)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert any("better than persistence" in text and "True" in text for text in texts(notebook))


def test_all_notebooks_are_there() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["fluid", "long", "weather"]


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs_and_says_the_same(path: Path, tmp_path: Path) -> None:
    again = texts(run(path, tmp_path))
    committed = texts(nbformat.read(path, as_version=4))
    # words are the same; numbers of the training may differ between machines
    assert [re.sub(r"[\d.]+", "0", text) for text in again] == [re.sub(r"[\d.]+", "0", text) for text in committed]


@pytest.mark.slow
def test_weather_notebook_runs_on_real_data(data_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "wfde5_gb_2017-01").symlink_to(data_folder / "wfde5_gb_2017-01")
    printed = "".join(texts(run(ROOT / "docs" / "notebooks" / "weather.ipynb", tmp_path)))
    assert "744 frames" in printed
    assert "better than persistence at the last lead time: True" in printed
