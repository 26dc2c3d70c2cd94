"""A made report of scaling laws: losses from known exponents, with the laws that a fit would have found."""

import json
import math
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from data.artifacts.scaling import Cell, GridReport, Prediction, ScalingReport, SweptSize
from data.artifacts.scaling_laws import (
    MINIMUM_OF,
    AllocationLaw,
    CurvePoint,
    Interval,
    IsoCurve,
    IsoPoint,
    LearningRateLaw,
    LossLaw,
)
from data.layout import StorePaths

FLOOR, A, ALPHA, B, BETA = 40.0, 900.0, 0.4, 30_000.0, 0.5
WIDTH, SWEPT_TOKENS = 576, 65_536
SIZES = (512, 1024, 2048, 4096, 8192, 16384)
TOKENS = (65_536, 131_072, 262_144, 524_288, 1_048_576)
HELD_OUT = {(2048, 262_144), (8192, 1_048_576)}
RATES = (5e-4, 1e-3, 2e-3, 4e-3)


def made_report() -> ScalingReport:
    """A ReLU grid with laws, and a TopK one that is too small for any."""
    relu = _relu_grid()
    small = [cell for cell in relu.cells if cell.in_fit and cell.num_features <= 1024 and cell.num_tokens <= 131_072]
    few = tuple(replace(cell, key=f"f{cell.key[1:]}", fitted=None, residual=None) for cell in small)
    topk = replace(
        relu, architecture="topk", l1_coefficient=None, k=32, cells=few, swept=(), learning_rate=None, loss=None,
        features=None, tokens=None, iso_curves=(), predictions=(), why_no_loss="4 cells are too few: 9 are needed.",
        why_no_learning_rate="No learning rates were swept.",
    )  # fmt: skip
    return ScalingReport(
        "", width=WIDTH, batch_size=1024, warmup_steps=10, decay_fraction=0.2, num_rows=360_922,
        num_held_out_tokens=29_000, rare_tokens=3, seconds=5400.0, grids=(relu, topk),
    )  # fmt: skip


def put_report(store: StorePaths, database: Path, report: ScalingReport, run: str = "fake") -> None:
    """Write a report among the counts of a published run, as `publish` does."""
    assert database != store.database, "the store's own database is shared"
    with sqlite3.connect(database) as connection:
        (corpus,) = connection.execute("select corpus from runs where name = ?", (run,)).fetchone()
        corpus = {**json.loads(corpus), "scale": report.as_json()}
        connection.execute("update runs set corpus = ? where name = ?", (json.dumps(corpus), run))
    connection.close()


def loss_at(num_features: float, num_tokens: float) -> float:
    """The loss of a size and token count."""
    return FLOOR + A * num_features**-ALPHA + B * num_tokens**-BETA


def flops_of(num_features: float, num_tokens: float) -> float:
    """About six products of each weight and token."""
    return 12.0 * WIDTH * num_features * num_tokens


def _relu_grid() -> GridReport:
    grid = [_cell(f"{len(TOKENS) * i + j:016x}", size, tokens) for i, size in enumerate(SIZES)
            for j, tokens in enumerate(TOKENS)]  # fmt: skip
    sweeps = [_swept(size) for size in SIZES[:3]]
    others = [cell for _, cells in sweeps for cell in cells]
    wrong = replace(
        others[-1], key="d" * 16, learning_rate=3e-2, diverged=True, why_diverged="The loss was not finite at step 40.",
        loss=None, squared_error=None, l0=None, explained_variance=None, dead_share=None, rare_share=None,
    )  # fmt: skip
    cells = tuple(sorted((*grid, *others, wrong), key=lambda c: (c.num_features, c.num_tokens, c.learning_rate)))
    low, high = flops_of(SIZES[0], TOKENS[0]), flops_of(SIZES[-1], TOKENS[-1])
    exponent = ALPHA * BETA / (ALPHA + BETA)
    curve = [(flops, *_best(flops)) for flops in (low * (high / low) ** (k / 24) for k in range(25))]
    beyond = [(flops, *_best(flops)) for flops in (high * 10 ** (k / 4) for k in range(33))]

    def law(value: Callable[[float, float], float], width: float) -> tuple[tuple[CurvePoint, ...], ...]:
        return tuple(tuple(_near(flops, value(f, t), width) for flops, f, t in part) for part in (curve, beyond))

    loss, features, tokens = law(loss_at, 0.02), law(lambda f, _: f, 0.2), law(lambda _, t: t, 0.2)
    laws = (Interval(v, 0.95 * v, 1.05 * v) for v in (FLOOR, A, ALPHA, B, BETA, 5000.0, exponent))
    share = BETA / (ALPHA + BETA)
    return GridReport(
        architecture="relu", l1_coefficient=2.5, k=None, cells=cells,
        swept=tuple(one for one, _ in sweeps),
        learning_rate=LearningRateLaw(0.02, Interval(-0.3, -0.5, -0.1),
                                      tuple(_near(size, 0.02 * size**-0.3, 0.2) for size in SIZES), 512, 2048),
        why_no_learning_rate="",
        loss=LossLaw(*laws, loss[0], 28, 0.012, beyond=loss[1]),
        features=AllocationLaw(Interval(1e-4, 5e-5, 2e-4), Interval(share, share - 0.06, share + 0.06), *features),
        tokens=AllocationLaw(Interval(1.0, 0.5, 2.0), Interval(1 - share, 0.94 - share, 1.06 - share), *tokens),
        why_no_loss="",
        iso_curves=tuple(_iso(flops) for flops in (1e12, 3e12, 1e13)),
        predictions=tuple(_prediction(cell) for cell in grid if cell.held_out),
    )  # fmt: skip


