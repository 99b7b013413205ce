from pathlib import Path

import pytest

from pipeline.errors import TrainingError
from pipeline.training import checkpoints


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    (tmp_path / "best").mkdir()
    (tmp_path / "best" / "weights").write_bytes(b"abc")
    (tmp_path / "state.json").write_text("{}")
    checkpoints.seal(tmp_path)
    return tmp_path


def test_a_sealed_checkpoint_is_valid(sealed: Path) -> None:
    checkpoints.verify(sealed)


def test_a_checkpoint_without_manifest_is_torn(sealed: Path) -> None:
    (sealed / checkpoints.MANIFEST).unlink()
    with pytest.raises(TrainingError, match="no readable MANIFEST"):
        checkpoints.verify(sealed)


@pytest.mark.parametrize("content", [b"abd", b"ab", b""])
def test_an_altered_file_is_found(sealed: Path, content: bytes) -> None:
    (sealed / "best" / "weights").write_bytes(content)
    with pytest.raises(TrainingError, match="best/weights is missing or altered"):
        checkpoints.verify(sealed)


def test_a_missing_file_is_found(sealed: Path) -> None:
    (sealed / "state.json").unlink()
    with pytest.raises(TrainingError, match=r"state\.json is missing or altered"):
        checkpoints.verify(sealed)
