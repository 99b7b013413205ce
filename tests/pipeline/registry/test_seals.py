"""Files that are not the registered ones are refused."""

from __future__ import annotations

import shutil

import pytest

import minconv
from pipeline.errors import RegistryError
from pipeline.registry import CLIMATOLOGY_FILE


@pytest.mark.parametrize("name", ["weights.safetensors", "forecaster.json", CLIMATOLOGY_FILE])
@pytest.mark.parametrize("damage", ["flip", "remove"])
def test_a_file_that_is_not_the_registered_one_is_refused(
    registry, register, stored, checkpoint, climatology_file, name, damage
):
    registry.check(register(registry, checkpoint, extra=(climatology_file,)))
    file = stored(registry, 1, name)
    if damage == "remove":
        file.unlink()
    else:
        content = bytearray(file.read_bytes())
        content[-3] ^= 1
        file.write_bytes(bytes(content))
    sentence = rf"/1: the stored {name} is not the registered one \(sha256 differs"
    with pytest.raises(RegistryError, match=sentence):
        registry.load()
    with pytest.raises(RegistryError, match=sentence):
        registry.check(registry.resolve())


def test_a_forged_checkpoint_that_agrees_with_itself_is_refused(registry, register, stored, checkpoint, made, tmp_path):
    register(registry, checkpoint)
    minconv.save(tmp_path / "forged", made(), {"variables": ["q2m"], "history": 4})
    shutil.copy(tmp_path / "forged" / "forecaster.json", stored(registry, 1, "forecaster.json"))
    with pytest.raises(RegistryError, match=r"the stored forecaster\.json is not the registered one"):
        registry.load()


def test_a_climatology_that_was_not_registered_is_refused(registry, register, stored, checkpoint, climatology_file):
    register(registry, checkpoint)
    shutil.copy(climatology_file, stored(registry, 1, "weights.safetensors").parent.parent)
    with pytest.raises(RegistryError, match=r"the stored climatology\.npz is not the registered one"):
        registry.load()
