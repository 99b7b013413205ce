"""Whether this machine can run the pipeline: one `Finding` per thing looked at, with what to do where something lacks.

What lives here: Python and packages, compiler and kernels, devices, memory, disk, limits, ports. What does not: a
configuration and its data (`preflight`), the environment's variables and the look of it all (`workflows`).

    for finding in examine(Path("runs")):
        finding.name, finding.state, finding.found, finding.advice

Broken is only what stops a run; a note is something slower, absent or worth knowing.
"""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from packaging.requirements import Requirement

import minconv
from minconv.scan import native, scan

from . import machine
from .cluster.connection import FOLDER_PREFIX, OBJECT_STORE_BYTES

State = Literal["ok", "note", "broken"]

DISTRIBUTION = "minconv-pipeline"
PYTHONS = ((3, 11), (3, 13))
PROBED = ("ray", "mlflow", "icechunk", "zarr", "netCDF4")  # large and partly native: present is not enough
PROBE_SECONDS = 120.0
# What `minconv run -c demo` needs, rounded up; below the first number it is short, below the second it stops.
MEMORY_BYTES = (2_000_000_000, 700_000_000)
DISK_BYTES = (5_000_000_000, 200_000_000)
OPEN_FILES = 4096
PORTS = {6379: "a Ray head node", 8265: "Ray's job server", 5000: "an MLflow server"}
SOCKET_PATH_BYTES = 107  # the longest path of a Unix socket on Linux
_RAY_SOCKET = f"/{FOLDER_PREFIX}12345678/r/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: What, e.g. ``"memory"``.
        state: ``"ok"``, ``"note"`` or ``"broken"``.
        found: What is there.
        advice: What to do, where it is not ok.
    """

    name: str
    state: State
    found: str
    advice: str = ""


def examine(folder: Path) -> Iterator[Finding]:
    """Look at everything, the quick things first; `folder` is where the pipeline would write."""
    yield python()
    yield from packages()
    yield processor()
    yield graphics()
    yield room("memory", machine.memory().available, MEMORY_BYTES, "end other programs, or use a larger machine")
    yield room("disk", machine.free_disk(folder), DISK_BYTES, "free some space, or set root: to a larger disk")
    yield shared_memory()
    yield temporary_folder(Path(tempfile.gettempdir()))
    yield limit(machine.open_files())
    yield from (port(number) for number in PORTS)
    yield from kernels()
    yield triton()
    yield from imports(PROBED)


def python(version: tuple[int, int] = sys.version_info[:2]) -> Finding:
    """The interpreter."""
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    if PYTHONS[0] <= version <= PYTHONS[1]:
        return Finding("python", "ok", found)
    return Finding("python", "broken", found, "install Python 3.11, 3.12 or 3.13 and make the environment anew")


def packages(pins: Path | None = None) -> Iterator[Finding]:
    """Installed versions against what the product requires, and against the versions that were tested together.

    Args:
        pins: ``constraints.txt``; None: the one of a checkout, if this is one.
    """
    try:
        required = [Requirement(text) for text in importlib.metadata.requires(DISTRIBUTION) or ()]
    except importlib.metadata.PackageNotFoundError:
        yield Finding("packages", "note", f"{DISTRIBUTION} is not installed", "run 'make install' in the checkout")
        return
    needed = [one for one in required if one.marker is None or one.marker.evaluate({"extra": ""})]
    wrong = [text for one in needed if (text := _unmet(one))]
    if wrong:
        yield Finding("packages", "broken", "; ".join(wrong), "run 'make install', or install these versions with pip")
    else:
        yield Finding("packages", "ok", f"all {len(needed)} that {DISTRIBUTION} needs")
    file = pins if pins is not None else Path(__file__).parent.parent / "constraints.txt"
    if file.is_file():
        yield _tested_together(file, needed)


def _unmet(requirement: Requirement) -> str:
    """What is wrong with an installed package; empty where nothing is."""
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return f"{requirement.name} is missing"
    if requirement.specifier.contains(version, prereleases=True):
        return ""
    return f"{requirement.name} is {version}, needed is {requirement.specifier}"


def _tested_together(file: Path, needed: Sequence[Requirement]) -> Finding:
    lines = [line for line in file.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    pinned = {one.name.lower(): one for one in map(Requirement, lines)}
    other = [text for one in needed if (pin := pinned.get(one.name.lower())) and (text := _unmet(pin))]
    if other:
        return Finding("versions", "note", "; ".join(other), "'make install' brings the versions that were tested")
    return Finding("versions", "ok", f"those of {file.name}")


def processor() -> Finding:
    """CPUs and the threads that torch uses."""
    return Finding("processor", "ok", f"{machine.processors()} CPUs, torch uses {torch.get_num_threads()} threads")


def graphics() -> Finding:
    """GPUs, and whether torch can use them."""
    devices = machine.gpus()
    if devices:
        names = (
            f"{one.name} ({one.memory / 1e9:.0f} GB, sm_{one.capability[0]}{one.capability[1]})" for one in devices
        )
        return Finding("gpu", "ok", ", ".join(names))
    if shutil.which("nvidia-smi") is None:
        return Finding("gpu", "ok", "none; training runs on the CPU")
    built = torch.version.cuda or "the CPU"
    return Finding("gpu", "note", f"torch {torch.__version__}, built for {built}, sees none", "install a CUDA build")


def room(name: str, free: int, least: tuple[int, int], advice: str) -> Finding:
    """Free memory or disk against what a run of the demo takes."""
    state: State = "ok" if free >= least[0] else "note" if free >= least[1] else "broken"
    return Finding(name, state, f"{free / 1e9:.1f} GB free", "" if state == "ok" else advice)


def shared_memory(folder: Path = Path("/dev/shm")) -> Finding:
    """Where Ray keeps its objects."""
    if not folder.is_dir():
        return Finding("shared memory", "ok", "none; Ray uses the temporary folder")
    free = machine.free_disk(folder)
    if free >= OBJECT_STORE_BYTES:
        return Finding("shared memory", "ok", f"{free / 1e9:.1f} GB in {folder}")
    return Finding(
        "shared memory", "note", f"{free / 1e6:.0f} MB in {folder}", "Ray falls back to files; docker run --shm-size 1g"
    )


def temporary_folder(folder: Path) -> Finding:
    """It can be written, and Ray's sockets fit below it."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        return Finding("temporary folder", "broken", f"{folder}: {error.strerror}", "set TMPDIR to one you can write")
    length = len(str(folder)) + len(_RAY_SOCKET)
    if length > SOCKET_PATH_BYTES:
        found = f"{folder}, {length - SOCKET_PATH_BYTES} characters too long for Ray's sockets"
        return Finding("temporary folder", "broken", found, "set TMPDIR to a shorter path, e.g. /tmp")
    return Finding("temporary folder", "ok", str(folder))


