import dataclasses
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline import archive, lineage
from pipeline.config import Config
from pipeline.errors import RegistryError
from pipeline.registry import RegisteredModel
from pipeline.reproduction import changes, check_code, deviation, recipe
from pipeline.training import prepare


@given(st.floats(-3, 3, width=32), st.integers(0, 5))
def test_the_largest_difference_is_found(amount: float, place: int) -> None:
    one = {"a": torch.tensor([1.0, -2.0, 4.0]), "b": torch.tensor([1.0, 1.0, 1.0])}
    other = {name: tensor.clone() for name, tensor in one.items()}
    name = "ab"[place // 3]
    other[name][place % 3] += amount
    found = deviation(one, other)
    moved = float((other[name][place % 3] - one[name][place % 3]).abs())
    assert found.equal == (moved == 0.0)
    assert found.largest == pytest.approx(moved)
    assert found.relative == pytest.approx(moved / float(one[name].abs().max()))


@pytest.mark.parametrize("other", [{"a": torch.zeros(2)}, {"a": torch.zeros(3), "b": torch.zeros(1)}, {}])
def test_other_names_or_shapes_are_infinitely_far(other: dict[str, torch.Tensor]) -> None:
    found = deviation({"a": torch.zeros(3)}, other)
    assert not found.equal
    assert found.largest == float("inf")


def test_signs_of_zero_and_empty_tensors_do_not_count_as_differences() -> None:
    one = {"a": torch.tensor([0.0]), "b": torch.zeros(0)}
    assert deviation(one, {"a": torch.tensor([-0.0]), "b": torch.zeros(0)}).equal


def with_tags(model: RegisteredModel, **tags: str) -> RegisteredModel:
    version = dataclasses.replace(model.version, tags={**model.version.tags, **tags})
    return dataclasses.replace(model, version=version)


def test_the_same_code_passes_and_other_code_is_explained(sample_model: RegisteredModel) -> None:
    check_code(sample_model.version)
    other = with_tags(sample_model, code_hash="0123", git_commit="abcdef")
    with pytest.raises(RegistryError, match=r"hash 0123.*check out commit abcdef, or add --anyway"):
        check_code(other.version)


def test_the_recipe_is_that_of_the_version_below_todays_root(
    sample_model: RegisteredModel, sample_config: Config, tmp_path: Path
) -> None:
    config = recipe(sample_model, tmp_path)
    assert config == sample_config.model_copy(update={"root": tmp_path})
    assert config.hash() == sample_model.version.tags["config_hash"]


def test_what_is_not_as_it_was_is_told(sample_model: RegisteredModel, sample_config: Config) -> None:
    job = prepare(sample_config, archive.head(sample_config.archive_path))
    (threads,) = changes(sample_model.version, job)
    assert "training.threads" in threads
    told = changes(with_tags(sample_model, statistics_hash="0", code_hash="1").version, job)
    assert [line.partition(":")[0] for line in told[:2]] == ["the code differ", "the statistics differ"]
    limited = sample_config.training.model_copy(update={"max_seconds": 3.0, "threads": 1})
    job = dataclasses.replace(job, config=sample_config.model_copy(update={"training": limited}))
    (clock,) = changes(sample_model.version, job)
    assert "max_seconds" in clock


def test_a_version_names_its_commit(sample_model: RegisteredModel) -> None:
    assert sample_model.version.tags["git_commit"] == (lineage.git_commit() or "unknown")
