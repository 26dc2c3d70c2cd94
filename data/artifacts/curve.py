"""What a training curve says of its end: whether the loss was still falling.

A point of a curve is the mean over the steps since the point before, see pipeline/training/trainee.py. Asked is how
much lower the mean loss of the last tenth of all steps was than that of the tenth before, both taken before the
learning rate began to fall: as it falls, every loss falls with it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

WINDOW = 0.1
"""Share of all steps in each of the two stretches."""
STILL_FALLING = 0.01
"""The loss was still falling when it fell by more than this share from one stretch to the next. On the sample the mean
of a stretch is known to a quarter of that."""


@dataclass(frozen=True)
class LossTrend:
    """How the loss went at full learning rate, at its end."""

    num_steps: int
    """Of the whole training."""
    fall: float
    """Share by which the mean loss of the last stretch was below that of the one before; negative when it rose."""
    still_falling: bool

    def as_json(self) -> dict[str, Any]:
        """The same as plain JSON."""
        return asdict(self)


def loss_trend(points: Sequence[Mapping[str, float]]) -> LossTrend | None:
    """The trend of a curve; None when it has too few points for one."""
    highest = max((point["learning_rate"] for point in points), default=0.0)
    full = [point for point in points if point["learning_rate"] >= highest]
    if not full:
        return None
    num_steps, end = int(points[-1]["step"]), full[-1]["step"]
    width = WINDOW * num_steps
    before = _mean_loss(full, end - 2 * width, end - width)
    last = _mean_loss(full, end - width, end)
    if before is None or last is None or before <= 0:
        return None
    fall = 1 - last / before
    return LossTrend(num_steps, fall, fall > STILL_FALLING)


def describe_falling(trends: Mapping[str, Mapping[str, Any] | None]) -> str:
    """Which SAEs of a run, by name, were still falling, as a sentence; "" when none was. `trends` as plain JSON."""
    falling = {name: trend for name, trend in trends.items() if trend and trend["still_falling"]}
    if not falling:
        return ""
    *others, last = falling
    named = f"{', '.join(others)} and {last}" if others else last
    steps = max(trend["num_steps"] for trend in falling.values())
    return (
        f"The loss of {named} was still falling after {steps:,} steps: more text or more epochs would change "
        f"{'these' if others else 'its'} figures."
    )


def _mean_loss(points: Sequence[Mapping[str, float]], after: float, until: float) -> float | None:
    """Over the points of steps above `after`, up to `until`."""
    losses = [point["loss"] for point in points if after < point["step"] <= until]
    return sum(losses) / len(losses) if losses else None
