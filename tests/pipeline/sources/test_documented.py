"""Every configuration in docs/data-sources.md and docs/transforms.md is valid."""

import re
from pathlib import Path

import pytest
import yaml

from pipeline.config import check_config

DOCS = Path(__file__).parents[3] / "docs"
PAGES = [(DOCS / name).read_text(encoding="utf-8") for name in ("data-sources.md", "transforms.md")]
EXAMPLES = [text for page in PAGES for text in re.findall(r"^```yaml\n(.*?)^```", page, flags=re.DOTALL | re.MULTILINE)]


@pytest.mark.parametrize("text", EXAMPLES, ids=lambda text: text.split("\n")[0])
def test_example_is_valid(text):
    assert check_config(yaml.safe_load(text)).source.path is not None
