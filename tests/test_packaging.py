"""What a user installs: the wheel, its pinned packages, and the make targets that put them in place."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES = ("minconv", "pipeline", "workflows")
SHIPPED = sorted(path.name for path in (ROOT / "configs").glob("*.yaml"))


def requirements(*extras: str) -> list[Requirement]:
    texts = list(PROJECT["project"]["dependencies"])
    for extra in extras:
        texts += PROJECT["project"]["optional-dependencies"][extra]
    return [Requirement(text) for text in texts if not text.startswith("minconv-pipeline[")]


def pins() -> list[Requirement]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this tree, built from a copy without the network."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for folder in (*PACKAGES, "configs"):
        shutil.copytree(ROOT / folder, source / folder, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, source)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", str(out)]
    result = subprocess.run([*command, str(source)], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    (built,) = out.glob("*.whl")
    return built


def test_wheel_holds_every_file_of_the_packages(wheel: Path) -> None:
    expected = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix not in {".pyc", ".so"}
    }
    expected |= {f"workflows/configs/{name}" for name in SHIPPED}
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert held == expected


def test_wheel_carries_licence_and_command(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (licence,) = [name for name in archive.namelist() if name.endswith("licenses/LICENSE")]
        assert "The minconv-pipeline authors" in archive.read(licence).decode()
        (entry_points,) = [name for name in archive.namelist() if name.endswith("entry_points.txt")]
        assert "minconv = workflows.cli:main" in archive.read(entry_points).decode()


def list_configs(python_path: Path, folder: Path) -> list[str]:
    """Names of the YAML files that an interpreter started in `folder` finds by package."""
    code = "import importlib.resources as r; print(*sorted(p.name for p in r.files('workflows.configs').iterdir()))"
    environment = {**os.environ, "PYTHONPATH": str(python_path)}
    command = [sys.executable, "-P", "-c", code]
    result = subprocess.run(
        command, cwd=folder, env=environment, check=True, capture_output=True, text=True, timeout=60
    )
    return result.stdout.split()


def test_installed_wheel_finds_its_configs(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    assert list_configs(tmp_path / "site", tmp_path) == SHIPPED


def test_checkout_finds_its_configs(tmp_path: Path) -> None:
    assert list_configs(ROOT, tmp_path) == SHIPPED


def test_packages_are_all_listed() -> None:
    found = {
        path.parent.relative_to(ROOT).as_posix().replace("/", ".")
        for package in PACKAGES
        for path in (ROOT / package).rglob("__init__.py")
    }
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == found | {"workflows.configs"}


def test_command_starts_without_the_slow_libraries() -> None:
    target = PROJECT["project"]["scripts"]["minconv"]
    module, function = target.split(":")
    code = (
        f"import sys; from {module} import {function}; assert callable({function});"
        "print(*sorted({'ray', 'mlflow', 'triton', 'matplotlib'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == []


def third_party_imports() -> dict[str, str]:
    """Top-level name of every library that product code imports, with one file that does."""
    found: dict[str, str] = {}
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    names = [alias.name for alias in node.names]
                else:
                    names = [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
                found |= {name.partition(".")[0]: path.relative_to(ROOT).as_posix() for name in names}
    return {name: path for name, path in found.items() if name not in {*sys.stdlib_module_names, *PACKAGES}}


def test_imported_libraries_are_declared() -> None:
    declared = {canonicalize_name(one.name) for one in requirements("grib", "gpu", "video")}
    origins = importlib.metadata.packages_distributions()
    undeclared = {
        name: path
        for name, path in third_party_imports().items()
        if not declared & {canonicalize_name(origin) for origin in origins.get(name, [name])}
    }
    assert undeclared == {}


@pytest.mark.parametrize(
    "requirement", requirements("grib", "gpu", "s3", "video", "server", "test", "dev", "services"), ids=str
)
def test_requirement_is_pinned_to_a_version_it_allows(requirement: Requirement) -> None:
    (pin,) = [one for one in pins() if canonicalize_name(one.name) == canonicalize_name(requirement.name)]
    (version,) = [clause.version for clause in pin.specifier]
    assert requirement.specifier.contains(version), f"{requirement} is pinned to {version}"


def test_pins_are_exact_unique_and_portable() -> None:
    names = [canonicalize_name(pin.name) for pin in pins()]
    assert len(names) == len(set(names)) > 100
    for pin in pins():
        (clause,) = pin.specifier
        assert clause.operator == "=="
        assert "+" not in clause.version, f"{pin} would install from one index only"
        assert pin.url is None


def test_installed_versions_are_the_pinned_ones() -> None:
    """The tests vouch for the versions that users get."""
    site = Path(pytest.__file__).parent.parent
    installed = {canonicalize_name(one.name): one.version for one in importlib.metadata.distributions(path=[str(site)])}
    other = {
        str(pin): installed[canonicalize_name(pin.name)]
        for pin in pins()
        if not pin.specifier.contains(installed.get(canonicalize_name(pin.name), "0"), prereleases=True)
        and canonicalize_name(pin.name) in installed
    }
    assert "pytest" in installed
    assert other == {}


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    command = ["make", "-f", str(ROOT / "Makefile"), *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_make_alone_lists_targets(tmp_path: Path) -> None:
    result = make(tmp_path)
    assert result.returncode == 0
    for target in ("demo", "test", "test-slow", "lint", "format", "install", "clean"):
        assert re.search(rf"^ +make {target} ", result.stdout, re.MULTILINE), result.stdout


def test_make_says_that_there_is_no_python(tmp_path: Path) -> None:
    result = make(tmp_path, "venv", "PYTHON=no-such-python")
    assert result.returncode != 0
    assert "no 'no-such-python' here" in result.stderr


def test_make_says_that_python_is_too_old(tmp_path: Path) -> None:
    old = script(tmp_path / "old", 'case "$2" in *platform*) echo 3.9.2 ;; *) exit 1 ;; esac')
    result = make(tmp_path, "venv", f"PYTHON={old}")
    assert result.returncode != 0
    assert "3.11, 3.12 or 3.13 is needed" in result.stderr
    assert "is 3.9.2" in result.stderr


def test_make_names_the_missing_system_package(tmp_path: Path) -> None:
    bare = script(tmp_path / "bare", f'case "$2" in *ensurepip*) exit 1 ;; *) exec "{sys.executable}" "$@" ;; esac')
    result = make(tmp_path, "venv", f"PYTHON={bare}")
    assert result.returncode != 0
    assert f"apt install python3.{sys.version_info.minor}-venv" in result.stderr
    assert not (tmp_path / ".venv").exists()


def test_ci_is_executable() -> None:
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
