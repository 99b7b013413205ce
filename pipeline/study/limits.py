"""What limits a training on this machine, in sentences with the next step: reading, computing, memory, other work.

for sentence in limits(probe, result, Hardware.here(use_gpu=False), threads=None):
    print(sentence)
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .. import machine
from .probe import Probe
from .results import TrialResult

WAIT_SHARE = 0.2  # of a step's time for data that is worth a remark
MEMORY_SHARE = 0.8  # of the machine's memory
BUSY_SHARE = 0.6  # of one thread: below it, others had the processors


@dataclass(frozen=True)
class Hardware:
    """What the trainings ran on.

    Attributes:
        processor: Its name; empty where the system does not say.
        processors: That a process may run on.
        memory: Bytes of main memory, or of the GPU that is trained on.
        gpu: Name of the GPU that is trained on; empty: none is.
        idle_gpu: Name of a GPU that is here and not trained on; empty: there is none.
    """

    processor: str
    processors: int
    memory: int
    gpu: str
    idle_gpu: str

    @classmethod
    def here(cls, use_gpu: bool) -> Hardware:
        """Of this machine; `use_gpu` is `training.gpu`."""
        gpus = machine.gpus()
        name = gpus[0].name if gpus else ""
        used = name if use_gpu else ""
        memory = gpus[0].memory if used else machine.memory().total
        return cls(machine.processor_name(), machine.processors(), memory, used, "" if used else name)

    @property
    def key(self) -> str:
        """Fit for a file's name: what was measured on other hardware is measured again."""
        known = f"{self.processor} {self.processors} {self.gpu}"
        return hashlib.sha256(known.encode()).hexdigest()[:8]

    @property
    def text(self) -> str:
        """For people, in one line."""
        cores = f"{self.processors} processor{'s' * (self.processors > 1)}"
        cpu = f"{cores} ({self.processor})" if self.processor else cores
        return f"{self.gpu or 'no GPU used'}, {cpu}, {self.memory / 1e9:.3g} GB of {'GPU ' * bool(self.gpu)}memory"


def limits(probe: Probe, result: TrialResult, hardware: Hardware, threads: int | None) -> Iterator[str]:
    """What limits the training of a cell, the largest first.

    Args:
        probe: With the parts of a step.
        result: Of its training.
        hardware: That it ran on.
        threads: Of the configuration; None: as many as there are processors.
    """
    share = {name: spent / probe.step_seconds for name, spent in probe.parts.items()}
    waiting, computing = share.get("data wait", 0.0), share.get("forward", 0.0) + share.get("backward", 0.0)
    if waiting > WAIT_SHARE:
        yield (
            f"Reading: {waiting:.0%} of a step's time goes by waiting for data. training.cache=memory (or disk) and a "
            "larger training.prefetch shorten it."
        )
    where = hardware.gpu or f"{threads or hardware.processors} of {hardware.processors} processor(s)"
    step = f"a step takes {1000 * result.step_seconds:.3g} ms, {computing:.0%} of it forward and backward pass"
    yield f"Computing on {where}: {step}. {_faster(hardware)}"
    used = result.peak_bytes / hardware.memory
    kind = "the GPU's memory" if hardware.gpu else "memory"
    yield (
        f"Memory: {result.peak_bytes / 1e9:.2g} of {hardware.memory / 1e9:.3g} GB ({used:.0%} of {kind}). "
        + ("A larger batch or model will not fit." if used > MEMORY_SHARE else "It is not what limits.")
    )


def other_work(results: Sequence[TrialResult], hardware: Hardware, threads: int | None) -> str:
    """Which trainings had to share their processors, so that equal time was not equal work; empty: none."""
    count = threads or hardware.processors
    slowed = [one for one in results if one.cpu_share * count < BUSY_SHARE]
    if hardware.gpu or not slowed:
        return ""
    told = ", ".join(f"{one.cell} {one.cpu_share:.0%}" for one in slowed)
    return (
        f"Other work on this machine: trainings had less than the processor time of their threads ({told}), so equal "
        "time was not equal work. On an idle machine times are shorter and the cells are compared more fairly."
    )


def _faster(hardware: Hardware) -> str:
    if hardware.gpu:
        return "training.precision=bf16 or more GPUs (training.workers) make it faster."
    if hardware.idle_gpu:
        return f"There is a GPU ({hardware.idle_gpu}) that is not used: set training.gpu=true."
    return "A GPU, or more processors (training.threads, training.workers), make it faster."
