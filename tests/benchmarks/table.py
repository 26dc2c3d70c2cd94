"""One row of `make bench`: a figure of ours beside its reference, both measured in the same run."""

from typing import NamedTuple


class Row(NamedTuple):
    name: str
    ours: str
    reference: str
    ratio: float
    note: str = ""
