"""Every `minconv …` that infra/, the README or the docs show exists, with those options."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from workflows.cli import app

ROOT = Path(__file__).resolve().parents[2]
TEXTS = sorted(
    [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "infra").rglob("*")]
)
COMMAND = re.compile(r"(?<![\w./:-])(?:\S*/bin/)?minconv +(?!minconv\b)([a-z][^`\n]*)")
END = re.compile(r"\s(?:#|&&|\|\||[|;>])\s|'$|\\n|\)$")


def shown(path: Path) -> Iterator[str]:
    """What follows `minconv` in every command line of a file."""
    if not path.is_file() or path.suffix in {".png", ".ipynb"}:
        return
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        lines = [line for block in blocks for line in block.splitlines()]
        lines += [line for line in text.splitlines() if line.startswith("    ")]
        lines += re.findall(r"`([^`\n]+)`", text)
    else:
        lines = [line for line in text.splitlines() if " -" in line]
    for line in lines:
        for match in COMMAND.finditer(line):
            yield END.split(match[1], maxsplit=1)[0].strip()


def resolve(words: list[str]) -> tuple[Any, list[str]]:
    """The command that words name, and the rest of them."""
    command: Any = typer.main.get_command(app)
    rest = list(words)
    while hasattr(command, "commands"):
        if not rest or rest[0].startswith("-"):
            return command, rest
        name = rest.pop(0)
        assert name in command.commands, f"there is no command {name!r} in minconv {' '.join(words)}"
        command = command.commands[name]
    return command, rest


def check(line: str) -> None:
    """The command and its options exist.

    Raises:
        AssertionError: They do not.
    """
    plain = re.sub(r"\$\([^)]*\)", "VALUE", line)  # what a shell puts in is no option of ours
    words = [word for word in re.sub(r"[\[\]]", " ", plain).split() if word not in {"|", "…", "..."}]
    heads = [[]] if not words else [[one] for one in words[0].split("|")]
    for head in heads:
        rest = words[1:]
        if rest and "|" in rest[0] and not rest[0].startswith("-"):
            for second in rest[0].split("|"):
                check_one([*head, second, *rest[1:]])
        else:
            check_one([*head, *rest])


def check_one(words: list[str]) -> None:
    command, rest = resolve(words)
    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    for word in rest:
        if word.startswith("-") and not re.fullmatch(r"-\d.*", word):
            assert word.partition("=")[0] in known | {"--help"}, f"minconv {' '.join(words)}: there is no {word}"


LINES = sorted({(path.relative_to(ROOT).as_posix(), line) for path in TEXTS for line in shown(path)})


@pytest.mark.parametrize(("path", "line"), LINES)
def test_shown_command_exists(path: str, line: str) -> None:
    check(line)


def test_commands_are_found_everywhere() -> None:
    found = {path for path, _ in LINES}
    for path in ("README.md", "infra/README.md", "infra/k8s/rayjob.yaml", "infra/systemd/minconv-nightly.service"):
        assert path in found
    assert len(LINES) > 15


@pytest.mark.parametrize(
    "line", ["rum -c demo", "run -c demo --adress x", "archive inof -c demo", "archive info|logs -c x", "run --sett a"]
)
def test_a_command_that_does_not_exist_is_found(line: str) -> None:
    with pytest.raises(AssertionError):
        check(line)


STRICT = [
    ("infra/k8s/rayjob.yaml", r"entrypoint: minconv (.*)"),
    ("infra/systemd/minconv-nightly.service", r"ExecStart=/bin/sh -c 'exec \S+/minconv (.*)'"),
]


@pytest.mark.parametrize(("path", "pattern"), STRICT)
def test_scheduled_command_is_complete(path: str, pattern: str) -> None:
    (line,) = re.findall(pattern, (ROOT / path).read_text())
    words = shlex.split(line.replace("@DATE@", "2026-01-31").replace('"$(date -u +%%F)"', "2026-01-31"))
    command, rest = resolve(words)
    with command.make_context(words[0], rest) as context:
        assert context.params["date"] == "2026-01-31"
        assert context.params["config"] == "/etc/minconv/pipeline.yaml"
