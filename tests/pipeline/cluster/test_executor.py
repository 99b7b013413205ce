"""Work on Ray: the same results as in this process, and its errors as they were raised."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
from pathlib import Path

import pytest
import xarray as xr

from pipeline import archive
from pipeline.cluster import Cluster, Node, RayExecutor
from pipeline.errors import ClusterError, ForecastError, SourceError
from pipeline.evaluation import evaluate
from pipeline.executor import IN_PROCESS
from pipeline.forecast import forecast
from pipeline.ingest import ingest

pytestmark = pytest.mark.cluster


@pytest.fixture
def executor(ray_cluster):
    return RayExecutor(ray_cluster, workers=2, threads=1)


def test_results_come_in_order_from_processes_that_make_once(executor):
    def make():
        made = []

        def work(item):
            made.append(item)
            return item, os.getpid(), made[0]

        return work

    results = list(executor.map(make, range(40)))
    assert [item for item, _, _ in results] == list(range(40))
    first = {pid: item for _, pid, item in reversed(results)}
    assert os.getpid() not in first
    assert all(first[pid] == made for _, pid, made in results)


def test_an_error_of_ours_arrives_as_it_was_raised(executor):
    def fail():
        raise ForecastError("no such sample; choose one of these")

    with pytest.raises(ForecastError, match=r"^no such sample; choose one of these$"):
        executor.run(fail)


def test_a_process_that_is_lost_is_replaced_and_its_item_done_again(executor, tmp_path):
    def make():
        def work(item):
            if item == 2 and not (tmp_path / "died").exists():
                (tmp_path / "died").touch()
                os._exit(1)
            return item

        return work

    assert list(executor.map(make, range(5))) == list(range(5))
    assert (tmp_path / "died").exists()


def test_processes_that_are_lost_again_and_again_are_one_sentence(executor):
    with pytest.raises(ClusterError, match=r"lost again and again.*lower training\.workers"):
        executor.run(functools.partial(os._exit, 1))


def test_more_than_there_is_is_refused(ray_cluster):
    with pytest.raises(ClusterError, match="3 workers of 1 threads need 3 CPUs, the cluster has 2"):
        list(RayExecutor(ray_cluster, workers=3, threads=1).map(lambda: abs, range(9)))


def test_what_others_use_is_waited_for_and_then_said(ray_cluster, monkeypatch):
    import ray

    monkeypatch.setattr("pipeline.cluster.resources.ROOM_SECONDS", 2.0)

    class Busy:
        def ready(self):
            return True

    busy = ray.remote(num_cpus=2)(Busy).remote()
    ray.get(busy.ready.remote())
    joined = dataclasses.replace(ray_cluster, local=False)
    try:
        with pytest.raises(ClusterError, match=r"1 workers of 1 threads fit the cluster, but other work held"):
            RayExecutor(joined, workers=1, threads=1).run(os.getpid)
    finally:
        ray.kill(busy)
    assert RayExecutor(joined, workers=1, threads=1).run(os.getpid) != os.getpid()


def digest(path: Path) -> dict[str, str]:
    """Of every value and attribute of an archive."""
    with archive.open_dataset(path) as dataset:
        values = {str(name): data.values.tobytes() for name, data in dataset.variables.items()}
        found = {name: hashlib.sha256(value).hexdigest() for name, value in values.items()}
        return {**found, "attributes": json.dumps(dataset.to_dict(data=False), sort_keys=True, default=str)}


def chunks(path: Path) -> list[str]:
    """The bytes of all stored chunks, whatever their names."""
    return sorted(hashlib.sha256(file.read_bytes()).hexdigest() for file in (path / "chunks").iterdir())


def test_an_ingest_by_dask_on_ray_stores_the_same_bytes(executor, time_config, tmp_path):
    (tmp_path / "source").mkdir()
    with xr.open_dataset(time_config.source_path / "weather.nc") as weather:
        for number, part in enumerate((slice(0, 100), slice(100, 240))):
            weather.isel(time=part).to_netcdf(tmp_path / "source" / f"{number}.nc")
    source = time_config.source.model_copy(update={"path": tmp_path / "source"})
    configs = [time_config.model_copy(update={"root": tmp_path / name, "source": source}) for name in ("here", "ray")]
    results = [ingest(c, scheduler=e.dask) for c, e in zip(configs, (IN_PROCESS, executor), strict=True)]
    assert [(len(result.committed), result.appended) for result in results] == [(2, 240)] * 2
    here, there = (config.archive_path for config in configs)
    assert digest(here) == digest(there)
    assert chunks(here) == chunks(there)


def test_a_file_that_cannot_be_read_is_named_as_well_by_dask_on_ray(executor, time_config, tmp_path):
    path = tmp_path / "source" / "bad.nc"
    path.parent.mkdir()
    with xr.open_dataset(time_config.source_path / "weather.nc") as weather:
        weather.to_netcdf(path, encoding={name: {"zlib": True, "chunksizes": (24, 6, 8)} for name in ("t2m", "q2m")})
    damaged = bytearray(path.read_bytes())
    middle = len(damaged) // 2
    damaged[middle : middle + 2000] = bytes(2000)
    path.write_bytes(damaged)
    source = time_config.source.model_copy(update={"path": path.parent})
    said = []
    for name, scheduler in (("here", IN_PROCESS.dask), ("ray", executor.dask)):
        config = time_config.model_copy(update={"root": tmp_path / name, "source": source})
        with pytest.raises(SourceError, match=r"Q-TRUNCATED: bad\.nc: variable .* cannot be read at time") as error:
            ingest(config, scheduler=scheduler)
        said.append(str(error.value))
    assert said[0] == said[1]


def test_evaluation_and_forecast_are_the_same_bit_for_bit(executor, time_config, time_model, snapshot_of):
    small = time_config.model_copy(update={"evaluation": time_config.evaluation.model_copy(update={"batch_size": 3})})
    events: list[int] = []
    snapshot_id = snapshot_of(small)
    here = evaluate(time_model, small, snapshot_id)
    there = evaluate(time_model, small, snapshot_id, lambda event: events.append(event.done), executor)
    assert there.to_json() == here.to_json()
    assert events == [*range(3, here.cases, 3), here.cases]
    work = functools.partial(forecast, time_model, small, snapshot_id)
    xr.testing.assert_identical(executor.run(work), work())


def test_a_cluster_of_no_nodes_has_nothing():
    with pytest.raises(ClusterError, match="the cluster has 0"):
        Cluster((), local=False).require(1, 1)
    assert Cluster((Node("a", "host", 0),), local=False).threads_for(2) == 1
