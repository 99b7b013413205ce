"""The walls of the house, as data, checked on the syntax tree of every product file."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("minconv", "pipeline", "workflows")

# What each package may import besides the standard library and itself. Libraries of ROOMS stand in their rooms only.
MAY_IMPORT = {
    "minconv": {"torch", "numpy", "safetensors", "triton"},
    "pipeline": {
        *(
            "minconv",
            "torch",
            "numpy",
            "scipy",
            "pandas",
            "xarray",
            "dask",
            "distributed",
            "netCDF4",
            "cftime",
            "cf_xarray",
            "pint",
            "filelock",
            "cfgrib",
            "fsspec",
            "aiohttp",
            "xarray_regrid",
            "imageio",
            "av",
        ),
        *("zarr", "icechunk", "ray", "mlflow", "sqlalchemy", "pydantic", "yaml", "matplotlib", "jinja2", "packaging"),
    },
    "workflows": {"pipeline", "typer", "click", "rich", "yaml", "apscheduler"},
}

# Library -> the files that may know it.
ROOMS = {
    "triton": ("minconv/scan/triton.py",),
    "ray": ("pipeline/cluster/*.py", "pipeline/training.py", "pipeline/training/*.py", "pipeline/study/tuning.py"),
    "mlflow": ("pipeline/registry/*.py", "pipeline/pyfunc_model.py"),
    "scipy": (
        "pipeline/bootstrap.py",
        "pipeline/study/space.py",  # Halton sequences
        "pipeline/sources/gridding.py",
        "pipeline/transforms/regridding.py",  # sparse weights
    ),
    "xarray_regrid": ("pipeline/transforms/regridding.py",),
    "sqlalchemy": ("pipeline/registry/*.py",),  # the errors of MLflow's database
    "icechunk": ("pipeline/archive/*.py", "pipeline/sources/opening.py", "pipeline/sources/icechunk_input.py"),
    "zarr": ("pipeline/archive/*.py", "pipeline/sources/opening.py"),
    "cfgrib": ("pipeline/sources/grib.py",),
    "imageio": ("pipeline/sources/images.py",),
    "av": ("pipeline/sources/images.py",),
    "fsspec": ("pipeline/sources/remote/place.py",),
    "aiohttp": ("pipeline/sources/remote/place.py",),
    "dask": ("pipeline/cluster/dask_client.py",),  # through xarray only, but for its settings
    "distributed": ("pipeline/cluster/dask_client.py",),
    "matplotlib": ("pipeline/report.py", "pipeline/report/*.py", "pipeline/figures.py"),
    "jinja2": ("pipeline/report.py", "pipeline/report/*.py"),
    "netCDF4": ("pipeline/sources/*.py", "pipeline/synthetic/*.py"),
    "apscheduler": ("workflows/schedule.py",),
    "typer": ("workflows/*.py",),
    "click": ("workflows/*.py",),
    "rich": ("workflows/*.py",),
}

# Slow to import, or not there at all: imported inside a function, except in files that are themselves imported late.
LATE = {
    "ray": (),
    "distributed": (),
    "scipy": (),
    "cfgrib": ("pipeline/sources/grib.py",),
    "xarray_regrid": (),
    "imageio": ("pipeline/sources/images.py",),
    "av": ("pipeline/sources/images.py",),
    "mlflow": ("pipeline/pyfunc_model.py",),
    "triton": ("minconv/scan/triton.py",),
    "matplotlib": ("pipeline/report.py", "pipeline/report/*.py", "pipeline/figures.py"),
}

# Who may read or set the environment: the commands, and the rooms of libraries that are steered by it alone.
ENVIRONMENT = ("workflows/*.py", "pipeline/cluster/*.py", "minconv/scan/*.py")
# Who may print or set up logging.
TERMINAL = ("workflows/*.py",)

NO_NOUN = {"utils", "util", "helpers", "helper", "common", "misc"}


@dataclass(frozen=True)
class Import:
    """One import in one file: the full dotted name, where it stands, and how it was written."""

    module: str
    line: int
    level: int
    late: bool

    @property
    def top(self) -> str:
        return self.module.partition(".")[0]


def imports(tree: ast.AST, late: bool = False) -> Iterator[Import]:
    """All imports, by statement or by name; `late` where they run on a call only, or not at all."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, node.lineno, 0, late) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names = [node.module] if node.module else [alias.name for alias in node.names]
            yield from (Import(name, node.lineno, node.level, late) for name in names)
        elif isinstance(node, ast.Call) and (name := _imported_by_call(node)):
            yield Import(name.lstrip("."), node.lineno, len(name) - len(name.lstrip(".")), late)
        inside_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        type_checking = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        yield from imports(node, late or inside_function or type_checking)


def _imported_by_call(node: ast.Call) -> str:
    """The name in ``import_module("name")``; empty for any other call."""
    if ast.unparse(node.func).rpartition(".")[2] not in {"import_module", "__import__"} or not node.args:
        return ""
    name = node.args[0]
    return name.value if isinstance(name, ast.Constant) and isinstance(name.value, str) else ""


def _within(path: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch(path, pattern) for pattern in patterns)


def _import_violations(path: str, found: Import) -> Iterator[str]:
    package = path.partition("/")[0]
    if found.level:
        if found.level > path.count("/"):
            yield f"{path}:{found.line} climbs out of {package}"
        return
    if found.top == package:
        if package != "minconv":
            yield f"{path}:{found.line} imports its own package by name; write it relatively"
        return
    if found.top in sys.stdlib_module_names:
        return
    if found.top not in MAY_IMPORT[package]:
        yield f"{path}:{found.line} imports {found.top}; {package} may not"
    if found.top in ROOMS and not _within(path, ROOMS[found.top]):
        yield f"{path}:{found.line} imports {found.top}, whose rooms are {', '.join(ROOMS[found.top]) or 'none'}"
    if found.top in LATE and not found.late and not _within(path, LATE[found.top]):
        yield f"{path}:{found.line} imports {found.top} at import; import it in the function that needs it"


