"""A file that is not taken, and which rules are not to be held against one.

What lives here: what is said of a broken rule, and what becomes of it by configuration. What does not: the rules
(`rules`) and the checks (`quality`, `suspicion`).

    lenience = lenience_of(config.quality.actions, accepted=frozenset())
    lenience.judged(path, check)         # [Rejection] where the rule only warns, SourceError where it rejects
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from .errors import SourceError
from .rules import RULES, Action


@dataclass(frozen=True)
class Rejection:
    """A file that is not taken, the id of the rule it breaks, and what is wrong with it in one sentence.

    Attributes:
        entry: Its name in the quarantine, where it has one.
    """

    rule: str
    path: Path
    message: str
    entry: str = ""

    def __str__(self) -> str:
        found = f"{self.rule}: {self.path.name}: {self.message}"
        if not self.entry:
            return found
        joint = " " if found.endswith("?") else "; "
        return f"{found}{joint}quarantined as {self.entry}, then 'minconv quarantine retry {self.entry}'"


@dataclass(frozen=True)
class Lenience:
    """Rules that do not reject: one that is broken becomes a warning, or nothing.

    Attributes:
        warned: Rules whose breach is told.
        off: Rules that are not looked at.
        strict: Repairs that are not made: a file in need of one is rejected.
    """

    warned: frozenset[str] = frozenset()
    off: frozenset[str] = frozenset()
    strict: frozenset[str] = frozenset()

    def repaired(self, path: Path, rule: str, message: str) -> list[Rejection]:
        """What is told of a repair.

        Raises:
            SourceError: Such repairs are not to be made.
        """
        if rule in self.strict:
            raise SourceError(
                rule, f"{message}: expected nothing to be put right (quality.rules.{rule}: reject); correct the file"
            )
        return [Rejection(rule, path, message)]

    def judged(self, path: Path, check: Callable[[], None]) -> list[Rejection]:
        """The warning that a check of a file comes to, if any.

        Raises:
            SourceError: The file breaks a rule that rejects.
        """
        try:
            check()
        except SourceError as error:
            if error.rule not in self.warned | self.off:
                raise
            return [] if error.rule in self.off else [Rejection(error.rule, path, error.message)]
        return []


def lenience_of(actions: Mapping[str, Action], accepted: frozenset[str]) -> Lenience:
    """What a configuration (`quality.actions`) and a person who accepted a file against rules leave of the rules."""
    warned = frozenset(rule for rule, action in actions.items() if action == "warn")
    off = frozenset(rule for rule, action in actions.items() if action == "off")
    strict = frozenset(rule for rule, action in actions.items() if action == "reject" and RULES[rule].default == "fix")
    return Lenience(warned | accepted, off - accepted, strict - accepted)
