"""Input by URL: fetched over HTTP from a server of this machine, and Zarr read where it is."""

import functools
import hashlib
import http.server
import json
import threading
import time
from pathlib import Path

import fsspec
import numpy as np
import pytest
import xarray as xr

from pipeline import archive
from pipeline.config import check_config
from pipeline.errors import ConfigError, SourceError
from pipeline.ingest import ingest, rehearse
from pipeline.quarantine import entries

VALUES = np.random.default_rng(3).normal(280, 5, (72, 8, 10)).astype("float32")


def fields(first, last):
    times = np.datetime64("2020-01-01T00", "ns") + np.arange(first, last) * np.timedelta64(1, "h")
    return xr.Dataset(
        {"t": (("time", "lat", "lon"), VALUES[first:last].copy(), {"units": "K"})},
        {"time": times, "lat": np.linspace(40, 47, 8), "lon": np.linspace(-10, -1, 10)},
    )


def settings(tmp_path, url, **source):
    return check_config(
        {
            "name": "test",
            "root": str(tmp_path / "runs"),
            "boundary": "closed",
            "source": {"path": url, **source},
            "variables": {"t": {"units": "K"}},
        }
    )


def stored(config):
    return archive.open_dataset(config.archive_path)["t"].values


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder, notes what was got, and answers names that are in `status` with that."""

    def do_GET(self):
        self.answer(super().do_GET, self.server.got)

    def do_HEAD(self):
        self.answer(super().do_HEAD, [])

    def answer(self, serve, noted):
        name = self.path.rpartition("/")[2]
        if name in self.server.status:
            self.send_error(self.server.status[name])
        else:
            noted.append(self.path)
            serve()

    def log_message(self, *words):
        pass


@pytest.fixture
def served(tmp_path):
    folder = tmp_path / "served" / "data"
    folder.mkdir(parents=True)
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Handler, directory=str(tmp_path / "served"))
    )
    server.got, server.status, server.folder = [], {}, folder
    server.url = f"http://127.0.0.1:{server.server_port}/data"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def days(folder, *numbers):
    for day in numbers:
        fields(24 * day, 24 * day + 24).to_netcdf(folder / f"2020010{day + 1}.nc", engine="netcdf4")


def gotten(server):
    found = sorted({Path(path).name for path in server.got if path.endswith((".nc", ".csv"))})
    server.got.clear()
    return found


def here(config):
    return sorted(path.name for path in config.source_path.rglob("*.nc*") if path.suffix == ".nc")


def test_files_are_fetched_once_and_removed_when_they_are_in_the_archive(served, tmp_path):
    days(served.folder, 0, 1)
    config = settings(tmp_path, served.url)
    assert len(ingest(config).committed) == 2
    assert gotten(served) == ["20200101.nc", "20200102.nc"]
    assert here(config) == []
    result = ingest(config)
    assert [path.name for path in result.skipped] == ["20200101.nc", "20200102.nc"]
    assert gotten(served) == []
    days(served.folder, 2)
    assert ingest(config).appended == 24
    assert gotten(served) == ["20200103.nc"]
    np.testing.assert_array_equal(stored(config), VALUES)


def test_what_waits_or_is_rejected_stays_and_is_not_fetched_again(served, tmp_path):
    days(served.folder, 0, 2)
    (served.folder / "20200102.nc").write_bytes(b"<html>404</html>")
    config = settings(tmp_path, served.url)
    result = ingest(config)
    assert [one.rule for one in (*result.waiting, *result.rejected)] == ["Q-GAP", "Q-NOT-NETCDF"]
    assert len(entries(config.quarantine_path)) == 1
    assert here(config) == ["20200102.nc", "20200103.nc"]
    gotten(served)
    ingest(config)
    assert gotten(served) == []
    days(served.folder, 1)
    assert ingest(config).appended == 48
    assert gotten(served) == ["20200102.nc"]
    np.testing.assert_array_equal(stored(config), VALUES)
    assert here(config) == []


def test_a_file_that_changed_here_is_fetched_again(served, tmp_path):
    days(served.folder, 0, 2)
    config = settings(tmp_path, served.url)
    ingest(config)
    waiting = config.source_path / "20200103.nc"
    whole = waiting.read_bytes()
    waiting.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    gotten(served)
    ingest(config)
    assert gotten(served) == ["20200103.nc"]
    assert waiting.read_bytes() == whole


def test_only_files_that_can_be_new_are_fetched(served, tmp_path):
    days(served.folder, 0, 1)
    config = settings(tmp_path, served.url, files=["{time:%Y%m%d}.nc"])
    ingest(config)
    gotten(served)
    for path in (config.source_path / ".records").iterdir():
        path.unlink()
    days(served.folder, 2)
    assert ingest(config).appended == 24
    assert gotten(served) == ["20200102.nc", "20200103.nc"]


def test_folders_of_the_pattern_are_looked_into(served, tmp_path):
    for day, folder in enumerate(("2020/a", "2020/b", "2021/a")):
        (served.folder / folder).mkdir(parents=True)
        days(served.folder / folder, day)
    for files, names in (
        (["2020/*/*.nc"], {"20200101.nc", "20200102.nc"}),
        (["**/*3.nc", "2020/a/20200101.nc"], {"20200101.nc", "20200103.nc"}),
        (["{time:%Y}/a/*.nc"], {"20200101.nc", "20200103.nc"}),
    ):
        with rehearse(settings(tmp_path, served.url, files=files)) as found:
            assert {path.name for path in (*found.good, *(one.path for one in found.waiting))} == names


def test_a_file_that_is_cut_on_the_way_is_no_file(served, tmp_path, monkeypatch):
    days(served.folder, 0)
    config = settings(tmp_path, served.url)

    def cut(self, source, target):
        self.wfile.write(source.read()[:1000])
        self.close_connection = True

    with monkeypatch.context() as patched:
        patched.setattr(Handler, "copyfile", lambda self, source, target: cut(self, source, target))
        with pytest.raises(SourceError, match=r"Q-UNREADABLE: .*; what was fetched is kept"):
            ingest(config)
    assert here(config) == []
    assert ingest(config).appended == 24


def test_checksums_that_are_stated_there_are_held_against_what_was_fetched(served, tmp_path):
    days(served.folder, 0, 1)
    sums = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}" for path in sorted(served.folder.iterdir())]
    (served.folder / "SHA256SUMS").write_text("\n".join(sums).replace(sums[1][:8], "00000000"))
    result = ingest(settings(tmp_path, served.url))
    assert [one.rule for one in result.rejected] == ["Q-CHECKSUM"]
    assert result.appended == 24


def test_one_file_that_is_refused_or_gone_does_not_hold_up_the_others(served, tmp_path):
    days(served.folder, 0, 1, 2)
    served.status = {"20200102.nc": 403, "20200103.nc": 404}
    config = settings(tmp_path, served.url, max_rejected_share=0.9)
    result = ingest(config)
    assert result.appended == 24
    assert [(one.rule, one.path.name) for one in result.rejected] == [
        ("Q-UNREADABLE", "20200102.nc"),
        ("Q-UNREADABLE", "20200103.nc"),
    ]
    assert "it cannot be fetched from http://127.0.0.1" in result.rejected[0].message
    served.status = {}
    assert ingest(config).appended == 48


@pytest.mark.parametrize(
    ("answer", "files", "told"),
    [
        (404, "*.nc", "Q-NO-FOLDER: http://.*/data does not exist; set source.path"),
        (403, "*.nc", "Q-UNREADABLE: http://.*/data does not let us read it .*403"),
        (500, "*.nc", "Q-UNREADABLE: http://.*/data cannot be reached .*500"),
        (None, "*.zarr", r"Q-NO-FILES: no file at http://.*/data matches \*\.zarr"),
        (None, "other.nc", r"Q-NO-FILES: no file at http://.*/data matches other\.nc"),
    ],
)
def test_what_is_wrong_with_a_place_is_one_sentence(served, tmp_path, answer, files, told):
    days(served.folder, 0)
    served.status = {name: answer for name in ("data", "") if answer}
    config = settings(tmp_path, served.url, files=[files])
    with pytest.raises(SourceError, match=told) as caught:
        ingest(config)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("files", ["*.nc", "a.nc"])
def test_a_host_that_is_not_there_is_told_soon(tmp_path, files):
    began = time.monotonic()
    with pytest.raises(SourceError, match=r"Q-UNREADABLE: http://127\.0\.0\.1:9/data cannot be reached"):
        ingest(settings(tmp_path, "http://127.0.0.1:9/data", files=[files]))
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.filterwarnings("ignore:Consolidated metadata")
def test_zarr_is_read_where_it_is(served, tmp_path, version):
    config = settings(tmp_path, served.url, files=["*.zarr"])
    fields(0, 24).to_zarr(served.folder / "a.zarr", zarr_format=version, group="inner" if version == 3 else None)
    config = settings(tmp_path, served.url, files=["*.zarr"], group="inner" if version == 3 else None)
    assert ingest(config).appended == 24
    assert [path.name for path in ingest(config).skipped] == ["a.zarr"]
    fields(24, 72).to_zarr(
        served.folder / "a.zarr", append_dim="time", zarr_format=version, group="inner" if version == 3 else None
    )
    assert ingest(config).appended == 48
    np.testing.assert_array_equal(stored(config), VALUES)
    assert not any(path.is_dir() for path in config.source_path.iterdir() if path.name != ".records")


def test_any_protocol_of_fsspec_is_read(tmp_path):
    system = fsspec.filesystem("memory")
    try:
        days(tmp_path, 0)
        system.put(str(tmp_path / "20200101.nc"), "/bucket/in/20200101.nc")
        fields(24, 72).to_zarr("memory://bucket/in/rest.zarr", consolidated=False)
        config = settings(tmp_path, "memory://bucket/in/", files=["*"])
        assert ingest(config).appended == 72
        np.testing.assert_array_equal(stored(config), VALUES)
        assert ingest(config).appended == 0
    finally:
        system.rm("/bucket", recursive=True)


def test_a_file_cannot_send_us_elsewhere(served, tmp_path):
    (served.folder / "a.nc").write_text(json.dumps({"zarr": "http://127.0.0.1:9/other.zarr"}))
    days(served.folder, 1)
    result = ingest(settings(tmp_path, served.url))
    assert [one.rule for one in result.rejected] == ["Q-TRUNCATED"]


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("https://ann:secret@host/data", "credentials"),
        ("https://host/data?signature=secret", "goes on after '/data'"),
    ],
)
def test_a_url_with_secrets_is_refused_without_repeating_them(tmp_path, url, told):
    with pytest.raises(ConfigError, match=told):
        settings(tmp_path, url)


def test_a_protocol_that_nobody_knows(tmp_path):
    with pytest.raises(ConfigError, match=r"source\.path nowhere://bucket cannot be read"):
        ingest(settings(tmp_path, "nowhere://bucket"))


def test_a_file_url_is_a_folder(tmp_path):
    days(tmp_path, 0)
    config = settings(tmp_path, f"file://{tmp_path}")
    assert config.source_path == tmp_path
    assert ingest(config).appended == 24
    assert (tmp_path / "20200101.nc").exists()