def _statement_violations(path: str, tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Assert):
            yield f"{path}:{node.lineno} asserts; raise a typed error"
        elif isinstance(node, ast.Call) and not _within(path, TERMINAL):
            if isinstance(node.func, ast.Name) and node.func.id in {"print", "input"}:
                yield f"{path}:{node.lineno} speaks to the terminal; call the progress"
            if ast.unparse(node.func) in {"logging.basicConfig", "logging.config.dictConfig"}:
                yield f"{path}:{node.lineno} sets up logging"
        elif _names_environment(node) and not _within(path, ENVIRONMENT):
            yield f"{path}:{getattr(node, 'lineno', 0)} reads the environment; take an argument"


def _names_environment(node: ast.AST) -> bool:
    if isinstance(node, ast.ImportFrom) and node.module == "os":
        return any(alias.name in {"environ", "getenv", "putenv"} for alias in node.names)
    return isinstance(node, ast.Attribute) and ast.unparse(node) in {"os.environ", "os.getenv", "os.putenv"}


def violations(path: str, source: str) -> list[str]:
    """Broken rules of one file; `path` is relative to the repository, with slashes."""
    tree = ast.parse(source)
    found = [text for one in imports(tree) for text in _import_violations(path, one)]
    found += _statement_violations(path, tree)
    if NO_NOUN & set(Path(path).with_suffix("").parts):
        found.append(f"{path} names no noun")
    return found


FILES = sorted(path.relative_to(ROOT).as_posix() for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("path", FILES)
def test_file_keeps_to_the_walls(path: str) -> None:
    assert violations(path, (ROOT / path).read_text(encoding="utf-8")) == []


def test_every_package_is_looked_at() -> None:
    assert {path.partition("/")[0] for path in FILES} == set(PACKAGES)


@pytest.mark.parametrize(
    ("path", "source", "reason"),
    [
        ("minconv/cells.py", "import xarray", "may not"),
        ("minconv/cells.py", "def f():\n    from pipeline.config import Config", "may not"),
        ("minconv/cells.py", "import triton", "rooms"),
        ("minconv/cells.py", "if True:\n    import pydantic", "may not"),
        ("minconv/cells.py", "import importlib\ndef f(): importlib.import_module('ray.train')", "may not"),
        ("minconv/scan/cpu.py", "from ... import pipeline", "climbs out"),
        ("pipeline/ingest.py", "import workflows.cli", "may not"),
        ("pipeline/ingest.py", "from rich.progress import Progress", "may not"),
        ("pipeline/ingest.py", "def f():\n    import ray", "rooms"),
        ("pipeline/ingest.py", "import dask.array as da", "rooms"),
        ("pipeline/windows/reader.py", "import zarr", "rooms"),
        ("pipeline/report.py", "def f():\n    import mlflow", "rooms"),
        ("pipeline/ingest.py", "import requests", "may not"),
        ("pipeline/ingest.py", "from pipeline.errors import SourceError", "relatively"),
        ("pipeline/ingest.py", "from ..workflows import cli", "climbs out"),
        ("pipeline/ingest.py", "from .. import workflows", "climbs out"),
        ("pipeline/sources/netcdf.py", "from ...workflows import cli", "climbs out"),
        ("pipeline/registry/runs.py", "import mlflow", "at import"),
        ("pipeline/registry/runs.py", "class A:\n    import mlflow", "at import"),
        ("pipeline/cluster/connection.py", "try:\n    import ray\nexcept ImportError:\n    pass", "at import"),
        ("pipeline/ingest.py", "def f(x):\n    assert x", "asserts"),
        ("pipeline/ingest.py", "print('done')", "terminal"),
        ("pipeline/ingest.py", "import os\nroot = os.environ['HOME']", "environment"),
        ("pipeline/ingest.py", "import os\nroot = os.getenv('HOME')", "environment"),
        ("pipeline/ingest.py", "from os import environ", "environment"),
        ("pipeline/ingest.py", "import logging\nlogging.basicConfig()", "logging"),
        ("workflows/run.py", "import torch", "may not"),
        ("workflows/run.py", "import minconv", "may not"),
        ("pipeline/utils.py", "", "no noun"),
        ("minconv/common/base.py", "", "no noun"),
    ],
)
def test_broken_rule_is_found(path: str, source: str, reason: str) -> None:
    found = violations(path, source)
    assert any(reason in text for text in found), found


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("minconv/scan/triton.py", "import triton\nimport triton.language as tl"),
        (
            "minconv/scan/__init__.py",
            "from importlib import import_module\ndef f(): import_module('.triton', __name__)",
        ),
        ("minconv/model.py", "from minconv.config import ForecasterConfig\nfrom .cells import cell"),
        ("pipeline/archive/repository.py", "import icechunk\nimport zarr"),
        ("pipeline/training/worker.py", "from ..config import Config\ndef f():\n    import ray.train"),
        ("pipeline/registry/runs.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import mlflow"),
        ("pipeline/pyfunc_model.py", "import mlflow"),
        ("pipeline/forecast/starts.py", "import minconv\nimport numpy as np\nfrom ..errors import ForecastError"),
        ("workflows/cli.py", "import os\nimport typer\nfrom pipeline.config import Config\nprint(os.environ)"),
    ],
)
def test_good_file_passes(path: str, source: str) -> None:
    assert violations(path, source) == []
