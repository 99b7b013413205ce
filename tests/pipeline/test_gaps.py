"""Gaps in time that are allowed: missing frames in the archive, in windows and forecasts, and files that fill them."""

import itertools

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import archive
from pipeline.cadence import Cadence
from pipeline.climatology import fit_climatology
from pipeline.config import check_config
from pipeline.config_quality import QualityConfig
from pipeline.errors import ConfigError, ForecastError
from pipeline.evaluation import frames_at
from pipeline.forecast import cases_at
from pipeline.forecast.starts import newest_start
from pipeline.gaps import GapPolicy
from pipeline.ingest import ingest, rehearse, report_of
from pipeline.kept_statistics import training_statistics
from pipeline.novelty import new_since, newest_until
from pipeline.preflight import after_ingest, gaps_finding
from pipeline.presence import gaps_of, present
from pipeline.splits import Span, Split, make_splits
from pipeline.statistics import compute_statistics
from pipeline.windows import FrameReader, Window, windows, windows_lost

START = np.datetime64("2020-01-01T00", "ns")
VALUES = np.random.default_rng(3).normal(280, 5, (96, 6, 5)).astype("float32")
VALUES[:, :2, :2] = np.nan
NAMES = ("t", "q")


def frames(hours, names=NAMES, shift=0.0):
    hours = np.asarray(list(hours))
    return xr.Dataset(
        {
            name: (("time", "lat", "lon"), VALUES[hours] + place + np.float32(shift), {"units": "K"})
            for place, name in enumerate(NAMES)
            if name in names
        },
        coords={"time": START + hours * np.timedelta64(1, "h"), "lat": np.arange(6.0), "lon": np.arange(5.0)},
    )


def configured(tmp_path, name="test", files=("*.nc",), revise="refuse", **quality):
    return check_config(
        {
            "name": name,
            "root": str(tmp_path / "runs"),
            "boundary": "closed",
            "source": {"path": str(tmp_path / "input"), "files": list(files), "revise": revise},
            "variables": {name: {"units": "K"} for name in NAMES},
            "quality": {"longest_gap": "6h", **quality},
            "archive": {"chunk_time": 4, "shard_time": 8, "chunk_space": 4, "shard_space": 8},
            "window": {"history": 4, "horizon": 2},
        }
    )


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "input"
    made.mkdir()
    return made


def stored(config, version=None):
    with archive.open_dataset(config.archive_path, version) as found:
        return found.load()


def check_holds(config, hours):
    """The archive has these hours, whole, and nothing of those between them."""
    found = stored(config)
    hours = np.asarray(sorted(hours))
    np.testing.assert_array_equal(found["time"].values, frames(range(hours[0], hours[-1] + 1))["time"].values)
    there = np.isin(np.arange(hours[0], hours[-1] + 1), hours)
    np.testing.assert_array_equal(present(found), there)
    for place, name in enumerate(NAMES):
        np.testing.assert_array_equal(found[name].values[there], VALUES[hours] + place)
        assert np.isnan(found[name].values[~there]).all()


def test_without_the_setting_what_follows_a_gap_waits_and_says_what_to_set(tmp_path, folder):
    config = configured(tmp_path, longest_gap=None)
    frames(range(10)).to_netcdf(folder / "a.nc")
    frames(range(13, 20)).to_netcdf(folder / "b.nc")
    result = ingest(config)
    assert (result.appended, [one.rule for one in result.waiting]) == (10, ["Q-GAP"])
    assert result.waiting[0].message.endswith("or allow such a gap by quality.longest_gap or quality.allowed_gaps")
    assert "present" not in stored(config).coords


