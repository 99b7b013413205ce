"""Compiles a C++ file of this package with the system's compiler on first use, and keeps the result.

The library goes into the user's cache folder (``$XDG_CACHE_HOME/minconv``, else ``~/.cache/minconv``) under a name that
holds a hash of the source, the flags and everything the compiler says about itself and the processor, so that another
version, compiler or machine never meets it. Each process builds into a file of its own and renames it, so several may
build at once. Where there is no compiler, or it fails, or the folder cannot be written, there is a reason instead of a
library, and nothing is printed. ``CXX`` names the compiler; ``MINCONV_NATIVE=0`` turns the native kernels off.

    native = load(Path(__file__).with_name("cpu_kernel.cpp"))
    if native.library is None:
        reason = native.reason
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shlex
import shutil
import subprocess
import threading
import uuid
from pathlib import Path
from typing import NamedTuple

_COMPILERS = ("g++", "c++", "clang++")
_FLAGS = ("-O3", "-std=c++17", "-shared", "-fPIC", "-fno-math-errno", "-fno-trapping-math", "-fvisibility=hidden")
# Tried in this order: compilers differ in how they name this processor, and not all have OpenMP.
_X86, _OTHERS = ("-march=native", "-mprefer-vector-width=512"), ("-mcpu=native",)
_VARIANTS = ((*_X86, "-fopenmp"), ("-march=native", "-fopenmp"), (*_OTHERS, "-fopenmp"), _X86[:1], _OTHERS)
_TIMEOUT = 300.0  # seconds


class Native(NamedTuple):
    """A loaded library, or why there is none."""

    library: ctypes.CDLL | None
    reason: str


_loaded: dict[Path, Native] = {}
_lock = threading.Lock()


def load(source: Path) -> Native:
    """The library of a C++ file; built, loaded or given up once in a process."""
    found = _loaded.get(source)
    if found is not None:
        return found
    with _lock:
        if source not in _loaded:
            _loaded[source] = _load(source)
        return _loaded[source]


def _load(source: Path) -> Native:
    if os.environ.get("MINCONV_NATIVE") == "0":
        return Native(None, "MINCONV_NATIVE=0 turns it off")
    compiler = _find_compiler()
    if compiler is None:
        return Native(None, f"there is no C++ compiler (looked for $CXX, {', '.join(_COMPILERS)})")
    reason = ""
    for variant in _VARIANTS:
        try:
            return Native(_build_and_load(source, compiler, (*_FLAGS, *variant)), "")
        except (OSError, subprocess.SubprocessError) as error:
            reason = reason or _one_line(error)
    return Native(None, reason)


def _find_compiler() -> tuple[str, ...] | None:
    wish = shlex.split(os.environ.get("CXX", ""))
    for command in (wish, *([name] for name in _COMPILERS)):
        path = shutil.which(command[0]) if command else None
        if path is not None:
            return (path, *command[1:])
    return None


def _build_and_load(source: Path, compiler: tuple[str, ...], flags: tuple[str, ...]) -> ctypes.CDLL:
    target = _cache_folder() / f"{source.stem}-{_key(source, compiler, flags)}.so"
    if target.is_file():
        try:
            return ctypes.CDLL(str(target))
        except OSError:
            pass  # damaged, or made for another C library: build it again
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        _run((*compiler, *flags, "-o", str(fresh), str(source)))
        os.replace(fresh, target)
    finally:
        fresh.unlink(missing_ok=True)
    return ctypes.CDLL(str(target))


def _cache_folder() -> Path:
    root = os.environ.get("XDG_CACHE_HOME", "")
    try:
        base = Path(root) if os.path.isabs(root) else Path.home() / ".cache"
    except RuntimeError as error:  # there is no home folder
        raise OSError(str(error)) from error
    return base / "minconv"


def _key(source: Path, compiler: tuple[str, ...], flags: tuple[str, ...]) -> str:
    """Hash of all that the library depends on; the predefined macros name the compiler's version and the processor."""
    macros = _run((*compiler, *flags, "-dM", "-E", "-x", "c++", os.devnull))
    parts = (source.read_bytes(), macros, repr((compiler, flags)).encode())
    return hashlib.sha256(b"\0".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()[:32]


def _run(command: tuple[str, ...]) -> bytes:
    return subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=_TIMEOUT).stdout


def _one_line(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        lines = error.stderr.decode(errors="replace").split("\n")
        text = next((line for line in lines if "error" in line), lines[0])
        return f"{error.cmd[0]} failed: {' '.join(text.split())}"
    return " ".join(str(error).split())
