"""What is read of the files, and what is made of it, by the variables of a configuration.

What lives here: names, units and order of what is read and made. What does not: the making (`deriving`).

    plan = plan_of(config)
    plan.read                     # {"u10": VariableConfig(units="m s-1", ...), ...}: what to harmonise
    plan.given({"u10", "v10"})    # {"wind"}: what a file that holds these gives the archive
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from ..config import Config, VariableConfig
from ..derivations import DERIVATIONS, Derivation
from ..errors import SourceError


@dataclass(frozen=True)
class Making:
    """One variable that is made of others.

    Attributes:
        name: In the archive.
        variable: Its configuration.
        derivation: The function.
        inputs: What it is made of: names of what is read or made before.
    """

    name: str
    variable: VariableConfig
    derivation: Derivation
    inputs: tuple[str, ...]

    @property
    def differs(self) -> bool:
        """Whether a frame is made of the frame before as well."""
        return self.derivation is DERIVATIONS["rate"] and self.variable.accumulated != "step"


@dataclass(frozen=True)
class Plan:
    """What an ingest reads, and what it makes of that.

    Attributes:
        names: The varying variables of the archive.
        read: What is read of the files; its name among the fields of a file, and how it is read.
        first: What is made of the values of the files.
        last: What is made of values that were averaged.
    """

    names: tuple[str, ...]
    read: dict[str, VariableConfig]
    first: tuple[Making, ...]
    last: tuple[Making, ...]

    @property
    def makings(self) -> tuple[Making, ...]:
        """Everything that is made, in order."""
        return self.first + self.last

    def given(self, held: Collection[str]) -> frozenset[str]:
        """The variables of the archive that a file gives which holds some of what is read.

        Raises:
            SourceError: ``Q-MISSING-VARIABLE``: it holds a part of what some variable is made of.
        """
        made = {making.name for making in self.makings}
        found = {name for name in held if name in self.names and name not in made}
        for making in self.makings:
            there = [name for name in making.inputs if name in held or name in found]
            if there and len(there) < len(making.inputs):
                lacking = next(name for name in making.inputs if name not in there)
                raise SourceError(
                    "Q-MISSING-VARIABLE",
                    f"it has {there[0]!r} but not {lacking!r}, of which {making.name!r} is made; put them in one file",
                )
            if there:
                found.add(making.name)
        return frozenset(found)

    def lacking(self, held: Collection[str]) -> str:
        """What a file lacks to make a variable of which it holds another part; empty where it lacks nothing."""
        for making in self.makings:
            there = [name for name in making.inputs if name in held or self._made_of(name, held)]
            if there and len(there) < len(making.inputs):
                return next(name for name in making.inputs if name not in there)
        return ""

    def _made_of(self, name: str, held: Collection[str]) -> bool:
        """Whether this is made of what is held."""
        own = next((making for making in self.makings if making.name == name), None)
        return own is not None and all(other in held for other in own.inputs)

    def timed(self, given: Collection[str]) -> bool:
        """Whether some of these variables are made with the time between frames."""
        return any(making.derivation.timed for making in self.first if making.name in given)

    def differs(self, given: Collection[str]) -> bool:
        """Whether frames of these variables are made of the frames before them as well."""
        return any(making.differs for making in self.first if making.name in given)


def plan_of(config: Config) -> Plan:
    """The plan of a configuration."""
    varying = {name: config.variables[name] for name in config.varying}
    read = {name: variable for name, variable in varying.items() if variable.derive is None}
    first: list[Making] = []
    last: list[Making] = []
    for name, variable in varying.items():
        for function, named in (variable.derive or {}).items():
            derivation = DERIVATIONS[function]
            inputs = tuple(
                _input(name, variable, source, units.format(units=variable.units), varying, read)
                for source, units in zip(named or (variable.source_name or name,), derivation.inputs, strict=True)
            )
            (last if derivation.last else first).append(Making(name, variable, derivation, inputs))
    return Plan(tuple(varying), read, tuple(first), tuple(last))


def _input(
    name: str,
    variable: VariableConfig,
    source: str,
    units: str,
    varying: dict[str, VariableConfig],
    read: dict[str, VariableConfig],
) -> str:
    """The name of an input among the fields; one that is no variable of the archive joins what is read."""
    levelled = source if variable.level is None else f"{source}_{variable.level:g}".replace(".", "_")
    if levelled in varying and levelled != name:
        return levelled
    timed = {function: () for function in variable.derive or () if DERIVATIONS[function].timed}
    wanted = VariableConfig(units=units, source_name=source, level=variable.level, derive=timed or None)
    # two variables made of one source in different units read it twice
    key = levelled if read.get(levelled, wanted) == wanted else f"{levelled} in {units}"
    read[key] = wanted
    return key
