"""The arithmetic of tiles, for any grid, core, halo and boundary."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.grid import GridSpec
from pipeline.tiles import Extent, Halo, Tiling, extents

WRAPS = {"periodic": (True, True), "cylinder": (False, True), "closed": (False, False)}

sides = st.integers(1, 23)
halos = st.integers(0, 9)


def grid_of(height: int, width: int, boundary: str) -> GridSpec:
    axes = (tuple(float(n) for n in range(side)) for side in (height, width))
    return GridSpec(*axes, "y", "x", geographic=False, boundary=boundary)  # type: ignore[arg-type]


@st.composite
def tilings(draw: st.DrawFn) -> tuple[GridSpec, Tiling, Halo]:
    grid = grid_of(draw(sides), draw(sides), draw(st.sampled_from(sorted(WRAPS))))
    halo = Halo(draw(halos), draw(halos))
    return grid, Tiling.of(grid, (draw(sides), draw(sides)), halo), halo


def numbered(grid: GridSpec) -> np.ndarray:
    """Every point has its own number."""
    return np.arange(np.prod(grid.shape), dtype=np.int64).reshape(grid.shape)


@given(tilings())
def test_cut_then_put_is_the_identity(made):
    grid, tiling, _ = made
    field = np.stack([numbered(grid), -numbered(grid)])
    whole = np.full_like(field, 10**6)
    for tile in tiling.tiles:
        tile.put(whole, tile.cut(field))
    np.testing.assert_array_equal(whole, field)


@given(tilings())
def test_cut_then_put_is_the_identity_for_tensors(made):
    grid, tiling, _ = made
    field = torch.from_numpy(numbered(grid))[None, None]
    whole = torch.full_like(field, -1)
    for tile in tiling.tiles:
        tile.put(whole, tile.cut(field))
    assert torch.equal(whole, field)


@given(tilings())
def test_every_point_is_in_one_core(made):
    grid, tiling, _ = made
    count = np.zeros(grid.shape, dtype=int)
    for tile in tiling.tiles:
        count[tile.core] += 1
    assert (count == 1).all()
    assert tiling.total == len(tiling.tiles)


@given(tilings())
def test_all_tiles_have_one_shape(made):
    _, tiling, _ = made
    assert {tile.shape for tile in tiling.tiles} == {tiling.shape}


@given(tilings())
def test_what_is_read_beside_a_core_is_its_neighbours_as_the_boundary_has_them(made):
    grid, tiling, halo = made
    field, (height, width) = numbered(grid), grid.shape
    wraps_y, wraps_x = WRAPS[grid.boundary]
    for tile in tiling.tiles:
        part = tile.cut(field)
        top, left = tile.rows.inner.start, tile.columns.inner.start
        core = tile.rows.core, tile.columns.core
        for dy in range(-halo.rows, core[0].size + halo.rows):
            for dx in range(-halo.columns, core[1].size + halo.columns):
                y, x = core[0].start + dy, core[1].start + dx
                if not (wraps_y or 0 <= y < height) or not (wraps_x or 0 <= x < width):
                    continue  # nothing lies there, and nothing is read
                assert part[top + dy, left + dx] == field[y % height, x % width]


@given(tilings())
def test_a_tile_ends_where_a_closed_grid_ends(made):
    """So that padding at the edge of the tile is padding at the edge of the grid."""
    grid, tiling, _ = made
    for tile in tiling.tiles:
        for extent, wraps in zip((tile.rows, tile.columns), WRAPS[grid.boundary], strict=True):
            if wraps:
                continue
            assert 0 <= extent.start <= extent.start + extent.size <= extent.length
            if extent.core.start == 0:
                assert extent.start == 0
            if extent.core.stop == extent.length:
                assert extent.start + extent.size == extent.length


@given(tilings())
def test_pieces_read_what_the_index_picks(made):
    _, tiling, _ = made
    for tile in tiling.tiles:
        for extent in (tile.rows, tile.columns):
            axis, read = np.arange(extent.length), np.full(extent.size, -1)
            for source, target in extent.pieces:
                read[target] = axis[source]
            np.testing.assert_array_equal(read, axis[extent.index])


@given(tilings(), st.integers(0, 2**32 - 1))
def test_halos_never_leak_into_scores(made, seed):
    grid, tiling, _ = made
    rng = np.random.default_rng(seed)
    weights = rng.random(grid.shape) + 0.1
    error = rng.random(grid.shape)
    total = 0.0
    for tile in tiling.tiles:
        scored, part = tile.scored(weights), tile.cut(error).copy()
        inner = np.zeros(tile.shape, dtype=bool)
        inner[tile.rows.inner, tile.columns.inner] = True
        assert (scored[~inner] == 0).all()
        before = (scored * part).sum()
        part[~inner] = rng.normal(size=(~inner).sum()) * 1e6
        assert (scored * part).sum() == before
        total += before
    assert total == pytest.approx((weights * error).sum())


@given(tilings())
def test_tiles_without_a_valid_point_are_left_out(made):
    grid, tiling, halo = made
    mask = np.zeros(grid.shape, dtype=bool)
    mask[grid.shape[0] // 2, grid.shape[1] // 2] = True
    first = tiling.tiles[0]
    size = first.rows.core.size, first.columns.core.size
    kept = Tiling.of(grid, size, halo, mask)
    assert len(kept.tiles) == 1
    assert kept.total == tiling.total
    assert mask[kept.tiles[0].core].any()


@pytest.mark.parametrize(
    ("length", "size", "halo", "wraps", "starts", "read"),
    [
        (10, 4, 1, True, [-1, 3, 7], 6),
        (10, 4, 1, False, [0, 3, 4], 6),
        (10, 40, 3, True, [-3], 16),
        (10, 40, 3, False, [0], 10),
        (3, 1, 4, True, [-4, -3, -2], 9),
    ],
)
def test_starts_along_an_axis(length, size, halo, wraps, starts, read):
    found = extents(length, size, halo, wraps)
    assert [one.start for one in found] == starts
    assert {one.size for one in found} == {read}


def test_an_axis_that_is_shorter_than_a_halo_goes_round_more_than_once():
    one = Extent(extents(3, 1, 4, True)[0].core, -4, 9, 3)
    np.testing.assert_array_equal(np.arange(3)[one.index], [2, 0, 1, 2, 0, 1, 2, 0, 1])


def test_a_negative_halo_is_refused():
    with pytest.raises(ValueError, match="at least 0"):
        Halo(-1, 0)
