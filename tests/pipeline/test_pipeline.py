import subprocess
import sys

import pytest


def sqlite_version(first):
    script = f"{first}\nimport sqlite3\nprint(sqlite3.sqlite_version)"
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=300
    ).stdout


def test_the_sqlite_of_the_grib_library_does_not_take_the_place_of_pythons():
    pytest.importorskip("eccodes", reason="GRIB input is not installed")
    assert sqlite_version("import pipeline, eccodes") == sqlite_version("")
