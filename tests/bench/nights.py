"""Thirty nights on a made stream whose rules change: the champion's skill against a model that is never retrained.

    python tests/bench/nights.py --out docs/images/nights.png

The stream (`tests/stream.py`) is a wave that travels round a small cylinder, and turns round one day. Each night goes
through the whole of `minconv nightly`, training in this process.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from matplotlib.figure import Figure

from pipeline.config import check_config
from pipeline.report.style import FAINT, INK, dress, png
from tests.stream import Stream, configuration
from workflows import stages
from workflows.console import Console
from workflows.context import Context, quiet_libraries
from workflows.nightly import run_nightly

FIRST = 9  # ten days are there before the first night


def simulate(folder: Path, nights: int, change: int) -> list[dict[str, Any]]:
    """Run the nights; what became of each."""
    stream = Stream(folder / "data", FIRST + change)
    for day in range(FIRST):
        stream.write(day)
    context = Context(check_config(configuration(folder / "runs", stream.folder)), Console(quiet=True))
    rows = []
    for day in range(FIRST, FIRST + nights):
        started = time.monotonic()
        stream.write(day)
        steps = run_nightly(context, stream.date(day)).steps
        seconds = time.monotonic() - started
        champion, snapshot = steps["aliases"]["champion"], steps["ingest"]["snapshot_id"]
        row = {"night": day - FIRST + 1, "champion": champion, "promoted": steps["aliases"]["promoted"]}
        for name, number in (("skill", champion), ("frozen", 1)):
            version = context.registry.resolve(f"models:/stream/{number}")
            card, _ = stages.evaluate_model(context, version, snapshot)
            row[name] = float(card.skill("persistence").mean())
        rows.append({**row, "seconds": seconds, "afresh": steps["gate"]["train"] and not steps["gate"]["warm"]})
        print(rows[-1], flush=True)
    return rows


def draw(rows: list[dict[str, Any]], change: int) -> Figure:
    """Skill by night, with the changes of champion."""
    figure = Figure(figsize=(9.5, 4.2), facecolor="white")
    figure.set_layout_engine("constrained")
    ax = figure.subplots()
    nights = [row["night"] for row in rows]
    ax.axhline(0, color=FAINT, linewidth=0.8)
    ax.axvline(change + 0.5, color=FAINT, linewidth=1, linestyle=(0, (4, 3)))
    ax.plot(nights, [100 * row["frozen"] for row in rows], color="#c4501b", linewidth=1.8, linestyle=(0, (5, 2)))
    ax.plot(nights, [100 * row["skill"] for row in rows], color="#0b5cad", linewidth=2.4)
    new = [row for row in rows if row["promoted"]]
    ax.plot([row["night"] for row in new], [100 * row["skill"] for row in new], "o", color="#0b5cad", markersize=5)
    dress(ax, "Skill against persistence on the newest test cases (%)", "night", "")
    top = ax.get_ylim()[1]
    ax.text(change + 0.7, top, "the wave turns round", fontsize=9, color=FAINT, va="top")
    ax.text(
        nights[-1] + 0.4, 100 * rows[-1]["skill"], "champion\n(• promoted)", color="#0b5cad", fontsize=9, va="center"
    )
    ax.text(nights[-1] + 0.4, 100 * rows[-1]["frozen"], "never\nretrained", color="#c4501b", fontsize=9, va="center")
    ax.text(nights[-1] + 0.4, 1.5, "persistence", color=INK, fontsize=9)
    ax.set_xlim(0.5, nights[-1] + 3.6)
    ax.set_xticks([night for night in nights if night == 1 or night % 5 == 0])
    return figure


def main() -> None:
    """Simulate, draw, say how long a night took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("docs/images/nights.png"))
    parser.add_argument("--nights", type=int, default=30)
    parser.add_argument("--change", type=int, default=9, help="nights before the wave turns round")
    options = parser.parse_args()
    quiet_libraries()
    with tempfile.TemporaryDirectory(prefix="minconv-nights-") as folder:
        rows = simulate(Path(folder), options.nights, options.change)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_bytes(png(draw(rows, options.change)))
    seconds = sorted(row["seconds"] for row in rows[1:])
    print(f"{options.out}: a night took {seconds[len(seconds) // 2]:.1f} s (median), {seconds[-1]:.1f} s at most")


if __name__ == "__main__":
    main()