def _cell(key: str, size: int, tokens: int, rate: float | None = None) -> Cell:
    fitted, held_out = loss_at(size, tokens), (size, tokens) in HELD_OUT
    best = 0.02 * size**-0.3
    scatter = 0.012 * math.sin(7 * math.log(size) + 3 * math.log(tokens))
    loss = fitted * (1 + scatter + (0.05 * math.log(rate / best) ** 2 if rate else 0.0))
    return Cell(
        key=key, num_features=size, num_tokens=tokens, learning_rate=rate or best,
        learning_rate_from="swept" if rate else "law" if size <= 2048 else "extrapolated",
        num_steps=tokens // 1024, flops=flops_of(size, tokens), diverged=False, why_diverged="", loss=loss,
        squared_error=0.7 * loss, l0=20 + 0.002 * size, explained_variance=1 - 0.7 * loss / WIDTH,
        dead_share=min(0.6, size / 40_000), rare_share=min(0.5, size / tokens), seconds=size * tokens / 3e7,
        held_out=held_out and not rate, in_fit=not held_out and not rate, fitted=None if rate else fitted,
        residual=None if rate else scatter,
    )  # fmt: skip


def _swept(size: int) -> tuple[SweptSize, list[Cell]]:
    cells = [_cell(f"a{size:08x}{place:07x}", size, SWEPT_TOKENS, rate) for place, rate in enumerate(RATES)]
    return SweptSize(size, SWEPT_TOKENS, 0.02 * size**-0.3, "", tuple(cell.key for cell in cells)), cells


def _near(x: float, value: float, width: float) -> CurvePoint:
    return CurvePoint(x, value, value / (1 + width), value * (1 + width))


def _best(flops: float) -> tuple[float, float]:
    """Features and tokens of the lowest loss."""
    pairs, both = flops / (12.0 * WIDTH), ALPHA + BETA
    features = (ALPHA * A / (BETA * B)) ** (1 / both) * pairs ** (BETA / both)
    return features, pairs / features


def _iso(flops: float) -> IsoCurve:
    def at(size: float) -> IsoPoint:
        tokens = flops / (12.0 * WIDTH * size)
        return IsoPoint(size, tokens, loss_at(size, tokens))

    sizes = [size for size in SIZES if TOKENS[0] <= at(size).num_tokens <= TOKENS[-1]]
    fine = [sizes[0] * (sizes[-1] / sizes[0]) ** (k / 30) for k in range(31)]
    minimum = at(_best(flops)[0])
    inside = sizes[0] < minimum.num_features < sizes[-1]
    curve = IsoCurve(flops, tuple(map(at, sizes)), tuple(map(at, fine)) if len(sizes) > 2 else (),
                     minimum if inside else None, "" if inside else "Its lowest point is at an end.")  # fmt: skip
    if not inside:
        return curve
    found = (Interval(v, 0.9 * v, 1.2 * v) for v in (minimum.num_features, minimum.num_tokens, minimum.loss))
    return replace(curve, **dict(zip(MINIMUM_OF, found, strict=True)))


def _prediction(cell: Cell) -> Prediction:
    assert cell.loss
    assert cell.fitted
    predicted = Interval(cell.fitted, 0.97 * cell.fitted, 1.03 * cell.fitted)
    return Prediction(cell.key, predicted, cell.loss, cell.loss / cell.fitted - 1,
                      predicted.low <= cell.loss <= predicted.high)  # fmt: skip
