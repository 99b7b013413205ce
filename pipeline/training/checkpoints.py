"""A training checkpoint on disk: a folder whose `MANIFEST.json`, written last, lists every file with its sha256.

latest/             the weights after the newest epoch
best/               the weights with the lowest validation error so far
optimizer.pt        tensors only, read with ``weights_only=True``
state.json          epoch, step, seconds, history, RNG
MANIFEST.json
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from ..errors import TrainingError

MANIFEST = "MANIFEST.json"


def seal(folder: Path) -> None:
    """Write the manifest; from here on the checkpoint counts as valid."""
    manifest = {path: _sha256(folder / path) for path in _files(folder)}
    temporary = folder / (MANIFEST + ".part")
    temporary.write_text(json.dumps(manifest, indent=1, sort_keys=True))
    temporary.replace(folder / MANIFEST)


def verify(folder: Path) -> None:
    """Check a checkpoint against its manifest.

    Raises:
        TrainingError: There is no manifest, or a file is missing or altered.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
    except (OSError, ValueError) as error:
        raise TrainingError(f"checkpoint {folder} has no readable {MANIFEST}; it is torn, remove it") from error
    for path, sha256 in manifest.items():
        if not (folder / path).is_file() or _sha256(folder / path) != sha256:
            raise TrainingError(f"checkpoint {folder}: {path} is missing or altered; it is torn, remove it")


def _files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
