"""Every configuration in docs/data-sources.md is valid."""

import re
from pathlib import Path

import pytest
import yaml

from pipeline.config import check_config

PAGE = (Path(__file__).parents[3] / "docs" / "data-sources.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```yaml\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("text", EXAMPLES, ids=lambda text: text.split("\n")[0])
def test_example_is_valid(text):
    assert check_config(yaml.safe_load(text)).source.path is not None
