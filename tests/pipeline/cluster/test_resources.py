"""What fits a cluster, and in which words it is said that something does not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.cluster import Cluster, Node
from pipeline.errors import ClusterError


def of(*nodes: tuple[int, int]) -> Cluster:
    """A cluster of nodes with so many CPUs and GPUs."""
    return Cluster(tuple(Node(str(n), "host", cpus, gpus) for n, (cpus, gpus) in enumerate(nodes)), local=False)


@pytest.mark.parametrize(
    ("have", "workers", "threads", "gpu", "said"),
    [
        (of((4, 0)), 3, 2, False, "3 workers of 2 threads need 6 CPUs, the cluster has 4; lower"),
        (of((2, 1), (2, 0)), 2, 1, True, "training.workers=2 with training.gpu=true needs 2 GPUs, the cluster has 1"),
        (
            of((3, 0), (3, 0)),
            3,
            2,
            False,
            "3 workers of 2 threads do not fit the cluster's nodes (3 CPUs and 0 GPUs, 3",
        ),
        (
            of((1, 2), (8, 0)),
            2,
            1,
            True,
            "2 workers of 1 threads and a GPU do not fit the cluster's nodes (1 CPUs and 2",
        ),
    ],
)
def test_what_is_missing_is_named(have, workers, threads, gpu, said):
    with pytest.raises(ClusterError) as error:
        have.require(workers, threads, gpu)
    assert said in str(error.value)


def test_what_fits_is_not_refused():
    of((4, 0)).require(2, 2)
    of((4, 2)).require(2, 2, True)
    of((2, 1), (2, 1)).require(2, 2, True)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=5), st.integers(1, 12))
def test_workers_get_the_most_threads_that_fit(cpus, workers):
    cluster = of(*((count, 0) for count in cpus))
    threads = cluster.threads_for(workers)
    if sum(cpus) < workers:
        assert threads == 1
    else:
        cluster.require(workers, threads)
        with pytest.raises(ClusterError):
            cluster.require(workers, threads + 1)
