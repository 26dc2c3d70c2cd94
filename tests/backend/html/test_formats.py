"""Formats of numbers on pages."""

import pytest

from backend.html.formats import share


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (0.674, 3, "67.4%"),
        (0.000123, 3, "0.0123%"),
        (4.9e-7, 2, "0.000049%"),
        (3.07e-8, 3, "0.00000307%"),
        (0, 2, "0.0%"),
    ],
)
def test_small_shares_are_written_out(value: float, digits: int, text: str) -> None:
    assert share(value, digits) == text
