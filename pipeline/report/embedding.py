"""One HTML file with everything in it: figures as data, the style, the template.

What lives here: what all pages share. What does not: what a page shows (`page`, `comparison_page`).

page_template("page.html.j2").render(style=stylesheet(), picture=embed("error", "Error", "RMSE by lead time", data))
"""

from __future__ import annotations

import base64
import os
import re
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from jinja2 import Environment, StrictUndefined, Template
from matplotlib.figure import Figure

from .style import png

NamedFigure = tuple[str, str, str, Figure]

_PIXELS = 1.5  # of a figure per CSS pixel


@dataclass(frozen=True)
class Picture:
    """A figure in the page; width and height in CSS pixels keep the page from jumping while it loads."""

    name: str
    heading: str
    alt: str
    source: str
    width: int
    height: int


def page_template(name: str) -> Template:
    """A template of this folder."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"duration": _duration, "around_dates": _around_dates}
    return environment.from_string(resources.files(__package__).joinpath(name).read_text("utf-8"))


def stylesheet() -> str:
    """The style of all pages, to be put into one as it is."""
    return resources.files(__package__).joinpath("style.css.j2").read_text("utf-8")


def embed(name: str, heading: str, alt: str, data: bytes) -> Picture:
    """A PNG file as part of a page."""
    width, height = struct.unpack(">II", data[16:24])  # the PNG header, ISO/IEC 15948 section 11.2.2
    source = f"data:image/png;base64,{base64.b64encode(data).decode('ascii')}"
    return Picture(name, heading, alt, source, round(width / _PIXELS), round(height / _PIXELS))


def replace_file(path: Path, data: bytes) -> None:
    """Write a file that appears whole or not at all."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_page(path: Path, figures: Iterable[NamedFigure], render: Callable[[list[Picture]], str]) -> None:
    """Draw figures and write the page with them inside, whole or not at all; its folder is made where missing.

    Args:
        path: The HTML file.
        figures: Name, heading, alternative text and figure, in the order of the page.
        render: Makes the page of the pictures.
    """
    pictures = [embed(name, heading, alt, png(figure)) for name, heading, alt, figure in figures]
    path.absolute().parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, render(pictures).encode())


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def _around_dates(text: str) -> list[str]:
    """The text cut so that every second part is a date or a lead time, which the page keeps on one line."""
    return re.split(r"(\d{4}-\d\d-\d\d|\+[\d.]+ (?:h|d|s|min|months?)\b)", str(text))
