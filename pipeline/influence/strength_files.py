"""Curves over strengths as tables, and as parts of them that a run which was killed finds again."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from data.arrow import read_arrow, write_arrow
from data.artifacts.strengths import CURVES, CURVES_FILE, STRENGTHS, STRENGTHS_FILE
from pipeline.influence.strengths import HeldFeature, Point, break_of, peak_of

FEATURES_AT_ONCE = 16
"""Features of a part: what a kill can take, and rows enough for whole batches."""
ROWS_PER_BATCH = 8192
Curve = tuple[HeldFeature, list[Point]]


def measure_parts(
    folder: Path,
    features: Sequence[HeldFeature],
    measure: Callable[[Sequence[HeldFeature]], list[list[Point]]],
    advance: Callable[[int], None],
) -> list[Curve]:
    """The curves of features, some at a time; those of which a part lies in the folder are read and not measured.

    Parts are hidden files, which a stage removes when it has finished.
    """
    curves: list[Curve] = []
    for start in range(0, len(features), FEATURES_AT_ONCE):
        some, path = features[start : start + FEATURES_AT_ONCE], folder / f".part-{start}.arrow"
        if not path.is_file():
            temporary = path.with_suffix(".new")
            numbered = enumerate(measure(some))
            write_arrow(temporary, STRENGTHS, _table(_rows(number, points) for number, points in numbered).to_batches())
            temporary.replace(path)
        curves += zip(some, _points(read_arrow(path), len(some)), strict=True)
        advance(len(some))
    return curves


def write_curves(folder: Path, curves: Sequence[Curve], *, trusted: bool) -> None:
    """Write the curves of one SAE, sorted by index. trusted: whether scores decide on the best strength."""
    rows = [
        {
            "index": one.index,
            "random": one.random,
            "words": one.words,
            "words_from": one.words_from,
            "peak": peak_of(points, trusted=trusted),
            "breaks": break_of(points),
        }
        for one, points in curves
    ]
    write_arrow(folder / CURVES_FILE, CURVES, pa.Table.from_pylist(rows, CURVES).to_batches(ROWS_PER_BATCH))
    table = _table(_rows(one.index, points) for one, points in curves)
    write_arrow(folder / STRENGTHS_FILE, STRENGTHS, table.to_batches(ROWS_PER_BATCH))


def _table(rows: Iterator[list[dict[str, object]]]) -> pa.Table:
    return pa.Table.from_pylist([row for some in rows for row in some], STRENGTHS)


def _rows(index: int, points: Sequence[Point]) -> list[dict[str, object]]:
    plain = points[0]
    columns = ("strength", "probability", "perplexity", "text_perplexity", "repeats", "score", "texts")
    return [
        {"index": index, "broken": one.is_broken(plain), **{name: getattr(one, name) for name in columns}}
        for one in points
    ]


def _points(part: pa.Table, count: int) -> list[list[Point]]:
    """The points of each feature of a part."""
    curves: list[list[Point]] = [[] for _ in range(count)]
    for row in part.drop_columns(["broken"]).to_pylist():
        point = Point(**{name: value for name, value in row.items() if name != "index"})
        curves[row["index"]].append(replace(point, texts=tuple(point.texts)))
    return curves
