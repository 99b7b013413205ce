"""Try all bad inputs, and print how many were caught and missed."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.pipeline.bad_inputs import CASES
from tests.pipeline.bad_inputs.trial import is_caught, tried


def main() -> None:
    """Try all, and print the table."""
    caught: dict[str, list[bool]] = {}
    for case in CASES:
        with tempfile.TemporaryDirectory() as root:
            outcome = tried(case, Path(root))
        hit = is_caught(case, outcome)
        caught.setdefault(case.action, []).append(hit)
        if not hit:
            print(
                f"missed: {case.name}: expected {case.action} {case.rule}, got {sorted(outcome.found)} {outcome.said}"
            )
    print("| to be | tried | caught | missed |\n|---|---|---|---|")
    everything = [hit for hits in caught.values() for hit in hits]
    for action, hits in (*caught.items(), ("all", everything)):
        print(f"| {action.capitalize()} | {len(hits)} | {sum(hits)} | {len(hits) - sum(hits)} |")


if __name__ == "__main__":
    main()
