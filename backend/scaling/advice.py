"""What a budget should buy, by the fitted laws, as the page and its API tell it."""

from dataclasses import dataclass, replace

from backend.html.formats import number
from backend.scaling.address import MAX_BUDGET
from backend.scaling.wording import power, short
from data.artifacts.scaling import GridReport
from data.artifacts.scaling_advice import FAR, GPU_FLOPS, Advice, advise, flops_per_second
from data.artifacts.scaling_budgets import Budget, read_budget
from data.artifacts.scaling_laws import CurvePoint
from data.errors import ConfigError


@dataclass(frozen=True)
class BudgetForm:
    """The form for a budget, and its answer."""

    typed: str
    problem: str
    """The reason why there is no answer; "" for none."""
    answer: list[tuple[str, str]]
    """Name, and value with its interval; empty before anything was typed."""
    warning: str
    """How far it extrapolates; "" where it does not."""
    example: str
    rates: str
    """At which rates hours are counted, as a sentence."""
    max_typed: int = MAX_BUDGET


def budget_form(grid: GridReport, typed: str) -> BudgetForm:
    """Features, tokens and loss for the budget that was typed; the same messages as the command line's."""
    assert grid.loss is not None, "asked only where there is a law"
    example = f"{grid.loss.curve[-1].x:.0e}FLOPs".replace("+", "")
    empty = BudgetForm(typed, "", [], "", example, _rates(grid))
    if not typed.strip():
        return empty
    try:
        budget = read_budget(typed)
        advice = advise(grid, budget)
    except ConfigError as error:
        message = str(error)
        return replace(empty, problem=f"{message[:1].upper()}{message[1:]}.")
    return replace(empty, answer=_answer(grid, budget, advice), warning=_warning(advice))


def _rates(grid: GridReport) -> str:
    own = power(flops_per_second(grid))
    return (
        f"An hour of a GPU is counted at {power(GPU_FLOPS, 1)} FLOPs each second (an H100 at two fifths of its "
        f"bfloat16 peak), one of the machine that trained the grid at {own}, as measured in its largest cell."
    )


def _answer(grid: GridReport, budget: Budget, advice: Advice) -> list[tuple[str, str]]:
    flops = [("Compute", f"{power(advice.flops)} FLOPs")] if budget.unit != "flops" else []
    rate = []
    if advice.learning_rate is not None and grid.learning_rate is not None:
        inside = grid.learning_rate.covers(advice.features.value)
        rate = [("Learning rate", f"{advice.learning_rate:.2g}{'' if inside else ', extrapolated'}")]
    loss = advice.loss
    return [
        *flops,
        ("Features", _text(advice.features)),
        ("Tokens", _text(advice.tokens)),
        ("Loss", f"{number(loss.value)} ({number(loss.low)} to {number(loss.high)})"),
        *rate,
    ]


def _text(point: CurvePoint) -> str:
    return f"{short(point.value)} ({short(point.low)} to {short(point.high)})"


def _warning(advice: Advice) -> str:
    if advice.extrapolation <= 1:
        return ""
    times = short(advice.extrapolation) if advice.extrapolation >= FAR else number(advice.extrapolation, 2)
    said = f"This is {times} times the compute of the largest cell: an extrapolation."
    if advice.extrapolation > FAR:
        said += " So far out it is a direction and no measurement: its intervals hold only if the law does."
    return said