def test_missing_frames_are_kept_as_such_until_a_late_file_fills_them(tmp_path, folder):
    config, ordered = configured(tmp_path), configured(tmp_path, "ordered")
    frames(range(10)).to_netcdf(folder / "a.nc")
    ingest(config)
    frames(range(13, 20)).to_netcdf(folder / "c.nc")
    with rehearse(config) as foretold:
        told = report_of(foretold, 1.0)
    before = ingest(config)
    assert (before.appended, before.waiting, before.rejected) == (7, (), ())
    assert (told.appended, [one.rule for one in told.warned]) == (before.appended, ["Q-GAP"])
    assert str(before.warned[0]) == (
        "Q-GAP: c.nc: 3 frames from 2020-01-01T10:00 on are missing before its 2020-01-01T13:00, a gap that is "
        "allowed; fetch them, and they fill it"
    )
    assert before.coverage == "2020-01-01T00:00 to 2020-01-01T19:00, 20 frames of which 3 are missing"
    check_holds(config, [*range(10), *range(13, 20)])
    assert archive.info(config.archive_path).missing == 3

    frames(range(8, 15)).to_netcdf(folder / "b.nc")  # it repeats what is there on both sides
    with rehearse(config) as foretold:
        assert len(foretold.filled) == 3
    late = ingest(config)
    assert (late.filled, late.revised, late.appended, late.rejected) == (3, 0, 0, ())
    assert (
        "filled 3 frames of t, q, 2020-01-01T10:00 to 2020-01-01T12:00" in archive.log(config.archive_path)[0].message
    )
    check_holds(config, range(20))
    ingest(ordered)
    for name in NAMES:
        np.testing.assert_array_equal(stored(config)[name].values, stored(ordered)[name].values)
    assert not present(stored(config, before.snapshot_id))[10:13].any()  # the version before is as it was
    assert archive.verify(config.archive_path).damaged == ()
    again = ingest(config)
    assert (again.snapshot_id, len(again.skipped)) == (late.snapshot_id, 3)
    # a part of what was filled counts as new, as does what was revised
    assert new_since(config.archive_path, late.snapshot_id, before.snapshot_id) == 0


def test_a_gap_may_be_as_long_as_set_or_lie_in_a_period(tmp_path, folder):
    frames([*range(10), *range(16, 20)]).to_netcdf(folder / "a.nc")  # within one file
    frames(range(27, 30)).to_netcdf(folder / "b.nc")
    config = configured(tmp_path)
    result = ingest(config)
    assert [one.path.name for one in result.waiting] == ["b.nc"]
    check_holds(config, [*range(10), *range(16, 20)])
    late = configured(tmp_path, allowed_gaps=[["2020-01-01T20:00", "2020-01-02T02"]])
    assert ingest(late).waiting == ()
    check_holds(late, [*range(10), *range(16, 20), *range(27, 30)])
    frames([*range(30, 33), *range(40, 42)]).to_netcdf(folder / "c.nc")
    (refused,) = ingest(late).rejected
    assert refused.rule == "Q-TIME"
    assert "2020-01-02T16:00 follows 2020-01-02T08:00, expected steps of 1 h; fill the gap, leave" in refused.message


def test_a_gap_is_filled_by_all_variables_at_once(tmp_path, folder):
    config = configured(tmp_path)
    for name in NAMES:
        frames([*range(10), *range(14, 20)], [name]).to_netcdf(folder / f"{name}.nc")
    ingest(config)
    frames(range(10, 13), ["t"]).to_netcdf(folder / "late_t.nc")
    one = ingest(config)
    assert (one.filled, [(other.rule, other.path.name) for other in one.waiting]) == (0, [("Q-GAP", "late_t.nc")])
    assert "wait for q at these times" in one.waiting[0].message
    frames(range(10, 12), ["q"]).to_netcdf(folder / "late_q.nc")
    two = ingest(config)
    assert (two.filled, [other.path.name for other in two.waiting]) == (2, ["late_t.nc"])
    check_holds(config, [*range(12), *range(14, 20)])
    frames(range(12, 14), ["q"]).to_netcdf(folder / "later_q.nc")
    three = ingest(config)
    assert (three.filled, three.rejected) == (1, ())
    frames(range(13, 14), ["t"]).to_netcdf(folder / "later_t.nc")
    assert ingest(config).filled == 1
    check_holds(config, range(20))
    files = ingest(config)
    assert (len(files.skipped), files.waiting, files.committed) == (6, (), ())


