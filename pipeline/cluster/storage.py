"""Whether all nodes of a cluster see one folder, found out before hours of work depend on it.

check_shared(cluster, config.work_dir, [config.source_path])
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import ClusterError
from .resources import Cluster, Node

ANSWER_SECONDS = 50.0  # for a task to start on every node, which imports our code there


def check_shared(cluster: Cluster, folder: Path, inputs: Sequence[Path] = ()) -> None:
    """Write a note into `folder` here; every node reads it and answers with a note of its own.

    Args:
        cluster: Connected to.
        folder: Where everything is written; made where it is absent.
        inputs: Folders that every node has to read.

    Raises:
        ClusterError: A node does not see or cannot write the folder, lacks an input, or cannot run our code.
    """
    token = secrets.token_hex(8)
    notes = folder / f".shared-{token}"
    notes.mkdir(parents=True)
    try:
        (notes / "driver").write_text(token)
        for node, problem in _ask(cluster, notes, token, inputs):
            if problem is None and not (notes / node.node_id).is_file():
                problem = f"what it writes into {folder} does not arrive here"
            if problem is not None:
                raise ClusterError(
                    f"node {node.address} cannot work on this: {problem}; every node of the cluster needs the same "
                    "files at the same paths, so name shared storage in 'root' and 'source.path'"
                )
    finally:
        shutil.rmtree(notes, ignore_errors=True)


def _ask(cluster: Cluster, notes: Path, token: str, inputs: Sequence[Path]) -> list[tuple[Node, str | None]]:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    task = ray.remote(num_cpus=0, max_retries=0)(look)
    answers: list[Any] = []
    for node in cluster.nodes:
        there = NodeAffinitySchedulingStrategy(node.node_id, soft=False)
        names = [str(path) for path in inputs]
        answers.append(task.options(scheduling_strategy=there).remote(str(notes), token, node.node_id, names))
    problems: list[str | None] = []
    for answer in answers:
        try:
            problems.append(ray.get(answer, timeout=ANSWER_SECONDS))
        except ray.exceptions.GetTimeoutError:
            problems.append(f"it did not answer for {ANSWER_SECONDS:.0f} s")
        except ray.exceptions.RayError as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            problems.append(f"our code does not run there ({lines[-1].strip()[:200]})")
    return list(zip(cluster.nodes, problems, strict=True))


def look(notes: str, token: str, node_id: str, inputs: Sequence[str]) -> str | None:
    """What is wrong with the folders as this machine sees them; None: nothing. Leaves an answer beside the note."""
    try:
        seen = (Path(notes) / "driver").read_text()
    except OSError as error:
        return f"{Path(notes).parent} is not the folder it is here ({os.strerror(error.errno or 0)})"
    if seen != token:
        return f"{Path(notes).parent} is not the folder it is here"
    for name in inputs:
        if not os.access(name, os.R_OK):
            return f"it cannot read {name}"
    try:
        (Path(notes) / node_id).write_text(token)
    except OSError as error:
        return f"it cannot write into {Path(notes).parent} ({os.strerror(error.errno or 0)})"
    return None
