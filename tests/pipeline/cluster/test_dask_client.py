"""Dask on processes: the same bytes as with threads, whoever is killed; what is wrong with a cluster in a sentence."""

from __future__ import annotations

import os
import signal
import socket
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import xarray as xr
import zarr
from distributed import LocalCluster
from distributed.versions import get_versions

from pipeline import archive
from pipeline.archive.repository import readonly_store
from pipeline.cluster import dask_client, dask_cluster, dask_processes
from pipeline.config import Config
from pipeline.errors import ClusterError, SourceError
from pipeline.ingest import ingest
from workflows.console import Console
from workflows.context import Context


@pytest.fixture
def two_files(time_config, tmp_path):
    """A configuration whose source are two files that continue each other."""
    (tmp_path / "source").mkdir()
    with xr.open_dataset(time_config.source_path / "weather.nc") as weather:
        for number, part in enumerate((slice(0, 100), slice(100, 240))):
            weather.isel(time=part).to_netcdf(tmp_path / "source" / f"{number}.nc")
    source = time_config.source.model_copy(update={"path": tmp_path / "source"})
    return time_config.model_copy(update={"source": source})


@pytest.fixture
def address():
    """A Dask cluster on loopback that is not ours."""
    with LocalCluster(
        n_workers=1, threads_per_worker=2, processes=True, host="127.0.0.1", dashboard_address="127.0.0.1:0"
    ) as cluster:
        yield cluster.scheduler_address


def by(config: Config, root: Path, **compute) -> Config:
    """The same, elsewhere and computed otherwise."""
    return config.model_copy(
        update={"root": root, "compute": type(config.compute).model_validate({"cache_bytes": 0, **compute})}
    )


def checksums(path: Path) -> dict[str, bytes]:
    """The recorded sha256 of every committed chunk."""
    group = zarr.open_group(readonly_store(path, None), mode="r")["checksums"]
    found = {name: np.asarray(array[:]).tobytes() for name, array in group.arrays()}
    assert {"t2m", "q2m", "time"} <= set(found)
    assert archive.verify(path).damaged == ()
    return found


def ingested(config: Config) -> dict[str, bytes]:
    """What an ingest commits as the commands run it."""
    with Context(config, Console(quiet=True)).dask() as scheduler:
        assert ingest(config, scheduler=scheduler).appended == 240
    return checksums(config.archive_path)


@pytest.mark.slow
def test_the_same_bytes_by_threads_processes_and_a_scheduler(two_files, address, tmp_path):
    first = ingested(by(two_files, tmp_path / "threads"))
    ways = {
        "processes": {"dask": "processes", "processes": 2},
        "address": {"dask": address},
        "kept": {"cache_bytes": 2**30},
    }
    for name, compute in ways.items():
        assert ingested(by(two_files, tmp_path / name, **compute)) == first, name


@pytest.mark.slow
def test_a_file_that_cannot_be_read_is_named_as_well(two_files, tmp_path):
    path = two_files.source_path / "1.nc"
    squeezed = {"zlib": True, "chunksizes": (24, 6, 8)}
    xr.load_dataset(path).to_netcdf(path, encoding={"t2m": squeezed, "q2m": squeezed})
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2 : len(damaged) // 2 + 2000] = bytes(2000)
    path.write_bytes(damaged)
    strict = two_files.model_copy(update={"source": two_files.source.model_copy(update={"max_rejected_share": 0.0})})
    said = []
    with dask_processes(1) as elsewhere:
        for name, scheduler in (("here", "threads"), ("there", elsewhere)):
            with pytest.raises(SourceError, match=r"Q-TRUNCATED: 1\.nc: variable .* cannot be read at time") as error:
                ingest(by(strict, tmp_path / name), scheduler=scheduler)
            said.append(str(error.value))
    assert said[0] == said[1]


def workers() -> list[psutil.Process]:
    """The processes that Dask spawned for this one."""
    return [one for one in psutil.Process().children(recursive=True) if "spawn_main" in " ".join(one.cmdline())]


@pytest.mark.slow
def test_killed_workers_are_replaced_and_their_work_is_done_again(two_files, tmp_path):
    first = ingested(by(two_files, tmp_path / "threads"))
    config, killed = by(two_files, tmp_path / "killed"), []

    def kill(event):
        if not killed and event.unit == "files" and event.done == 1:
            for one in workers():
                os.kill(one.pid, signal.SIGKILL)
                killed.append(one.pid)

    with dask_processes(2) as scheduler:
        ingest(config, kill, scheduler)
    assert len(killed) == 2
    assert checksums(config.archive_path) == first