def test_a_file_fills_the_gap_within_another_one_of_its_batch(tmp_path, folder):
    config = configured(tmp_path)
    frames([*range(10), *range(14, 20)]).to_netcdf(folder / "a.nc")
    frames(range(9, 14)).to_netcdf(folder / "b.nc")
    assert (ingest(config).appended, "present" in stored(config).coords) == (20, False)
    check_holds(config, range(20))
    frames([*range(20, 23), 25]).to_netcdf(folder / "c.nc")
    frames([22, 23, 24], shift=1.0).to_netcdf(folder / "d.nc")
    result = ingest(config)
    assert [(one.rule, one.path.name) for one in result.rejected] == [("Q-OVERLAP", "d.nc")]
    check_holds(config, [*range(23), 25])


def test_other_values_for_what_was_filled_are_a_revision(tmp_path, folder):
    config = configured(tmp_path, revise="accept")
    frames([*range(10), *range(14, 20)]).to_netcdf(folder / "a.nc")
    ingest(config)
    frames(range(9, 14), shift=1.0).to_netcdf(folder / "b.nc")
    result = ingest(config)
    assert (result.revised, result.filled) == (1, 4)
    frames(range(10, 14)).to_netcdf(folder / "c.nc")
    assert (ingest(config).revised, ingest(config).filled) == (4, 0)
    found = stored(config)
    np.testing.assert_array_equal(found["t"].values[10:], VALUES[10:20])
    np.testing.assert_array_equal(found["t"].values[9], VALUES[9] + np.float32(1.0))
    assert present(found).all()


def test_files_by_date_that_come_late_are_looked_at(tmp_path, folder):
    config = configured(tmp_path, files=["{time:%Y%m%d}.nc"], longest_gap="1d")
    for day in (0, 2, 3):
        frames(range(24 * day, 24 * day + 24)).to_netcdf(folder / f"2020010{day + 1}.nc")
    ingest(config)
    check_holds(config, [*range(24), *range(48, 96)])
    frames(range(24, 48)).to_netcdf(folder / "20200102.nc")
    assert ingest(config).filled == 24
    check_holds(config, range(96))
    (folder / "20200102.nc").write_bytes(b"not looked at any more")
    assert len(ingest(config).skipped) == 4


@pytest.mark.slow
@settings(max_examples=6, deadline=None)
@given(data=st.data())
def test_in_whatever_order_files_come_the_archive_is_that_of_all(tmp_path_factory, data):
    tmp_path = tmp_path_factory.mktemp("gaps")
    (tmp_path / "input").mkdir()
    config = configured(tmp_path, longest_gap="1d")
    cuts = [0, *sorted(data.draw(st.sets(st.integers(1, 29), min_size=4, max_size=4))), 30]
    spans = [range(first, last) for first, last in itertools.pairwise(cuts)]
    order = [0, *data.draw(st.permutations(range(1, 5)))]
    came = []
    for number in order:
        frames(spans[number]).to_netcdf(tmp_path / "input" / f"{number}.nc")
        came.append(number)
        if number == 0 or data.draw(st.booleans()):
            assert ingest(config).rejected == ()
            check_holds(config, itertools.chain(*(spans[one] for one in came)))
    ingest(config)
    check_holds(config, range(30))


def test_statistics_and_climatology_are_those_of_the_frames_that_are_there(tmp_path, folder):
    config = configured(tmp_path)
    frames([*range(10), *range(14, 40)]).to_netcdf(folder / "a.nc")
    ingest(config)

    def statistics():
        dataset, snapshot_id = stored(config), archive.head(config.archive_path)
        train = make_splits(dataset, config.split, config.gap).train
        kept = training_statistics(config, snapshot_id, dataset, NAMES, train)
        assert kept.to_dict() == compute_statistics(dataset, NAMES, train, snapshot_id=snapshot_id).to_dict()
        return kept, fit_climatology(dataset, NAMES, train), train

    with_gap, normal, train = statistics()
    hours = [hour for hour in train.frames.range if not 10 <= hour < 14]
    valid = ~np.isnan(VALUES[0])
    assert with_gap.state.count[0] == len(hours) * valid.sum()
    assert with_gap.state.mean[0] == pytest.approx(VALUES[hours][:, valid].mean(), rel=1e-6)
    steps = np.concatenate([np.diff(VALUES[:10], axis=0), np.diff(VALUES[14 : train.frames.stop], axis=0)])[:, valid]
    assert with_gap.tendency.count[0] == steps.size
    assert with_gap.tendency.std[0] == pytest.approx(steps.std(), rel=1e-4)
    assert np.isfinite(normal.fields[:, :, valid]).all()
    frames(range(10, 14)).to_netcdf(folder / "b.nc")
    ingest(config)
    assert statistics()[0].state.count[0] == train.frames.size * valid.sum()  # brought up to date by what was filled


