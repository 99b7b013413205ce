"""How the benchmarks for a GPU measure: contestants take turns, and what counts is the ratio within a round.

figures = compare("scan", {"ours": step, "copy": copy}, Setting(torch.device("cuda"), "triton", rounds=30))
print(table(figures))
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

Step = Callable[[], object]


@dataclass(frozen=True)
class Figure:
    """Times of one contestant, and how many times as long as the first contestant it takes."""

    case: str
    contestant: str
    milliseconds: float
    ratio: float
    low: float
    high: float


@dataclass(frozen=True)
class Setting:
    """Where and how long to measure."""

    device: torch.device
    ours: str
    rounds: int

    def clock(self, step: Step) -> float:
        """Milliseconds of one step; on a GPU between two events, after the cache has been swept."""
        if self.device.type != "cuda":
            start = time.perf_counter()
            step()
            return 1e3 * (time.perf_counter() - start)
        torch.empty(2**26, device=self.device, dtype=torch.int32).zero_()
        start_event, end_event = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start_event.record()
        step()
        end_event.record()
        end_event.synchronize()
        return float(start_event.elapsed_time(end_event))


def compare(case: str, contestants: dict[str, Step], setting: Setting) -> list[Figure]:
    """Warm up, then rounds in which each contestant has one turn, in an order that changes."""
    for step in contestants.values():
        for _ in range(3):
            step()
    times: dict[str, list[float]] = {name: [] for name in contestants}
    order, shuffle = list(contestants), random.Random(0)
    for _ in range(setting.rounds):
        shuffle.shuffle(order)
        for name in order:
            times[name].append(setting.clock(contestants[name]))
    first = times[next(iter(contestants))]
    figures = []
    for name, own in times.items():
        ratios = [one / other for one, other in zip(own, first, strict=True)]
        low, high = bootstrap(ratios)
        figures.append(Figure(case, name, statistics.median(own), statistics.median(ratios), low, high))
    return figures


def bootstrap(values: list[float], draws: int = 1000) -> tuple[float, float]:
    """95 % interval of the median."""
    generator = random.Random(1)
    medians = sorted(statistics.median(generator.choices(values, k=len(values))) for _ in range(draws))
    return medians[int(0.025 * draws)], medians[int(0.975 * draws) - 1]


def table(figures: list[Figure]) -> str:
    """Markdown; the ratio is that of the contestant's time to the first one's."""
    lines = ["| case | contestant | ms | time / ours | 95 % |", "|---|---|---|---|---|"]
    lines += [
        f"| {f.case} | {f.contestant} | {f.milliseconds:.3f} | {f.ratio:.3f} | {f.low:.3f}–{f.high:.3f} |"
        for f in figures
    ]
    return "\n".join(lines)
