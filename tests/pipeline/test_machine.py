import socket
from pathlib import Path

import pytest

from pipeline import machine


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"memory.max": "1000000\n", "memory.current": "400000\n"}, machine.Memory(1_000_000, 600_000)),
        (
            {"memory/memory.limit_in_bytes": "5000", "memory/memory.usage_in_bytes": "1000"},
            machine.Memory(5000, 4000),
        ),
    ],
)
def test_the_limit_of_a_container_counts(tmp_path: Path, files: dict[str, str], expected: machine.Memory) -> None:
    meminfo = write(tmp_path, {"meminfo": "MemTotal: 8000000 kB\nMemAvailable: 7000000 kB\n"}) / "meminfo"
    assert machine.memory(meminfo, write(tmp_path / "cgroup", files)) == expected


@pytest.mark.parametrize("limit", ["max", str(2**63)])
def test_no_limit_leaves_what_the_system_says(tmp_path: Path, limit: str) -> None:
    meminfo = write(tmp_path, {"meminfo": "MemAvailable: 70000 kB\n"}) / "meminfo"
    group = write(tmp_path / "cgroup", {"memory.max": limit, "memory.current": "1"})
    assert machine.memory(meminfo, group).available == 70_000 * 1024


def test_what_a_container_used_up_is_not_available(tmp_path: Path) -> None:
    meminfo = write(tmp_path, {"meminfo": "MemAvailable: 1 kB\n"}) / "meminfo"
    group = write(tmp_path / "cgroup", {"memory.max": "1000000", "memory.current": "10"})
    assert machine.memory(meminfo, group).available == 1024


def test_disk_is_that_of_the_nearest_folder_there_is(tmp_path: Path) -> None:
    assert machine.free_disk(tmp_path / "not" / "yet") > 0


def test_a_port_is_taken_while_someone_listens() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        assert not machine.port_is_free(server.getsockname()[1])
        number = server.getsockname()[1]
    assert machine.port_is_free(number)


def test_counts_are_positive() -> None:
    assert machine.processors() >= 1
    assert machine.open_files() > 0
    assert 0 < machine.memory().available <= machine.memory().total