@given(
    there=st.lists(st.booleans(), min_size=1, max_size=40), length=st.integers(1, 8), stride=st.integers(1, 5),
    cut=st.integers(0, 5),
)  # fmt: skip
def test_no_window_touches_a_gap_and_none_is_lost_that_does_not(there, length, stride, cut):
    gaps = tuple(Span(*one) for one in gaps_of(np.array(there)))
    split = Split("train", Span(0, 1), Span(cut, len(there)), gaps)
    every = range(cut, len(there) - length + 1, stride)
    expected = [start for start in every if all(there[start : start + length])]
    if expected:
        assert [one.start for one in windows(split, length, stride)] == expected
    else:
        with pytest.raises(ConfigError, match="but a window needs"):
            windows(split, length, stride)
    assert windows_lost(split, length, stride) == len(every) - len(expected)


def test_forecasts_start_after_a_whole_history_and_truth_is_missing_where_it_is(tmp_path, folder):
    config = configured(tmp_path)
    frames([*range(20), *range(22, 25)]).to_netcdf(folder / "a.nc")
    ingest(config)
    reader = FrameReader(config.archive_path, None, NAMES, [], [280.0, 280.0], cache_bytes=0)
    assert newest_start(reader, 4, 2) == (START + np.timedelta64(19, "h"),)
    assert newest_start(reader, 3, 2) == (START + np.timedelta64(24, "h"),)
    assert cases_at(reader, 3) == [Window(0, 22)]
    with pytest.raises(ForecastError, match="T23:00 cannot be started from: 2 of its history of 4 frames are missing"):
        cases_at(reader, 4, [START + np.timedelta64(23, "h")])
    truth = frames_at(reader, [Window(0, 18)], 6)[0]
    assert np.isnan(truth[2:4]).all()
    assert np.isfinite(truth[[0, 1, 4, 5]][..., 3:, :]).all()
    snapshot_id = archive.head(config.archive_path)
    assert newest_until(config.archive_path, snapshot_id, "2020-01-02", 4) == "2020-01-01T19:00:00"
    assert newest_until(config.archive_path, snapshot_id, "2020-01-02", 3) == "2020-01-02T00:00:00"
    with pytest.raises(ForecastError, match="no 21 frames in a row that end until 2020-01-02; choose"):
        newest_until(config.archive_path, snapshot_id, "2020-01-02", 21)
    known_ahead = FrameReader(config.archive_path, None, ["t"], [], [280.0], 0, forcing_variables={"q": 280.0})
    assert newest_start(known_ahead, 4, 2) == (START + np.timedelta64(17, "h"),)
    with pytest.raises(ForecastError, match="forcing 'q' within a gap"):
        known_ahead.require_forcing(18, 2)


def test_check_says_how_many_windows_are_lost(tmp_path, folder):
    config = configured(tmp_path)
    frames([*range(30), *range(33, 96)]).to_netcdf(folder / "a.nc")
    ingest(config)
    frames(range(31, 33)).to_netcdf(folder / "b.nc")
    with rehearse(config) as foretold:
        axes = after_ingest(config, foretold)
    splits = make_splits(axes, config.split, config.gap)
    finding = gaps_finding(axes, splits, 6, 1)
    assert finding.found == (
        "1 in time, 1 of 96 frames are missing, the longest from 2020-01-02T06:00 to 2020-01-02T06:00; windows lost to "
        "them: 6 of train, 0 of validation, 0 of test"
    )


