"""A Forecaster on disk: a folder with ``weights.safetensors`` and ``forecaster.json``; nothing is pickled.

The JSON file holds the format's version, the configuration, the size and sha256 of the weights, the caller's metadata,
and a sha256 of its own content. `load` checks all of it before it builds anything.

    save(path, forecaster, {"snapshot_id": "…"})
    forecaster, metadata = load(path)
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from .config import ForecasterConfig
from .errors import (
    CheckpointDamagedError,
    CheckpointError,
    CheckpointMissingError,
    CheckpointVersionError,
    ConfigurationError,
)
from .model import Forecaster

FORMAT = "minconv-forecaster"
VERSION = 1
WEIGHTS = "weights.safetensors"
DESCRIPTION = "forecaster.json"


def save(path: str | Path, forecaster: Forecaster, metadata: Mapping[str, Any] | None = None) -> None:
    """Write a checkpoint folder; it appears whole or not at all, and replaces an older checkpoint of that name.

    Args:
        path: The folder; its parent is made where needed.
        forecaster: The model; its Normalizer is part of its weights.
        metadata: Anything that JSON can hold.

    Raises:
        CheckpointError: `metadata` is not JSON, or `path` is something else than a checkpoint, or cannot be written.
    """
    target = Path(path)
    if target.exists() and not (target / DESCRIPTION).is_file() and not _is_empty_folder(target):
        raise CheckpointError(f"checkpoint path {target} exists and is no checkpoint; choose another folder")
    weights = save_tensors({name: value.detach().cpu().contiguous() for name, value in forecaster.state_dict().items()})
    text = _describe(forecaster.config, weights, metadata or {})
    mark = uuid.uuid4().hex
    fresh, old = (target.with_name(f".{target.name}.{mark}.{kind}") for kind in ("new", "old"))
    try:
        fresh.mkdir(parents=True)
        _write(fresh / WEIGHTS, weights)
        _write(fresh / DESCRIPTION, text.encode())
        if (target / DESCRIPTION).is_file():
            target.rename(old)
        fresh.rename(target)
    except OSError as error:
        if old.exists() and not target.exists():
            old.rename(target)
        raise CheckpointError(
            f"checkpoint {target} could not be written ({error.strerror}); nothing was changed"
        ) from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        if target.exists():
            shutil.rmtree(old, ignore_errors=True)


def load(path: str | Path, device: str | torch.device = "cpu") -> tuple[Forecaster, dict[str, Any]]:
    """Read a checkpoint folder.

    Returns:
        The Forecaster, in eval mode on `device`, and the metadata given to `save`.

    Raises:
        CheckpointMissingError: The folder or one of its files is not there.
        CheckpointDamagedError: A file is truncated, was changed, or does not fit the other.
        CheckpointVersionError: The format is one that this version does not know.
    """
    source = Path(path)
    description = _read_description(source)
    weights = _read(source / WEIGHTS)
    expected, size = description["weights"]["sha256"], description["weights"]["bytes"]
    if len(weights) != size:
        raise CheckpointDamagedError(f"{source / WEIGHTS} must have {size} bytes, got {len(weights)}; fetch it again")
    if (found := hashlib.sha256(weights).hexdigest()) != expected:
        raise CheckpointDamagedError(f"{source / WEIGHTS} must have sha256 {expected}, got {found}; fetch it again")
    try:
        forecaster = Forecaster(ForecasterConfig.from_dict(description["config"]))
        tensors = load_tensors(weights)
        forecaster.to(next(tensor.dtype for tensor in tensors.values() if tensor.is_floating_point()))
        forecaster.load_state_dict(tensors)
    except (ConfigurationError, SafetensorError, StopIteration, RuntimeError) as error:
        detail = " ".join(str(error).split())
        raise CheckpointDamagedError(f"{source}: weights and configuration do not make a model ({detail})") from error
    return forecaster.to(device).eval(), description["metadata"]


def _describe(config: ForecasterConfig, weights: bytes, metadata: Mapping[str, Any]) -> str:
    content = {
        "format": FORMAT,
        "version": VERSION,
        "config": config.to_dict(),
        "weights": {"file": WEIGHTS, "bytes": len(weights), "sha256": hashlib.sha256(weights).hexdigest()},
        "metadata": dict(metadata),
    }
    try:
        return json.dumps({**content, "sha256": _digest(content)}, indent=2, sort_keys=True, allow_nan=False) + "\n"
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"metadata must hold only what JSON can ({error})") from error


def _read_description(source: Path) -> dict[str, Any]:
    file = source / DESCRIPTION
    if not source.is_dir():
        raise CheckpointMissingError(f"checkpoint {source} must be a folder, got nothing there; check the path")
    text = _read(file)
    try:
        content = json.loads(text)
    except ValueError as error:
        raise CheckpointDamagedError(f"{file} must be JSON ({error}); fetch it again") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointDamagedError(f"{file} must describe a {FORMAT}, got something else")
    if content.get("version") != VERSION:
        raise CheckpointVersionError(
            f"{file} must have format version {VERSION}, got {content.get('version')!r}; use the minconv that wrote it"
        )
    if content.pop("sha256", None) != _digest(content):
        raise CheckpointDamagedError(f"{file} was changed after it was written: its content does not have its sha256")
    return content


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, allow_nan=False).encode()).hexdigest()


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError as error:
        raise CheckpointMissingError(f"{file} is missing from the checkpoint; fetch it again") from error
    except OSError as error:
        raise CheckpointMissingError(f"{file} cannot be read ({error.strerror})") from error


def _write(file: Path, content: bytes) -> None:
    with file.open("xb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())
