"""A private Ray without what nobody would use of it: each process less is a second of processor time before a training.

What lives here: what is left out where Ray ends with this process. What does not: starting it (`connection`).

    with lean_node():
        ray.init(address="local")
    lean_trainer(trainer).fit()

Ray has no options for this, so some of its inner functions are replaced. A Ray that has no such functions, or whose
functions take something else, is left as it is: everything works, and starts later.
"""

from __future__ import annotations

import contextlib
import inspect
import subprocess
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from . import node_agent

READY_WORKERS = 3  # at most so many processes ahead: for a training's mailbox, its controller, and one more
# What a trainer does for datasets of Ray, of which we have none, and for resources that outlive it, which ours do not.
_NEEDLESS = {"DatasetsCallback", "PlacementGroupCleanerCallback"}


@contextlib.contextmanager
def lean_node() -> Iterator[None]:
    """Let `ray.init` start no autoscaler, dashboard, agent of one, or forwarder of logs in the body."""
    with _replaced(_lean_node), _replaced(_lean_raylet):
        yield


@contextlib.contextmanager
def _replaced(find: Callable[[], tuple[Any, str, Any]]) -> Iterator[None]:
    """In the body, something of Ray's is ours: `find` says of what, its name, and what it is there."""
    try:
        owner, name, ours = find()
        before = getattr(owner, name)
    except (ImportError, AttributeError):  # another Ray
        yield
        return
    setattr(owner, name, ours)
    try:
        yield
    finally:
        setattr(owner, name, before)


def _lean_node() -> tuple[Any, str, Any]:
    """The processes of a head node."""
    import ray._private.node as module

    class LeanNode(module.Node):
        """A head node that nothing is added to, that no one looks at, and whose logs stay files."""

        def start_monitor(self, *_: Any, **__: Any) -> None:
            """No autoscaler."""

        def start_api_server(self, *_: Any, **__: Any) -> None:
            """No dashboard, which is started even where it is not asked for."""

        def start_log_monitor(self, *_: Any, **__: Any) -> None:
            """No forwarder of the workers' output."""

    return module, "Node", LeanNode


def _lean_raylet() -> tuple[Any, str, Any]:
    """How a process of Ray is started; a raylet has our agent then, and few workers ahead."""
    from ray import _raylet
    from ray._private import ray_constants, services

    name = "start_ray_process"
    _expect(services, name, "command", "process_type", others=True)
    if tuple(getattr(_raylet, f"{port.upper()}_NAME") for port in node_agent.PORTS) != node_agent.PORTS:
        raise AttributeError("Ray has other names for the ports of an agent")
    before, raylet = getattr(services, name), ray_constants.PROCESS_TYPE_RAYLET

    def start(command: list[str], process_type: str, *others: Any, **more: Any) -> Any:
        if process_type == raylet:
            command = [_of_raylet(argument) for argument in command]
        return before(command, process_type, *others, **more)

    return services, name, start


def _of_raylet(argument: str) -> str:
    name, _, value = argument.partition("=")
    if name == "--dashboard_agent_command":
        ours = subprocess.list2cmdline([sys.executable, "-I", "-S", str(node_agent.__file__)])
        return f"{name}={ours} {value}"
    if name == "--num_prestart_python_workers":  # Ray's number is that of the CPUs, however many
        return f"{name}={min(READY_WORKERS, int(value))}"
    return argument


def lean_trainer(trainer: Any) -> Any:
    """A Ray trainer that starts its controller, a barrier and the workers, and nothing else; the trainer itself."""
    try:
        start = _lean_start()
    except (ImportError, AttributeError):  # another Ray
        return trainer
    trainer._initialize_and_run_controller = start
    return trainer


def _lean_start() -> Any:
    """What a trainer calls to be run."""
    import ray
    from ray.train.v2._internal.execution.controller import TrainController
    from ray.train.v2._internal.execution.scaling_policy import FixedScalingPolicy
    from ray.train.v2._internal.execution.worker_group import WorkerGroup
    from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

    for name, parameters in (("__init__", {"scaling_policy", "callbacks"}), ("run", set()), ("get_result", set())):
        _expect(TrainController, name, *parameters, others=True)  # Ray adds one of its own when it makes an actor of it
    _expect(DataParallelTrainer, "_initialize_and_run_controller", "self", "controller_init_kwargs")
    _expect(FixedScalingPolicy, "__init__", "self", "scaling_config")
    _expect(FixedScalingPolicy, "after_controller_start", "self", "train_run_context")
    _expect(FixedScalingPolicy, "_maybe_send_resource_request", "self")
    _expect(WorkerGroup, "_get_worker_runtime_env", "custom_runtime_env")

    class OwnNode(FixedScalingPolicy):
        """As many workers as were asked for, and no autoscaler to tell."""

        def after_controller_start(self, train_run_context: Any) -> None:
            """Tell none of the start."""

        def _maybe_send_resource_request(self) -> None:
            """Tell none what is needed."""

    class OwnController(TrainController):
        """Its workers take over processes that are there: with an environment set for them they would not fit."""

        def __init__(self, **given: Any) -> None:
            WorkerGroup._get_worker_runtime_env = staticmethod(lambda custom_runtime_env: custom_runtime_env or None)
            super().__init__(**given)

    def start(**given: Any) -> Any:
        policy = given["scaling_policy"]
        if type(policy) is FixedScalingPolicy:
            policy = OwnNode(policy.scaling_config)
        callbacks = [one for one in given["callbacks"] if type(one).__name__ not in _NEEDLESS]
        given |= {"scaling_policy": policy, "callbacks": callbacks}
        controller = ray.remote(num_cpus=0)(OwnController).remote(**given)
        ray.get(controller.run.remote())
        return ray.get(controller.get_result.remote())

    return start


def _expect(owner: type | ModuleType, name: str, *parameters: str, others: bool = False) -> None:
    """Check that a function of Ray takes what is known of it: these parameters, and, where it may, others.

    Raises:
        AttributeError: It is not there, or takes something else.
    """
    found = tuple(inspect.signature(getattr(owner, name)).parameters)
    if not (set(parameters) <= set(found) if others else parameters == found):
        raise AttributeError(f"{owner.__name__}.{name} takes {found}, expected {parameters}")
