"""Muon: matrices become orthogonal, weights of one shape are learned together as if alone, and minima are found."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.training.muon import Muon, orthogonal


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(1, 24), columns=st.integers(1, 24), size=st.floats(1e-4, 1e4), seed=st.integers(0, 99))
def test_singular_values_come_close_to_one(rows: int, columns: int, size: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    # with a condition of at most 20: directions far weaker than the strongest stay behind within five turns
    u, _, v = torch.linalg.svd(torch.randn(rows, columns, generator=generator), full_matrices=False)
    spread = torch.linspace(1, 0.05, min(rows, columns))
    matrix = size * (u * spread) @ v
    found = orthogonal(matrix[None])[0]
    values = torch.linalg.svdvals(found)
    assert values.min() > 0.5
    assert values.max() < 1.3
    # the directions are those of the matrix: only the singular values change
    torch.testing.assert_close(u.mT @ found @ v.mT, torch.diag(torch.diagonal(u.mT @ found @ v.mT)), atol=1e-4, rtol=0)


def test_zero_stays_zero() -> None:
    assert not orthogonal(torch.zeros(2, 3, 5)).any()


def test_steps_have_the_size_of_adamw() -> None:
    weight = torch.nn.Parameter(torch.zeros(40, 40, 3, 3))
    weight.grad = torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
    Muon([weight], lr=0.01).step()
    assert float(weight.detach().pow(2).mean().sqrt()) == pytest.approx(0.2 * 0.01, rel=0.2)


def test_weights_of_one_shape_learn_as_if_alone() -> None:
    generator = torch.Generator().manual_seed(1)
    shapes = [(4, 3, 3, 3), (6, 2), (4, 3, 3, 3), (2, 6)]
    values = [(torch.randn(shape, generator=generator), torch.randn(shape, generator=generator)) for shape in shapes]

    def learned(chosen: list[int]) -> dict[int, torch.Tensor]:
        weights = {number: torch.nn.Parameter(values[number][0].clone()) for number in chosen}
        optimizer = Muon(list(weights.values()), lr=0.1, weight_decay=0.5)
        for _ in range(3):
            for number, weight in weights.items():
                weight.grad = values[number][1] + weight.detach()
            optimizer.step()
        return {number: weight.detach() for number, weight in weights.items()}

    together = learned([0, 1, 2, 3])
    for number in range(4):
        torch.testing.assert_close(together[number], learned([number])[number], atol=1e-6, rtol=1e-5)


def test_weak_directions_are_learned_as_soon_as_strong_ones() -> None:
    # least squares whose directions differ by a factor of 100 in their gradients
    strength = torch.tensor([1.0, 0.1, 0.01])
    goal = torch.diag(torch.tensor([1.0, -1.0, 1.0]))
    weight = torch.nn.Parameter(torch.zeros(3, 3))
    optimizer = Muon([weight], lr=0.1)
    for step in range(200):
        optimizer.param_groups[0]["lr"] = 0.1 * (1 - step / 200)
        optimizer.zero_grad()
        (strength * (weight - goal) ** 2).sum().backward()
        optimizer.step()
    assert float((weight - goal).detach().abs().max()) < 0.05


def test_blocks_are_matrices_of_their_own() -> None:
    generator = torch.Generator().manual_seed(2)
    halves = [torch.randn(4, 3, 3, 3, generator=generator) for _ in range(2)]
    apart = [torch.nn.Parameter(torch.zeros(4, 3, 3, 3)) for _ in halves]
    together = torch.nn.Parameter(torch.zeros(8, 3, 3, 3))
    together.grad = torch.cat(halves)
    for weight, gradient in zip(apart, halves, strict=True):
        weight.grad = gradient
    Muon([{"params": [together], "blocks": 2}], lr=0.1).step()
    Muon(apart, lr=0.1).step()
    torch.testing.assert_close(together.detach(), torch.cat(apart).detach(), atol=1e-7, rtol=1e-6)
    with pytest.raises(ValueError, match=r"blocks must divide the first dimension, got 3 for shape \(8, 3, 3, 3\)"):
        Muon([together], lr=0.1, blocks=3)


def test_a_weight_without_gradient_stays_and_weight_decay_shrinks() -> None:
    still, shrinking = torch.nn.Parameter(torch.ones(2, 2)), torch.nn.Parameter(torch.ones(2, 3))
    shrinking.grad = torch.zeros(2, 3)
    Muon([still, shrinking], lr=0.1, weight_decay=0.5).step()
    torch.testing.assert_close(still.detach(), torch.ones(2, 2))
    torch.testing.assert_close(shrinking.detach(), torch.full((2, 3), 0.95))


def test_vectors_are_refused() -> None:
    with pytest.raises(ValueError, match=r"at least two dimensions, got shape \(3,\)"):
        Muon([torch.nn.Parameter(torch.zeros(3))], lr=0.1)
