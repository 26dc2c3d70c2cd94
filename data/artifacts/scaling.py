"""Artifact of stage `scale`: a grid of small trainings, and what it says of how many features and tokens to choose.

All of it is the manifest's counts, a ScalingReport as JSON, which `publish` carries to the server among the counts of
the stages, under `scale`. How it is measured: docs/scaling.md and docs/method.md, *Scaling laws*.

A grid has one objective: one architecture with one lambda (relu) or one k (topk). Losses of two grids are never in one
fit, nor in one figure. Intervals are at 95%, by bootstrap but where it is said otherwise. Losses are in normalised
units, in which the mean square norm of a token is the width of what is read.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

from data.artifacts.scaling_laws import AllocationLaw, Interval, IsoCurve, LearningRateLaw, LossLaw, read_law
from data.errors import ArtifactError

LearningRateFrom = Literal["given", "swept", "law", "extrapolated"]
"""Where a cell's learning rate is from: the recipe gives one for all; it is one of several that were swept; the law of
the swept sizes gives it, for a size among these or beyond them."""


@dataclass(frozen=True)
class Cell:
    """One autoencoder that was trained: a point of the grid."""

    key: str
    """Names it in addresses and files: 16 characters of 0-9a-f."""
    num_features: int
    num_tokens: int
    """Trained on: steps times batch, with rows that were read again counted again."""
    learning_rate: float
    """At its highest."""
    learning_rate_from: LearningRateFrom
    num_steps: int
    flops: float
    """Of the whole training, counted as dense products, see pipeline/scaling/flops.py."""
    diverged: bool
    why_diverged: str
    """As a sentence; "" when it did not."""
    loss: float | None
    """The training objective on the held-out tokens, mean over these. This and what follows is None where it diverged.
    relu: squared error + lambda * sum of activations; topk: the squared error."""
    squared_error: float | None
    """|x - x^|^2 of it."""
    l0: float | None
    explained_variance: float | None
    dead_share: float | None
    """Share of features that are active on no held-out token."""
    rare_share: float | None
    """Share of features that are active on some, but on fewer than the report's `rare_tokens`."""
    seconds: float
    """Of the clock: its steps, those before it parted from longer ones of its size and learning rate included. Other
    trainings ran beside it."""
    held_out: bool
    """Kept out of all fits, to try them on."""
    in_fit: bool
    """Whether the law of the loss was fitted to it. Of one size and token count one cell is."""
    fitted: float | None
    """Loss by the law; None without one, and for cells of a sweep that are not in the fit."""
    residual: float | None
    """loss / fitted - 1."""


@dataclass(frozen=True)
class SweptSize:
    """Learning rates that were tried at one size, at the sweep's number of tokens."""

    num_features: int
    num_tokens: int
    best: float | None
    """Minimum of a parabola through the best and its two neighbours; None where none is lower on both sides."""
    why_none: str
    """The reason, as a sentence; "" where there is a best one."""
    cells: tuple[str, ...]
    """Keys of its cells, by rising learning rate."""


@dataclass(frozen=True)
class Prediction:
    """A held-out cell against what the law, which was fitted without it, says of it."""

    cell: str
    """Its key."""
    predicted: Interval
    """Of a single new cell: the law's uncertainty and the scatter about it."""
    measured: float
    error: float
    """measured / predicted - 1."""
    inside: bool
    """Whether the measured loss lies within the interval."""


@dataclass(frozen=True)
class GridReport:
    """One grid: one objective."""

    architecture: Literal["relu", "topk"]
    l1_coefficient: float | None
    """relu: lambda."""
    k: int | None
    """topk."""
    cells: tuple[Cell, ...]
    """By size, token count, learning rate."""
    swept: tuple[SweptSize, ...]
    learning_rate: LearningRateLaw | None
    why_no_learning_rate: str
    """The reason why there is no law of the learning rate, as a sentence; "" when there is one."""
    loss: LossLaw | None
    features: AllocationLaw | None
    """Best number of features against FLOPs; None just where `loss` is."""
    tokens: AllocationLaw | None
    why_no_loss: str
    """The reason why there is no law of the loss, as a sentence; "" when there is one."""
    iso_curves: tuple[IsoCurve, ...]
    predictions: tuple[Prediction, ...]

    @property
    def key(self) -> str:
        """Its name in addresses: relu-2.5, topk-32."""
        return f"{self.architecture}-{self.k if self.architecture == 'topk' else f'{self.l1_coefficient:g}'}"

    @property
    def usable(self) -> tuple[Cell, ...]:
        """Cells that did not diverge."""
        return tuple(cell for cell in self.cells if not cell.diverged)

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Self:
        """One from plain JSON."""
        made = {
            "cells": tuple(Cell(**one) for one in raw["cells"]),
            "swept": tuple(SweptSize(**{**one, "cells": tuple(one["cells"])}) for one in raw["swept"]),
            "learning_rate": read_law(LearningRateLaw, raw["learning_rate"]),
            "loss": read_law(LossLaw, raw["loss"]),
            "features": read_law(AllocationLaw, raw["features"]),
            "tokens": read_law(AllocationLaw, raw["tokens"]),
            "iso_curves": tuple(IsoCurve.from_json(one) for one in raw["iso_curves"]),
            "predictions": tuple(
                Prediction(**{**one, "predicted": Interval(**one["predicted"])}) for one in raw["predictions"]
            ),
        }
        return cls(**{**raw, **made})


@dataclass(frozen=True)
class ScalingReport:
    """All grids of a run."""

    why_none: str
    """The reason why nothing was trained, as a sentence; "" when something was."""
    width: int = 0
    """D of what is read."""
    batch_size: int = 0
    warmup_steps: int = 0
    """Over which lambda rises from 0: the same for all cells."""
    decay_fraction: float = 0.0
    """Share of a cell's steps, at its end, over which the learning rate falls to 0."""
    num_rows: int = 0
    """Different training tokens there are; a cell of more reads them again."""
    num_held_out_tokens: int = 0
    """On which all cells are measured."""
    rare_tokens: int = 0
    """See Cell.rare_share."""
    seconds: float = 0.0
    """Of training, cell by cell; steps that cells share are counted once."""
    grids: tuple[GridReport, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The same as plain JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Self:
        """One from plain JSON. Raises ArtifactError when it is no report of this version."""
        try:
            return cls(**{**raw, "grids": tuple(GridReport.from_json(one) for one in raw["grids"])})
        except (KeyError, TypeError) as error:
            raise ArtifactError(f"the report of stage 'scale' cannot be read ({error}): run `monosema scale`") from None