def limit(files: int) -> Finding:
    """How many files a process may open; Ray holds several for each worker."""
    if files >= OPEN_FILES:
        return Finding("open files", "ok", str(files))
    return Finding("open files", "note", str(files), "enough for one machine; for a cluster: ulimit -n 65536")


def port(number: int) -> Finding:
    """A port that a server of ours would listen on by default; a run by itself takes free ones."""
    use = PORTS[number]
    if machine.port_is_free(number):
        return Finding(f"port {number}", "ok", f"free for {use}")
    return Finding(f"port {number}", "note", "taken", f"is that {use}? if not, give yours another port")


def kernels() -> Iterator[Finding]:
    """The native kernels: built, loaded, and the scan equal to its reference."""
    folder = Path(minconv.__file__).parent
    for source in sorted(folder.rglob("*.cpp")):
        reason = native.load(source).reason
        advice = "plain torch does its work, some times slower; install g++" if reason else ""
        yield Finding(source.stem.replace("_", " "), "note" if reason else "ok", reason or "built and loaded", advice)
    pre = torch.randn(1, 5, 6, 4, 4, generator=torch.Generator().manual_seed(0))
    computed, expected = (scan(pre, cell="lstm", backend=backend)[0] for backend in ("cpu", "reference"))
    if torch.allclose(computed, expected, atol=1e-5):
        yield Finding("scan on the CPU", "ok", "equals the reference")
    else:
        found = f"differs from the reference by {float((computed - expected).abs().max()):.2g}"
        yield Finding("scan on the CPU", "broken", found, "set MINCONV_NATIVE=0 and report it")


def triton() -> Finding:
    """The GPU kernels."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        scan(torch.zeros(1, 1, 2, 1, 1, device=device), cell="gru", backend="triton")
    except minconv.MinconvError as error:
        advice = "" if device == "cpu" else "the scan runs in plain torch on this GPU"
        return Finding("triton kernels", "note" if advice else "ok", f"not used: {error}", advice)
    return Finding("triton kernels", "ok", "run on this GPU")


def imports(names: Sequence[str]) -> Iterator[Finding]:
    """Whether large libraries import, each in a process of its own: a broken one may end the process."""
    started = {
        name: subprocess.Popen(
            [sys.executable, "-c", f"import {name}"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        for name in names
    }
    for name, process in started.items():
        try:
            _, errors = process.communicate(timeout=PROBE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            errors = f"no answer within {PROBE_SECONDS:.0f} s"
            process.communicate()
        if process.returncode == 0:
            yield Finding(name, "ok", "imports")
        else:
            last = errors.strip().splitlines()[-1] if errors.strip() else f"ended by signal {-process.returncode}"
            yield Finding(name, "broken", last, f"install it anew: pip install --force-reinstall {name}")
