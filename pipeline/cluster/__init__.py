"""Ray and Dask: start or join a cluster, know its resources, run work on it, submit jobs to it.

`connection` starts or joins; `private_node` is what a private Ray goes without; `authentication` is the token;
`resources` says what fits; `storage` checks that all nodes see one folder; `mailbox` hears from workers; `executor`
runs the work of other stages; `jobs` speaks to the Jobs API; `dask_client` is Dask without Ray. What does not live
here: training (`training`, the other room that knows Ray).

    with connect() as cluster:                         # a private one on this machine
        ...
    with connect(address="10.0.0.1:6379") as cluster:  # an existing one; needs its token file
        check_shared(cluster, Path("/shared/runs"))
        evaluate(model, config, snapshot_id, executor=RayExecutor(cluster, workers=2, threads=1))

Token authentication is always on: Ray listens beyond loopback whatever it is told, and who may submit to it owns it.
When this process is killed (SIGKILL), the processes of a private Ray end by themselves within about a minute, and its
temporary folder is removed by the next connection.
"""

from .authentication import worker_timeout
from .connection import connect
from .dask_client import dask_cluster, dask_processes
from .executor import RayExecutor
from .jobs import Job, Jobs, open_jobs
from .mailbox import Mailbox
from .private_node import lean_trainer
from .resources import Cluster, Node
from .storage import check_shared

__all__ = [
    "Cluster",
    "Job",
    "Jobs",
    "Mailbox",
    "Node",
    "RayExecutor",
    "check_shared",
    "connect",
    "dask_cluster",
    "dask_processes",
    "lean_trainer",
    "open_jobs",
    "worker_timeout",
]
