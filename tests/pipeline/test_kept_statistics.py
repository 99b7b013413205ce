"""Statistics brought up to date from those of an earlier version: the same bits, from little reading."""

import json

import icechunk
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from pipeline import archive
from pipeline.archive import Replacement
from pipeline.config import ArchiveConfig, SplitConfig, check_config
from pipeline.field_sums import Part, VariableSums, sum_part
from pipeline.kept_statistics import change_between, prune, training_statistics
from pipeline.splits import Span, Split, make_splits
from pipeline.statistics import compute_statistics

LAYOUT = ArchiveConfig(chunk_time=4, shard_time=8, chunk_space=8, shard_space=8)
MASK = np.ones((6, 8), np.int8)
MASK[0, :3] = 0


def made(first, last, seed=0):
    """Frames whose values do not depend on which others are made with them."""
    values = np.stack([280 + np.random.default_rng((seed, hour)).normal(0, 9, (6, 8)) for hour in range(first, last)])
    values[:, MASK == 0] = np.nan
    times = np.datetime64("2020-01-01T00", "ns") + np.arange(first, last) * np.timedelta64(1, "h")
    return xr.Dataset(
        {
            "t": (("time", "lat", "lon"), values.astype("f4"), {"units": "K"}),
            "q": (("time", "lat", "lon"), (values * 1e-5).astype("f4"), {"units": "1"}),
        },
        coords={"time": times, "lat": np.arange(6.0), "lon": np.arange(8.0), "mask": (("lat", "lon"), MASK)},
    )


class Growing:
    """An archive that grows and is revised, and the statistics of its training split."""

    def __init__(self, folder, **split):
        self.config = check_config(
            {
                "root": str(folder),
                "name": "test",
                "source": {"path": str(folder)},
                "boundary": "closed",
                "variables": {"t": {"units": "K"}, "q": {"units": "1"}},
            }
        )
        self.path, self.split, self.length = self.config.archive_path, SplitConfig(**split), 0

    def write(self, last, revised=(), seed=1):
        """Append up to frame `last`, and revise frames of `t`, as an ingest notes it."""
        new = made(self.length, last) if last > self.length else None
        field = None if not revised else made(0, max(revised) + 1, seed)["t"]
        replacements = [Replacement("t", frame, field[frame : frame + 1]) for frame in revised]
        notes = {"revised": [{"variable": "t", "start": frame, "stop": frame + 1} for frame in revised]}
        archive.write(self.path, new, LAYOUT, message="", metadata=notes, replacements=replacements)
        self.length = last

    def statistics(self, progress=lambda event: None):
        """As a training takes them."""
        snapshot_id = archive.head(self.path)
        with archive.open_dataset(self.path, snapshot_id) as dataset:
            train = make_splits(dataset, self.split, gap=2).train
            return training_statistics(self.config, snapshot_id, dataset, ["t", "q"], train, progress)

    def afresh(self):
        """Of the same, computed at once."""
        snapshot_id = archive.head(self.path)
        with archive.open_dataset(self.path, snapshot_id) as dataset:
            train = make_splits(dataset, self.split, gap=2).train
            return compute_statistics(dataset, ["t", "q"], train, snapshot_id=snapshot_id)


@pytest.fixture
def bytes_read(monkeypatch):
    """The sizes of all chunk reads from archives from now on."""
    sizes, get = [], icechunk.IcechunkStore.get

    async def counted(self, key, *arguments, **options):
        found = await get(self, key, *arguments, **options)
        if found is not None and key.startswith(("t/c/", "q/c/")):
            sizes.append(len(found))
        return found

    monkeypatch.setattr(icechunk.IcechunkStore, "get", counted)
    return sizes


@pytest.mark.parametrize("newest", [None, 30])
def test_night_by_night_the_bits_are_those_of_a_computation_at_once(tmp_path, newest):
    growing = Growing(tmp_path, newest=newest)
    nights = [(40, ()), (43, ()), (43, (1,)), (50, (0, 8, 9, 20)), (53, (41,)), (80, ()), (81, (8, 30)), (81, (8,))]
    for seed, (last, revised) in enumerate(nights, start=1):
        growing.write(last, revised, seed)
        assert growing.statistics().to_dict() == growing.afresh().to_dict()
    assert len(list((growing.config.work_dir / "statistics").iterdir())) == len(nights)


def test_an_append_reads_the_frames_that_came_into_the_training_split(tmp_path, bytes_read):
    growing = Growing(tmp_path)
    growing.write(1000)
    growing.statistics()
    whole = sum(bytes_read)
    growing.write(1020)  # 12 of them, or of those before, are in the training split now
    bytes_read.clear()
    events = []
    growing.statistics(events.append)
    assert events[-1].done == events[-1].total == 2 * (12 + 1)  # the frame before, for the first difference
    appended = sum(bytes_read)
    print(f"read {whole} bytes for 1000 frames, {appended} after 20 more")
    assert 0 < appended < whole / 20
    bytes_read.clear()
    growing.statistics()
    assert bytes_read == []