@pytest.mark.slow
def test_workers_killed_again_and_again_end_the_ingest_with_nothing_committed_and_no_file_blamed(
    two_files, tmp_path, monkeypatch
):
    from pipeline.ingest import judgement

    harmonise = judgement.harmonise

    def deadly(*arguments):
        def die(values):
            import os

            os._exit(9)

        fields = harmonise(*arguments)
        fields["t2m"].data = fields["t2m"].data.map_blocks(die, dtype="float32", meta=np.empty((0, 0, 0), "float32"))
        return fields

    config = by(two_files, tmp_path / "deadly")
    with dask_processes(2) as scheduler:
        first = ingest(config, scheduler=scheduler, only=[two_files.source_path.absolute() / "0.nc"]).snapshot_id
        monkeypatch.setattr(judgement, "harmonise", deadly)
        with pytest.raises(ClusterError, match=r"lost again and again.*nothing was committed"):
            ingest(config, scheduler=scheduler)
    assert archive.head(config.archive_path) == first
    assert not list(config.quarantine_path.glob("*.json"))


@pytest.mark.slow
def test_processes_listen_on_loopback_only_and_end_with_the_body(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with dask_processes(1):
        ours = [psutil.Process(), *psutil.Process().children(recursive=True)]
        places = [c.laddr for one in ours for c in one.net_connections("inet") if c.status == psutil.CONN_LISTEN]
        assert len(places) >= 3  # scheduler, nanny and worker
        assert {place.ip for place in places} == {"127.0.0.1"}
        assert 8787 not in {place.port for place in places}
        assert len(workers()) == 1
    assert workers() == []
    assert list(tmp_path.iterdir()) == []


def test_nothing_at_the_address_is_one_sentence_at_once():
    began = time.monotonic()
    with pytest.raises(ClusterError, match=r"^there is no Dask scheduler at tcp://127\.0\.0\.1:1 \(.*refused\); start"):
        dask_cluster("tcp://127.0.0.1:1").__enter__()
    assert time.monotonic() - began < 5


def test_something_else_at_the_address_is_one_sentence(monkeypatch):
    monkeypatch.setattr(dask_client, "JOIN_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        place = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(ClusterError, match="is no Dask scheduler that answers"):
            dask_cluster(place).__enter__()


@pytest.mark.slow
def test_no_workers_and_inputs_that_they_do_not_see(monkeypatch, address, tmp_path):
    with (
        pytest.raises(ClusterError, match=r"the Dask worker at tcp://127.* cannot read .*nowhere; every worker needs"),
        dask_cluster(address, [tmp_path, tmp_path / "nowhere"]),
    ):
        pass
    monkeypatch.setattr(dask_client, "WORKERS_SECONDS", 0.2)
    with (
        LocalCluster(
            n_workers=0, processes=False, host="127.0.0.1", protocol="tcp", dashboard_address="127.0.0.1:0"
        ) as empty,
        pytest.raises(ClusterError, match=r"has no workers after .* start some with 'dask worker tcp://127"),
        dask_cluster(empty.scheduler_address),
    ):
        pass


@pytest.mark.parametrize("place", ["scheduler", "worker"])
@pytest.mark.parametrize(("name", "version"), [("dask", "2020.1.0"), ("minconv-pipeline", None), ("python", "3.9.1")])
def test_other_versions_are_named(place, name, version):
    def found():
        return get_versions(packages=dask_client._ALIKE)

    alike = {"client": found(), "scheduler": found(), "workers": {"tcp://10.0.0.2:1": found()}}
    dask_client._require_versions(alike, "tcp://10.0.0.1:8786")
    other = alike["scheduler"] if place == "scheduler" else alike["workers"]["tcp://10.0.0.2:1"]
    other["packages"][name] = version
    said = rf"the {place} at tcp://10.* runs {name} (3\.9|2020\.1\.0|not at all), expected .* as here; install the same"
    with pytest.raises(ClusterError, match=said):
        dask_client._require_versions(alike, "tcp://10.0.0.1:8786")
