import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.file_pattern import FilePattern

TIMES = st.datetimes(min_value=datetime.datetime(1950, 1, 1), max_value=datetime.datetime(2068, 12, 31))


@pytest.mark.parametrize(
    ("text", "name", "start"),
    [
        ("{time:%Y%m%d}.nc", "20200131.nc", (2020, 1, 31)),
        ("{time:%Y-%m-%dT%H}.nc", "2020-01-31T18.nc", (2020, 1, 31, 18)),
        ("{time:%Y/%m}/t2m_{time:%d}_*.nc", "2020/01/t2m_31_v2.nc", (2020, 1, 31)),
        ("**/a?_{time:%Y%j}.[!n]c", "x/y/ab_2020032.zc", (2020, 2, 1)),
        ("**/{time:%Y}.nc", "2020.nc", (2020, 1, 1)),
        ("{time:%Y%m%d}.nc", "20200231.nc", None),
        ("{time:%Y%m%d}.nc", "20200131xnc", None),
        ("*_{time:%Y}.nc", "a/b_2020.nc", None),
        ("*.nc", "20200131.nc", None),
    ],
)
def test_the_time_in_a_name(text, name, start):
    assert FilePattern.parse(text).start(name) == (None if start is None else datetime.datetime(*start))


@given(TIMES, st.sampled_from(["%Y%m%d", "%Y/%m/%d_%H%M%S", "%y%j", "%Y", "%Y%m"]))
def test_the_name_of_a_time_fits_and_gives_it_back(time, form):
    pattern = FilePattern.parse(f"in.(1)/{{time:{form}}}.nc")
    assert pattern.start(f"in.(1)/{time.strftime(form)}.nc") == datetime.datetime.strptime(time.strftime(form), form)


@given(st.sets(st.integers(0, 60), min_size=1, max_size=12))
def test_a_file_ends_when_the_next_begins(days):
    first = datetime.datetime(2020, 1, 1)
    starts = {day: first + datetime.timedelta(days=day) for day in days}
    pattern = FilePattern.parse("{time:%Y%m%d}.nc")
    ends = pattern.ends({day: f"{start:%Y%m%d}.nc" for day, start in starts.items()})
    assert set(ends) == days - {max(days)}
    for day, end in ends.items():
        following = min(other for other in days if other > day)
        assert end == starts[following] >= starts[day] + datetime.timedelta(days=1)


def test_versions_of_one_day_and_long_months():
    names = {name: name for name in ("a_20200101.nc", "b_20200101.nc", "a_20200102.nc", "other.nc")}
    ends = FilePattern.parse("?_{time:%Y%m%d}.nc").ends(names)
    assert ends == dict.fromkeys(("a_20200101.nc", "b_20200101.nc"), datetime.datetime(2020, 1, 2))
    hourly = FilePattern.parse("{time:%Y%m%d}_{time:%H}.nc").ends({1: "20200101_00.nc", 2: "20200101_06.nc"})
    assert hourly == {1: datetime.datetime(2020, 1, 1, 6)}


@pytest.mark.parametrize(
    "text", ["{time:%Q}.nc", "{time:%m%d}.nc", "{time:%Y.nc", "{time}.nc", "{time:%Y}{time:%Y}", "{time:}"]
)
def test_a_pattern_that_cannot_be_read(text):
    with pytest.raises(ValueError, match="time"):
        FilePattern.parse(text)