def test_a_revision_reads_the_frames_it_changed_and_those_beside_them(tmp_path, bytes_read):
    growing = Growing(tmp_path)
    growing.write(200)
    growing.statistics()
    growing.write(200, revised=(50,))
    bytes_read.clear()
    events = []
    growing.statistics(events.append)
    assert events[-1].total == 2 * 3  # frames 49 to 51, of both versions
    assert 0 < len(bytes_read) < 20


def test_a_frame_revised_to_something_absurd_and_back_leaves_no_trace(tmp_path):
    growing = Growing(tmp_path)
    growing.write(40)
    before = growing.statistics()
    spike = made(5, 6)["t"] * np.float32(1e30)
    for field in (spike, made(5, 6)["t"]):
        notes = {"revised": [{"variable": "t", "start": 5, "stop": 6}]}
        archive.write(growing.path, None, LAYOUT, message="", metadata=notes, replacements=[Replacement("t", 5, field)])
        after = growing.statistics()
    assert after.hash() == before.hash()


@pytest.mark.parametrize("harm", [lambda text: text[:100], lambda text: text.replace('"count": ', '"count": 1'), None])
def test_kept_sums_that_are_damaged_or_gone_are_made_again(tmp_path, harm):
    growing = Growing(tmp_path)
    growing.write(40)
    expected = growing.statistics().to_dict()
    (file,) = (growing.config.work_dir / "statistics").iterdir()
    kept = file.read_text()
    if harm is None:
        file.unlink()
    else:
        file.write_text(harm(kept))
        assert file.read_text() != kept
    assert growing.statistics().to_dict() == expected
    assert json.loads(file.read_text()) == json.loads(kept)


def test_versions_that_were_dropped_are_not_built_on(tmp_path):
    growing = Growing(tmp_path)
    growing.write(40)
    growing.statistics()
    growing.write(50, revised=(3,))
    growing.write(60)
    archive.collect(growing.path, set(), keep_days=0, apply=True)
    assert growing.statistics().to_dict() == growing.afresh().to_dict()


spans = st.tuples(st.integers(0, 19), st.integers(1, 20)).map(lambda pair: Span(pair[0], min(pair[0] + pair[1], 20)))
DATA = {version: made(0, 20, version).drop_vars("time") for version in (1, 2)}


@given(spans, spans, st.sets(st.integers(0, 19)))
def test_every_change_of_the_split_and_the_frames_adds_up(old, new, revised):
    newer = DATA[1].copy(deep=True)
    for frame in revised:
        newer["t"].values[frame] = DATA[2]["t"].values[frame]
    before, after = (Split("train", Span(0, 1), frames) for frames in (old, new))

    def summed(dataset, parts):
        return sum((sum_part(dataset, "t", part, lambda *_: None) for part in parts), VariableSums())

    change = change_between(before, after, 20, revised)
    started = summed(DATA[1], [Part.of(before, 20)])
    assert started + summed(newer, change.come) - summed(DATA[1], change.gone) == summed(newer, [Part.of(after, 20)])


@given(spans, spans)
def test_every_change_of_samples_adds_up(old, new):
    fields = np.random.default_rng(0).normal(size=(20, 4, 3, 2)).astype("f4")
    dataset = xr.Dataset({"t": (("sample", "time", "y", "x"), fields)})
    before, after = (Split("train", samples, Span(0, 4)) for samples in (old, new))

    def summed(parts):
        return sum((sum_part(dataset, "t", part, lambda *_: None) for part in parts), VariableSums())

    change = change_between(before, after, 4, set())
    assert summed([Part.of(before, 4)]) + summed(change.come) - summed(change.gone) == summed([Part.of(after, 4)])


def test_sums_go_with_their_version_unless_it_stays(tmp_path):
    growing = Growing(tmp_path, train=0.6, validation=0.2)
    versions = []
    for last in (20, 30, 40):
        growing.write(last)
        versions.append(archive.head(growing.path))
        with archive.open_dataset(growing.path) as dataset:
            train = make_splits(dataset, growing.split, 0).train
            training_statistics(growing.config, versions[-1], dataset, ["t", "q"], train)
    pinned, _, newest = versions
    dropped = archive.collect(growing.path, {pinned}, keep_days=0, apply=True).dropped
    assert versions[1] in [commit.snapshot_id for commit in dropped]
    stay = {pinned, *(commit.snapshot_id for commit in archive.log(growing.path))}
    kept = growing.config.work_dir / "statistics"
    assert (prune(growing.config, stay, apply=False), len(list(kept.iterdir()))) == (1, 3)
    assert (prune(growing.config, stay, apply=True), prune(growing.config, stay, apply=True)) == (1, 0)
    assert {path.name.partition("-")[0] for path in kept.iterdir()} == {pinned, newest}
