"""Numbers and sentences of the page of scaling laws."""

import math

from backend.html.formats import count, number, share
from data.artifacts.scaling import Cell, GridReport, ScalingReport
from data.artifacts.scaling_laws import Interval, LearningRateLaw, LossLaw

SUPERSCRIPTS = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")
RATE_FROM = {
    "given": "given by the recipe",
    "swept": "one of several that were tried",
    "law": "by the law of learning rates",
    "extrapolated": "by the law of learning rates, beyond the sizes at which they were tried",
}


def power(value: float, digits: int = 2) -> str:
    """A number of FLOPs: 1.6 × 10¹³."""
    exponent = math.floor(math.log10(value)) if value > 0 else 0
    factor = f"{value / 10**exponent:.{digits - 1}f}"
    if factor.startswith("10"):
        factor, exponent = "1." + "0" * (digits - 1), exponent + 1
    return f"{factor} × 10{str(exponent).translate(SUPERSCRIPTS)}"


def short(value: float) -> str:
    """A number of tokens or features in three digits: 512, 65.5k, 1.05M."""
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e4, "k")):
        if value >= size:
            return f"{value / (1e3 if letter == 'k' else size):.3g}{letter}"
    return f"{value:,.0f}"


def interval(one: Interval, digits: int = 2) -> str:
    """A value with its interval, and true minus signs: 0.34 (0.30 to 0.38)."""
    value, low, high = (number(value, digits).replace("-", "−") for value in (one.value, one.low, one.high))
    return f"{value} ({low} to {high})"


def size_interval(value: float, one: Interval | None) -> str:
    """A number of features or tokens, with its interval where one is known: 3,202 (2,910 to 3,560)."""
    rounded = [float(f"{number:.3g}") for number in ((value, one.low, one.high) if one else (value,))]
    return short(rounded[0]) + (f" ({short(rounded[1])} to {short(rounded[2])})" if one else "")


def objective_title(grid: GridReport) -> str:
    """The objective of a grid, short: ReLU, λ 2.5."""
    return f"TopK, k {grid.k}" if grid.architecture == "topk" else f"ReLU, λ {grid.l1_coefficient:g}"


def objective_sentence(grid: GridReport) -> str:
    """What the loss of a grid is."""
    if grid.architecture == "topk":
        return f"The loss is the squared error with k = {grid.k} active features per token."
    return f"The loss is the training objective: squared error + λ × sum of activations, λ = {grid.l1_coefficient:g}."


def headline(grid: GridReport) -> str:
    """What ten times the compute should buy, where there is a law."""
    if grid.features is None or grid.tokens is None:
        return "How many features, and how many tokens?"
    features, tokens = (10**law.exponent.value for law in (grid.features, grid.tokens))
    return f"Ten times the compute: {number(features, 2)} times the features, {number(tokens, 2)} times the tokens"


def headline_range(grid: GridReport, cells: list[Cell]) -> str:
    """How sure the headline is, and over which range of compute it was measured; "" without a law."""
    if grid.features is None or grid.tokens is None:
        return ""
    features, tokens = (
        f"{number(10**law.exponent.low, 2)} to {number(10**law.exponent.high, 2)} times the {name}"
        for law, name in ((grid.features, "features"), (grid.tokens, "tokens"))
    )
    fitted = [cell.flops for cell in cells if cell.in_fit]
    return f"95% intervals: {features}, {tokens}; measured from {power(min(fitted))} to {power(max(fitted))} FLOPs."


def law_rows(law: LossLaw) -> list[tuple[str, str, str]]:
    """The numbers of a law of the loss: name, value with interval, meaning."""
    return [
        ("Floor", _floor(law.floor), "loss that is left with features and tokens without end"),
        ("Exponent of compute", interval(law.exponent), "how fast the rest falls at the best allocation"),
        ("α, of features", interval(law.features_exponent), "how fast what few features cost falls with more"),
        ("β, of tokens", interval(law.tokens_exponent), "how fast what few tokens cost falls with more"),
        ("δ, demand", interval(law.demand), "how fast the cost of few tokens grows with features"),
        ("Residuals", share(law.residual_rms, 2), f"root mean square over the {law.num_cells} cells of the fit"),
    ]


def _floor(floor: Interval) -> str:
    """A floor with its interval, and that it is hardly known where it may be none."""
    tiny = 1e-3 * floor.high
    value, low, high = ("0" if one < tiny else number(one) for one in (floor.value, floor.low, floor.high))
    return f"{value} ({low} to {high}){'' if low != '0' else ', hardly known'}"


def beyond_swept(law: LearningRateLaw) -> str:
    """The sizes at which a law of learning rates is extrapolated, as the end of a sentence; "" where there are none."""
    sizes = [point.x for point in law.curve]
    which = [f"below {count(law.smallest_swept)}"] if min(sizes) < law.smallest_swept else []
    which += [f"beyond {count(law.largest_swept)}"] if max(sizes) > law.largest_swept else []
    return f"; sizes {' and '.join(which)} are extrapolated" if which else ""


def spent(seconds: float) -> str:
    """How long something took: 48 seconds, 37 minutes, 2.5 hours."""
    if seconds < 120:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"


def supports(grid: GridReport, cells: list[Cell]) -> list[str]:
    """What the fit supports, a sentence each; none without a law."""
    fitted = [cell for cell in cells if cell.in_fit]
    if grid.loss is None or not fitted:
        return []
    low, high = (pick(cell.flops for cell in fitted) for pick in (min, max))
    features = " to ".join(count(pick(cell.num_features for cell in fitted)) for pick in (min, max))
    tokens = " to ".join(short(pick(cell.num_tokens for cell in fitted)) for pick in (min, max))
    inside = sum(one.inside for one in grid.predictions)
    said = [
        f"Loss from {features} features, {tokens} tokens and {power(low)} to {power(high)} FLOPs, by {len(fitted)} "
        f"cells, with residuals of {share(grid.loss.residual_rms, 2)}."
    ]
    if grid.predictions:
        said.append(
            f"The loss of new cells: of {len(grid.predictions)} that were kept out of the fit, {inside} within the "
            "interval that was predicted."
        )
    return said


def limits(report: ScalingReport, grid: GridReport, cells: list[Cell]) -> list[str]:
    """What it does not support, a sentence each."""
    said = ["Another model, layer, corpus, objective, batch size or schedule: all of these are the same for all cells."]
    if again := [cell for cell in cells if cell.num_tokens > report.num_rows]:
        said.append(
            f"Fresh text: there are {count(report.num_rows)} different tokens; {len(again)} cells read some of them "
            "again, which teaches less than new ones would."
        )
    if grid.loss is not None:
        said.append("Anything beyond the cells: dotted lines are extrapolated; their intervals assume the same law.")
    guessed = {cell.num_features for cell in cells if cell.learning_rate_from == "extrapolated"}
    if guessed:
        sizes = ", ".join(map(count, sorted(guessed)))
        said.append(f"The best learning rate of {sizes} features: it is extrapolated from other sizes, not tried.")
    if diverged := [cell for cell in grid.cells if cell.diverged]:
        some = "1 cell that diverged: it is" if len(diverged) == 1 else f"{len(diverged)} cells that diverged: they are"
        said.append(f"{some} listed below, and left out of every fit.")
    said.append(
        "Understanding: a lower loss does not say that more features are found, or that those found can be read."
    )
    return said
