"""Whether a file has every level that files of its variable have.

What lives here: files of one variable at several levels held against each other. What does not: variables that lie in
files of their own (`assembly` lets their frames wait for each other).

    check_levels({"z_850"}, [{"z_850", "z_500"}], config.variables)      # SourceError Q-LEVEL: z_500
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from .config import VariableConfig
from .errors import SourceError


def check_levels(
    names: Collection[str], others: Iterable[Collection[str]], variables: Mapping[str, VariableConfig]
) -> None:
    """A file has no fewer levels of a variable than another file that has all of its levels and more.

    Args:
        names: Variables that the file holds, as the archive calls them.
        others: The same of other files, in the batch and in the archive.
        variables: Of the configuration.

    Raises:
        SourceError: ``Q-LEVEL``.
    """
    for source in dict.fromkeys(variables[name].source_name for name in names if variables[name].level is not None):
        levels = {name for name, variable in variables.items() if variable.source_name == source}
        own = levels & set(names)
        for other in others:
            if lacking := sorted((levels & set(other)) - own if own < levels & set(other) else ()):
                raise SourceError(
                    "Q-LEVEL",
                    f"variable {source!r} lacks the level {variables[lacking[0]].level:g}, expected it as in other "
                    "files; fetch the file again",
                )
