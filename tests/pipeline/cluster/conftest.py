"""A private Ray for each file of tests of this folder."""

from collections.abc import Iterator

import pytest

from pipeline.cluster import Cluster, connect


@pytest.fixture(scope="module")  # one that lived on would be in the way of the next folder's
def ray_cluster() -> Iterator[Cluster]:
    """Two CPUs of this machine."""
    with connect(cpus=2) as found:
        yield found