def test_an_outage_of_the_sensors_is_a_gap_in_their_table(tmp_path, folder):
    hours, stations = (one.ravel() for one in np.meshgrid(np.arange(24), np.arange(6), indexing="ij"))
    times = START + hours * np.timedelta64(1, "h")
    table = pd.DataFrame(
        {"station": stations, "time": times, "lat": 1.0 + stations, "lon": 2.0, "t": 280.0 + stations + hours % 5}
    )
    table[(hours < 10) | (hours > 12)].to_csv(folder / "a.csv", index=False)
    tree = {
        "name": "stations",
        "root": str(tmp_path / "runs"),
        "boundary": "closed",
        "source": {"path": str(folder), "files": ["*.csv"]},
        "sensors": {"lat": [1, 6, 1], "lon": [1, 3, 1]},
        "variables": {"t": {"units": "K"}},
    }
    strict = check_config({**tree, "source": {**tree["source"], "max_rejected_share": 1.0}})
    with pytest.raises(Exception, match=r"Q-TIME.*T13:00 follows 2020-01-01T09:00.*quality\.longest_gap"):
        ingest(strict)
    config = check_config({**tree, "quality": {"longest_gap": "3h"}})
    assert ingest(config).appended == 21
    assert gaps_of(present(stored(config))) == [(10, 13)]


@given(
    start=st.integers(0, 10_000), count=st.integers(0, 50), step=st.sampled_from([1, 60, 3600, 86_400]),
    dated=st.booleans(),
)  # fmt: skip
def test_between_two_times_lie_those_of_the_cadence(start, count, step, dated):
    before = np.datetime64(start, "s") if dated else np.float64(start)
    after = before + np.timedelta64((count + 1) * step, "s") if dated else before + (count + 1.0) * step
    times = Cadence(seconds=float(step)).between(before, after)
    expected = start + step * np.arange(1, count + 1)
    np.testing.assert_array_equal(times.astype("int64"), expected)
    half = np.timedelta64(1, "s") * (step // 2) if dated else step / 2
    if step > 1:
        assert Cadence(seconds=float(step)).between(before, after + half) is None


def test_between_two_months_lie_months():
    times = Cadence(months=1).between(np.datetime64("2020-01-31", "s"), np.datetime64("2020-05-01", "s"))
    assert times.astype("datetime64[D]").astype(str).tolist() == ["2020-02-29", "2020-03-31", "2020-04-30"]


@pytest.mark.parametrize(
    ("period", "absent", "allowed"),
    [
        (["2020-01-02", "2020-01-03"], range(24, 72), True),
        (["2020-01-02", "2020-01-03"], range(24, 73), False),
        (["2020-01-02", "2020-01-03T12"], range(24, 61), True),
        (["2020-01-02", "2020-01-03T12"], range(24, 62), False),
        (["2020-01-02T00:00Z", "2020-01"], range(24, 72), True),
    ],
)
def test_a_period_lasts_as_long_as_what_it_names(period, absent, allowed):
    policy = GapPolicy.of(QualityConfig(allowed_gaps=[period]))
    times = START + np.array([absent[0] - 1, absent[-1] + 1]) * np.timedelta64(1, "h")
    assert (policy.row(times, Cadence(seconds=3600.0)).count == 2) is allowed


@pytest.mark.parametrize(
    ("quality", "message"),
    [
        ({"longest_gap": "6"}, "longest_gap"),
        ({"allowed_gaps": [["2020-01-02", "2020-01-01"]]}, "must end after it begins, got 2020-01-02 to 2020-01-01"),
        ({"allowed_gaps": [["monday", "tuesday"]]}, r"must be dates like 2023-03-01 .*, got monday, tuesday"),
    ],
)
def test_a_gap_that_is_none_is_refused(tmp_path, quality, message):
    with pytest.raises(ConfigError, match=message):
        configured(tmp_path, **quality)


@pytest.mark.parametrize(
    ("section", "made"),
    [({"source": {"path": "x", "resample": {"step": "3h"}}}, "source.resample"),
     ({"source": {"path": "x"}, "variables": {"t": {"units": "kg m-2 s-1", "derive": "rate"}}}, "variables.t.derive")],
)  # fmt: skip
def test_gaps_do_not_go_with_frames_that_are_made_of_several(section, made):
    tree = {"name": "x", "boundary": "closed", "variables": {"t": {"units": "K"}}, "quality": {"longest_gap": "6h"}}
    with pytest.raises(ConfigError, match=f"do not go with {made}"):
        check_config({**tree, **section})
