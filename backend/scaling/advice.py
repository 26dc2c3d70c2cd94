"""What a budget should buy, by the fitted laws."""

import math
from dataclasses import dataclass

from backend.html.formats import number
from backend.scaling.wording import power, short
from data.artifacts.scaling import GridReport
from data.artifacts.scaling_laws import CurvePoint, value_at

MAX_TYPED = 40


@dataclass(frozen=True)
class Advice:
    """The form for a budget, and its answer."""

    typed: str
    problem: str
    """The reason why there is no answer; "" for none."""
    answer: list[tuple[str, str]]
    """Name, and value with its interval; empty before anything was typed."""
    warning: str
    """How far it extrapolates; "" where it does not."""
    example: str
    max_typed: int = MAX_TYPED


def advise(grid: GridReport, typed: str) -> Advice:
    """Features, tokens and loss for as many FLOPs as were typed."""
    assert grid.loss is not None, "asked only where there is a law"
    laws = [law.curve[:-1] + law.beyond for law in (grid.features, grid.tokens, grid.loss) if law]
    curve = laws[0]
    example = f"{grid.loss.curve[-1].x:.0e}".replace("+", "")
    if not typed.strip():
        return Advice("", "", [], "", example)
    flops = _parse(typed)
    if flops is None:
        return Advice(typed, f"“{typed}” is no number of FLOPs: write one like {example}.", [], "", example)
    found = [value_at(law, flops) for law in laws]
    if None in found:
        low, high = power(curve[0].x), power(curve[-1].x)
        problem = f"{power(flops)} FLOPs are outside of what these cells can say something about, {low} to {high}."
        return Advice(typed, problem, [], "", example)
    names = ("Features", "Tokens", "Loss")
    answer = [(name, _text(name, point)) for name, point in zip(names, found, strict=True) if point]
    return Advice(typed, "", answer, _warning(flops, grid.loss.curve[-1].x), example)


def _parse(typed: str) -> float | None:
    try:
        flops = float(typed.replace(",", "").replace(" ", ""))
    except ValueError:
        return None
    return flops if math.isfinite(flops) and flops > 0 else None


def _text(name: str, point: CurvePoint) -> str:
    if name == "Loss":
        return f"{number(point.value)} ({number(point.low)} to {number(point.high)})"
    return f"{short(point.value)} ({short(point.low)} to {short(point.high)})"


def _warning(flops: float, largest: float) -> str:
    if flops <= largest:
        return ""
    return f"This is {number(flops / largest, 2)} times the compute of the largest cell: an extrapolation."
