"""Tables of a few hundred sensors with the faults that such have."""

import numpy as np
import pandas as pd
import pytest

from pipeline import archive
from pipeline.config import check_config
from pipeline.config_sensors import SensorConfig
from pipeline.errors import ConfigError, SourceError
from pipeline.ingest import ingest
from pipeline.sources import open_table

DAY = np.datetime64("2020-01-01T00", "ns")
STATIONS, HOURS = 300, 24


def truth(lat, lon, hour):
    return 280.0 + 0.5 * (lat - 52.0) + 0.3 * lon + 3.0 * np.sin(2 * np.pi * hour / 24)


def made(day=0, faults=True):
    """Readings every 30 minutes, temperature in degC; the first stations are faulty, each tenth in another way."""
    rng = np.random.default_rng(day)
    places = np.random.default_rng(5)
    lat, lon = places.uniform(49, 57, STATIONS), places.uniform(-5, 3, STATIONS)
    station, tick = (one.ravel() for one in np.meshgrid(np.arange(STATIONS), np.arange(2 * HOURS), indexing="ij"))
    times = DAY + (day * 48 + tick) * np.timedelta64(30, "m") + np.timedelta64(5, "m")
    temperature = truth(lat[station], lon[station], tick // 2) - 273.15 + rng.normal(0, 0.1, len(tick))
    table = pd.DataFrame({"id": station, "when": times, "lat": lat[station], "lon": lon[station], "temp": temperature})
    if not faults:
        return table
    table.loc[station < 10, "temp"] = table.loc[station < 10, "temp"] * 1.8 + 32 + 50  # not degC at all
    table.loc[(station >= 10) & (station < 20) & (tick % 3 == 0), "temp"] = np.nan
    table.loc[(station >= 20) & (station < 30) & (tick % 5 == 0), "temp"] = -9999.0
    gone = (station >= 30) & (station < 40) & (tick >= 10)
    drifting = (station >= 40) & (station < 50)
    table.loc[drifting, "when"] += pd.to_timedelta(tick[drifting] * 10, unit="s")
    table.loc[(station == 50), "when"] = pd.Timestamp("1970-01-01") + pd.to_timedelta(tick[station == 50], unit="h")
    table.loc[(station == 51), "lat"] = 999.0
    again = table[(station >= 60) & (station < 70)]
    contradicting = table[(station >= 70) & (station < 75)].assign(temp=lambda rows: rows["temp"] + 8)
    table = pd.concat([table[~gone], again, contradicting])
    return table.sample(frac=1.0, random_state=1)


SENSORS = {
    "lat": [49.5, 56.5, 1.0],
    "lon": [-4.5, 2.5, 1.0],
    "columns": {"station": "id", "time": "when"},
    "units": {"temp": "degC"},
}


def settings(tmp_path, **sensors):
    return check_config(
        {
            "name": "test",
            "root": str(tmp_path / "runs"),
            "boundary": "closed",
            "source": {"path": str(tmp_path / "input"), "files": ["*.csv", "*.parquet"]},
            "sensors": {**SENSORS, **sensors},
            "variables": {
                "t2m": {"units": "K", "source_name": "temp", "valid_range": [250, 310]},
                "stations": {"units": "1", "source_name": "temp_count", "role": "diagnostic"},
                "age": {"units": "h", "source_name": "temp_age", "role": "diagnostic"},
            },
        }
    )


@pytest.mark.parametrize("method", ["nearest", "inverse_distance", "bin_mean"])
def test_faulty_tables_become_fields_near_the_truth(tmp_path, method):
    folder = tmp_path / "input"
    folder.mkdir()
    made(0).to_csv(folder / "a.csv", index=False)
    made(1).to_parquet(folder / "b.parquet")
    config = settings(tmp_path, method=method)
    result = ingest(config)
    assert result.rejected == ()
    # the drifting clocks reach into the next day with too few stations to make a frame of it
    assert result.appended == 2 * HOURS
    fields = archive.open_dataset(config.archive_path)
    hour = np.arange(2 * HOURS)[:, None, None]
    expected = truth(fields["lat"].values[None, :, None], fields["lon"].values[None, None, :], hour)
    # a station is at most about half a cell away, where the truth differs by less than 0.6; a wrong unit is 50 off
    assert np.abs(fields["t2m"].values - expected).max() < 1.5
    assert np.sqrt(np.mean((fields["t2m"].values - expected) ** 2)) < 0.35
    # ten stations are in a wrong unit, five contradict themselves, two have no time or place, ten go within the day
    counted = fields["stations"].values.sum((1, 2))
    assert counted[0] == STATIONS - 17
    assert counted[12] == STATIONS - 27
    assert fields["age"].values.min() > 0.0
    assert fields["age"].values.max() <= 1.0


def test_a_station_that_is_silent_is_kept_for_a_while(tmp_path):
    table = made(faults=False)
    table = table[(table["id"] > 2) | (table["when"] < DAY + np.timedelta64(4, "h"))]
    path = tmp_path / "a.parquet"
    table[table["id"] < 6].to_parquet(path)
    config = settings(tmp_path, keep_hours=3)
    fields = open_table(path, config.sensors, config.variables)
    assert fields["temp_age"].max(("lat", "lon")).values[:9] == pytest.approx(
        [25 / 60] * 4 + [1 + 25 / 60, 2 + 25 / 60, 3 + 25 / 60, 25 / 60, 25 / 60]
    )


def test_clocks_that_are_a_little_off_are_put_on_the_step(tmp_path):
    """Every station reads at full hours, the clocks of some are early and of some are late."""
    hours, station = (one.ravel() for one in np.meshgrid(np.arange(HOURS), np.arange(9), indexing="ij"))
    right = pd.DataFrame({"id": station, "when": DAY + hours * np.timedelta64(1, "h"), "temp": 5.0 + hours % 7})
    right = right.assign(lat=50.0 + station % 3, lon=-3.0 + station // 3)
    off = np.select([station < 3, station < 6], [-7, 11], 0)
    right.to_parquet(tmp_path / "right.parquet")
    right.assign(when=right["when"] + pd.to_timedelta(off, unit="s")).to_parquet(tmp_path / "off.parquet")
    config = settings(tmp_path, min_stations=1)
    fields, others = (
        open_table(tmp_path / f"{name}.parquet", config.sensors, config.variables) for name in ("off", "right")
    )
    np.testing.assert_array_equal(fields["time"], others["time"])
    for name in ("temp", "temp_count"):
        np.testing.assert_array_equal(fields[name], others[name])
    assert np.abs(fields["temp_age"] - others["temp_age"]).max() <= 11 / 3600 + 1e-9
    message = f"{3 * HOURS} readings up to 7 s before the time of a frame are put on it"
    assert fields.attrs["findings"] == (("Q-FIX-CLOCK", message),)
    strict = settings(tmp_path, clock_seconds=6).sensors
    before = open_table(tmp_path / "off.parquet", strict, config.variables)["time"].values[0]
    assert before == DAY - np.timedelta64(1, "h")
    with pytest.raises(ConfigError, match="clock_seconds must be at most a quarter of step_hours"):
        settings(tmp_path, clock_seconds=901)


def test_a_station_that_reads_all_the_time_is_left_alone(tmp_path):
    seconds, station = (one.ravel() for one in np.meshgrid(np.arange(0, 7200, 45), np.arange(4), indexing="ij"))
    table = pd.DataFrame({"id": station, "when": DAY + (seconds + 20) * np.timedelta64(1, "s"), "temp": 5.0 + seconds})
    table.assign(lat=50.0 + station, lon=1.0, temp=5 + seconds % 11).to_parquet(tmp_path / "a.parquet")
    config = settings(tmp_path)
    fields = open_table(tmp_path / "a.parquet", config.sensors, config.variables)
    assert (fields.attrs["findings"], fields.sizes["time"]) == ((), 2)


def test_a_clock_that_is_early_makes_no_frame_of_the_next_day(tmp_path):
    """Files hold a day by what the clocks say: the next day's file has that frame, with all stations."""
    table = made(faults=False)
    early = table["id"] < 20
    table.loc[early, "when"] -= np.timedelta64(5 * 60 + 7, "s")
    last = table[early].groupby("id").tail(1).assign(when=DAY + np.timedelta64(86_393, "s"))
    pd.concat([table, last]).to_parquet(tmp_path / "a.parquet")
    config = settings(tmp_path)
    fields = open_table(tmp_path / "a.parquet", config.sensors, config.variables)
    assert fields["time"].values[[0, -1]].tolist() == [DAY.astype(int), (DAY + np.timedelta64(23, "h")).astype(int)]


def test_the_order_of_rows_does_not_matter(tmp_path):
    table = made()
    config = settings(tmp_path)
    fields = []
    for seed in (1, 2):
        table.sample(frac=1.0, random_state=seed).to_parquet(tmp_path / f"{seed}.parquet")
        fields.append(open_table(tmp_path / f"{seed}.parquet", config.sensors, config.variables))
    assert np.allclose(fields[0]["temp"], fields[1]["temp"], rtol=0, atol=1e-9)
    assert fields[0]["temp_count"].equals(fields[1]["temp_count"])


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (lambda table: table.drop(columns="lat"), "Q-MISSING-VARIABLE"),
        (lambda table: table.assign(temp=table["temp"] + 273.15), "Q-RANGE"),
        (lambda table: table.assign(when="yesterday"), "Q-RANGE"),
        (lambda table: table[table["id"] < 2], "Q-TIME"),
    ],
)
def test_a_table_that_is_wrong_as_a_whole_is_refused(tmp_path, change, rule):
    change(made(faults=False)).to_csv(tmp_path / "a.csv", index=False)
    config = settings(tmp_path)
    with pytest.raises(SourceError, match=rule):
        open_table(tmp_path / "a.csv", config.sensors, config.variables)


def test_a_cut_parquet_table_is_refused(tmp_path):
    made().to_parquet(tmp_path / "a.parquet")
    whole = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "a.parquet").write_bytes(whole[: len(whole) // 2])
    config = settings(tmp_path)
    with pytest.raises(SourceError, match="Q-TRUNCATED"):
        open_table(tmp_path / "a.parquet", config.sensors, config.variables)


@pytest.mark.parametrize(
    "wrong", [{"lat": [0, 0.5, 1]}, {"lat": [80, 95, 1]}, {"lon": [-180, 180, 1]}, {"lat": [0, 5, 0]}]
)
def test_a_grid_that_is_none_is_refused(wrong):
    with pytest.raises(ValueError, match=r"must|greater"):
        SensorConfig(**{**SENSORS, **wrong})
