import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.report.unit import Unit, units_text


@pytest.mark.parametrize(
    ("units", "text"),
    [
        ("K", "K"),
        ("kg m-2 s-1", "kg m⁻² s⁻¹"),
        ("kg m^-2 s^-1", "kg m⁻² s⁻¹"),
        ("m2", "m²"),
        ("1", ""),
        ("degC", "°C"),
        ("%", "%"),
    ],
)
def test_superscripts(units, text):
    assert units_text(units) == text


@pytest.mark.parametrize(
    ("largest", "exponent", "text"),
    [
        (0.0087, -3, "10⁻³ kg"),
        (1.6e-4, -6, "10⁻⁶ kg"),
        (0.5, 0, "kg"),
        (99_999, 0, "kg"),
        (2.5e5, 3, "10³ kg"),
        (0, 0, "kg"),
    ],
)
def test_powers_of_a_thousand(largest, exponent, text):
    unit = Unit.of([np.nan, -largest, 0.0], "kg")
    assert (unit.exponent, unit.text, unit.label) == (exponent, text, f" ({text})")


@given(st.floats(1e-30, 1e30))
def test_scaled_numbers_are_short_to_print(value):
    assert 0.01 <= Unit.of(value, "K").scaled(value) < 1e5


def test_plain_numbers_have_no_label():
    assert Unit.of([np.nan], "1").label == ""
