import socket
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from minconv.scan import native
from pipeline import health, machine
from pipeline.health import Finding


@pytest.mark.parametrize(
    ("version", "state"), [((3, 10), "broken"), ((3, 11), "ok"), ((3, 13), "ok"), ((3, 14), "broken")]
)
def test_python_must_be_one_that_is_supported(version: tuple[int, int], state: str) -> None:
    finding = health.python(version)
    assert finding.state == state
    assert bool(finding.advice) == (state == "broken")


def pins(folder: Path, text: str) -> Path:
    file = folder / "constraints.txt"
    file.write_text(text)
    return file


def test_packages_are_complete_here(tmp_path: Path) -> None:
    found = {
        one.name: one for one in health.packages(pins(tmp_path, f"torch=={torch.__version__.partition('+')[0]}\n"))
    }
    assert {one.state for one in found.values()} == {"ok"}


def test_another_version_than_the_tested_one_is_a_note(tmp_path: Path) -> None:
    found = {one.name: one for one in health.packages(pins(tmp_path, "# note\nPyYAML==1.0\nnot-needed==1\n"))}
    assert found["packages"].state == "ok"
    assert found["versions"].state == "note"
    assert "needed is ==1.0" in found["versions"].found
    assert "not-needed" not in found["versions"].found


def test_a_missing_or_old_package_is_broken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    required = ["no-such-package-at-all>=1", "numpy>=999", 'colorama; sys_platform == "none"', 'x; extra == "grib"']
    monkeypatch.setattr("importlib.metadata.requires", lambda name: required)
    (finding,) = health.packages(tmp_path / "absent.txt")
    assert finding.state == "broken"
    assert "no-such-package-at-all is missing; numpy is" in finding.found
    assert "colorama" not in finding.found
    assert "make install" in finding.advice


@pytest.mark.parametrize(("free", "state"), [(10, "ok"), (6, "note"), (2, "broken")])
def test_room_is_short_before_it_is_too_small(free: int, state: str) -> None:
    finding = health.room("disk", free, (8, 4), "free some")
    assert (finding.state, finding.advice) == (state, "" if state == "ok" else "free some")


def test_small_shared_memory_is_a_note(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(machine, "free_disk", lambda folder: 64_000_000)
    assert health.shared_memory(tmp_path).state == "note"
    assert health.shared_memory(tmp_path / "absent").state == "ok"


def test_rays_sockets_must_fit_below_the_temporary_folder(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 100)
    deep.mkdir()
    assert health.temporary_folder(deep).state == "broken"
    assert "TMPDIR" in health.temporary_folder(deep).advice
    assert health.temporary_folder(Path("/tmp")).state == "ok"


def test_a_temporary_folder_that_is_not_there_is_broken(tmp_path: Path) -> None:
    assert health.temporary_folder(tmp_path / "absent").state == "broken"


def test_few_open_files_are_a_note() -> None:
    assert [health.limit(files).state for files in (256, 65536)] == ["note", "ok"]


def test_a_taken_port_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        number = server.getsockname()[1]
        monkeypatch.setitem(health.PORTS, number, "a test")
        assert health.port(number) == Finding(
            f"port {number}", "note", "taken", "is that a test? if not, give yours another port"
        )


def test_kernels_are_compared_with_the_reference() -> None:
    found = {one.name: one for one in health.kernels()}
    assert found["scan on the CPU"].state == "ok"
    assert {"cpu kernel", "channel norm kernel"} <= set(found)


def test_a_kernel_that_computes_nonsense_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    real = health.scan

    def wrong(pre: torch.Tensor, *, cell: str, backend: str) -> Any:
        h, state = real(pre, cell=cell, backend=backend)
        return (h + (backend == "cpu"), state)

    monkeypatch.setattr(health, "scan", wrong)
    assert [one.state for one in health.kernels() if one.name == "scan on the CPU"] == ["broken"]


def test_without_a_compiler_there_is_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "load", lambda source: native.Native(None, "there is no C++ compiler"))
    notes = [one for one in health.kernels() if one.state == "note"]
    assert notes
    assert all("g++" in one.advice for one in notes)


def test_libraries_that_do_not_import_are_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torn_library.py").write_text("raise ImportError('libtorn.so.3 is missing')")
    (tmp_path / "crashing_library.py").write_text("import os; os.abort()")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    torn, crashing, fine = health.imports(["torn_library", "crashing_library", "json"])
    assert (torn.state, torn.found) == ("broken", "ImportError: libtorn.so.3 is missing")
    assert crashing.state == "broken"
    assert fine.state == "ok"


def test_a_library_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hanging_library.py").write_text("import time; time.sleep(600)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(health, "PROBE_SECONDS", 1.0)
    (finding,) = health.imports(["hanging_library"])
    assert finding.state == "broken"
    assert "no answer" in finding.found


def test_every_finding_that_is_not_ok_has_advice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(health, "PROBED", ("sys",))
    found = list(health.examine(tmp_path))
    assert len({one.name for one in found}) == len(found) >= 15
    assert all(one.advice for one in found if one.state != "ok")
    assert sys.version_info[:2] >= (3, 11)
