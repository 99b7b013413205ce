"""Whether nodes see the same files: what a node finds wrong, and that nothing is left behind."""

from __future__ import annotations

import pytest

from pipeline.cluster import Cluster, Node, check_shared
from pipeline.cluster.storage import look
from pipeline.errors import ClusterError


@pytest.fixture
def notes(tmp_path):
    folder = tmp_path / "runs" / ".shared-1"
    folder.mkdir(parents=True)
    (folder / "driver").write_text("token")
    return folder


def test_a_node_that_sees_the_folder_answers_in_it(notes):
    assert look(str(notes), "token", "node", [str(notes)]) is None
    assert (notes / "node").read_text() == "token"


def test_what_a_node_does_not_see_is_named(notes, tmp_path):
    assert (
        look(str(tmp_path / "none"), "token", "node", [])
        == f"{tmp_path} is not the folder it is here (No such file or directory)"
    )
    assert look(str(notes), "another", "node", []) == f"{notes.parent} is not the folder it is here"
    assert look(str(notes), "token", "node", [str(tmp_path / "data")]) == f"it cannot read {tmp_path / 'data'}"
    assert not (notes / "node").exists()


def test_a_folder_that_cannot_be_written_is_named(notes):
    (notes / "node").mkdir()  # in the way of the answer, also for root
    assert look(str(notes), "token", "node", []) == f"it cannot write into {notes.parent} (Is a directory)"


@pytest.mark.cluster
def test_nodes_are_asked_and_nothing_is_left(ray_cluster, tmp_path):
    check_shared(ray_cluster, tmp_path / "runs", [tmp_path])
    assert list((tmp_path / "runs").iterdir()) == []
    with pytest.raises(ClusterError, match=r"node .* cannot work on this: it cannot read .*/data; every node"):
        check_shared(ray_cluster, tmp_path / "runs", [tmp_path / "data"])
    assert list((tmp_path / "runs").iterdir()) == []


@pytest.mark.cluster
def test_a_node_that_is_gone_is_named(ray_cluster, tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.cluster.storage.ANSWER_SECONDS", 10.0)
    gone = Cluster((*ray_cluster.nodes, Node("0" * 56, "10.9.8.7", 1)), local=False)
    with pytest.raises(ClusterError, match=r"node 10\.9\.8\.7 cannot work on this: (it did not answer|our code)"):
        check_shared(gone, tmp_path / "runs")
