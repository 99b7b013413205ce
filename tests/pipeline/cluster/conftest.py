"""One private Ray for the tests of this folder."""

from collections.abc import Iterator

import pytest

from pipeline.cluster import Cluster, connect


@pytest.fixture(scope="package")
def ray_cluster() -> Iterator[Cluster]:
    """Two CPUs of this machine; first asked for after the tests that connect by themselves (`test_connection`)."""
    with connect(cpus=2) as found:
        yield found
