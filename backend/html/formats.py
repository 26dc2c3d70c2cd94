"""Formats of numbers on pages."""

import math


def number(value: float, digits: int = 3) -> str:
    """A measured value with `digits` significant digits: 0.0123, 4.56, 1,234."""
    if not math.isfinite(value):
        return str(value)
    size = math.floor(math.log10(abs(value))) if value else 0
    return f"{value:,.{max(0, digits - 1 - size)}f}" if size >= -4 else f"{value:.{digits - 1}e}"


def signed(value: float, digits: int = 2) -> str:
    """A value with its sign: +1.23, −0.45 (a true minus)."""
    return f"{value:+.{digits}f}".replace("-", "−")


def points(change: float) -> str:
    """A change of a probability in percentage points, with its sign: +3.2, −0.4."""
    return signed(100 * change, 1)


def count(value: int) -> str:
    """A whole number with separators: 12,345."""
    return f"{value:,}"


def size(value: int) -> str:
    """Bytes as people say them: 512 B, 1.18 kB, 18.9 MB."""
    power = 0 if value < 1000 else min(int(math.log10(value) / 3), 4)
    return f"{number(value / 1000**power)} {('B', 'kB', 'MB', 'GB', 'TB')[power]}" if power else f"{value} B"


def share(value: float, digits: int = 3) -> str:
    """A share as a percentage with `digits` significant digits: 0.000049%, 0.0123%, 67.4%."""
    percent = 100 * value
    if 1e-7 <= abs(percent) < 1e-4:
        return f"{percent:.{digits - 1 - math.floor(math.log10(abs(percent)))}f}%"
    return f"{number(percent, digits)}%"


def as_share(value: object) -> object:
    """Parse a typed share: 1% is 0.01 and an empty text is None; anything else is left as it is."""
    if not isinstance(value, str) or not value.strip().endswith("%"):
        return None if value == "" else value
    try:
        return float(value.strip().removesuffix("%")) / 100
    except ValueError:
        return value
