"""What this machine has: memory, processors, graphics processors, disk, limits, ports. Measured when asked, never kept.

What lives here: numbers. What does not: whether they suffice (`health`, `preflight`).

    memory().available            # bytes that this process may still take, a container's limit included
    port_is_free(6379)
"""

from __future__ import annotations

import contextlib
import os
import platform
import resource
import shutil
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

_CGROUP = Path("/sys/fs/cgroup")
# Version 2 and version 1 of Linux control groups: the limit, and what is used of it.
_LIMITS = (("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"))


@dataclass(frozen=True)
class Memory:
    """Main memory in bytes: all of it, and what is left."""

    total: int
    available: int


@dataclass(frozen=True)
class Gpu:
    """A device of torch: its name, memory in bytes and compute capability."""

    name: str
    memory: int
    capability: tuple[int, int]


def memory(meminfo: Path = Path("/proc/meminfo"), cgroup: Path = _CGROUP) -> Memory:
    """Main memory, or what a container may use of it where that is less."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    available = total
    with contextlib.suppress(OSError, ValueError, KeyError):
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines() if ":" in line)
        available = int(lines["MemAvailable"].split()[0]) * 1024
    for limit_name, used_name in _LIMITS:
        with contextlib.suppress(OSError, ValueError):  # no such group, or the limit is "max"
            limit, used = (int((cgroup / name).read_text()) for name in (limit_name, used_name))
            if limit < total:
                total, available = limit, min(available, limit - used)
    return Memory(total, available)


def peak_bytes(device: torch.device) -> int:
    """Most memory that this process has had so far: of the GPU, or resident."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated())
    status = Path("/proc/self/status")
    for line in status.read_text().splitlines() if status.is_file() else ():
        if line.startswith("VmHWM:"):  # on Linux ru_maxrss would count the memory of the parent process too
            return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def processors() -> int:
    """Processors that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """What the processor calls itself; empty where the system does not say."""
    with contextlib.suppress(OSError):
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return " ".join(line.partition(":")[2].split())
    return platform.processor()


def gpus() -> list[Gpu]:
    """Devices that torch can use."""
    if not torch.cuda.is_available():
        return []
    found = (torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count()))
    return [Gpu(one.name, one.total_memory, (one.major, one.minor)) for one in found]


def free_disk(folder: Path) -> int:
    """Free bytes where `folder` lies or would be made."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def open_files() -> int:
    """How many files one process may hold open."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def port_is_free(port: int) -> bool:
    """Whether a server could listen on this port of the loopback interface."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
