"""Progress of a long step: a bar on a terminal, a plain line now and then anywhere else.

All of it goes to stderr, so that stdout holds results alone.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

SECONDS_BETWEEN_LINES = 10.0
"""Time between two lines where there is no terminal."""
SPEED_SECONDS = 120.0
"""The rate, and with it the time left, is that of so many seconds past."""

_listeners: list[Callable[[], None]] = []


@cache
def console() -> "Console":
    """The one console of progress and log lines, so that a line never breaks a bar."""
    from rich.console import Console  # here, for `--help` shows none

    return Console(stderr=True, highlight=False)


def log(message: str) -> None:
    """Print one plain line."""
    console().print(message, markup=False, soft_wrap=True)


class Progress:
    """Progress of one step, which reports to it as it goes."""

    def __init__(
        self,
        description: str,
        total: float | None,
        unit: str,
        *,
        done: float = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        from rich import progress as rich  # here, for most commands show none

        self._unit, self._first, self._clock, self._last_line = unit, done, clock, clock()
        self._values: dict[str, float | str] = {}
        self._rich = rich.Progress(
            rich.TextColumn("{task.description}", markup=False),
            rich.BarColumn(bar_width=28),
            rich.TextColumn("{task.fields[state]}", markup=False),
            console=console(),
            transient=True,
            speed_estimate_period=SPEED_SECONDS,
            get_time=clock,
        )
        self._rich.advance(self._rich.add_task(description, total=total, state=""), done)
        self._task = self._rich.tasks[0]
        if console().is_terminal:
            self._rich.start()

    def advance(self, amount: float = 1, **values: float | str) -> None:
        """`amount` more is done; `values` (a loss, say) are shown beside it until others come."""
        self._values.update(values)
        self._rich.advance(self._task.id, amount)
        self._rich.update(self._task.id, state=self._state())
        if not console().is_terminal and self._clock() - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = self._clock()
            log(f"{self._task.description}: {self._state()}")
        for listener in _listeners:
            listener()

    def close(self, *, finished: bool) -> None:
        """Put a line in the place of the bar: how far it came, in which time."""
        if console().is_terminal:
            self._rich.stop()
        seconds = self._task.elapsed or 0.0
        parts = [f"{format_number(self._task.completed)} {self._unit} in {format_seconds(seconds)}"]
        if seconds:
            parts.append(self._rate((self._task.completed - self._first) / seconds))
        stopped = "" if finished else "stopped after "
        log(f"{self._task.description}: {stopped}{', '.join([*parts, *format_values(self._values)])}")

    def _state(self) -> str:
        """Share done, speed, time left and the values."""
        task = self._task
        of, share = (f" of {format_number(task.total)}", f" ({task.percentage:.0f}%)") if task.total else ("", "")
        parts = [f"{format_number(task.completed)}{of} {self._unit}{share}"]
        if task.speed is not None:
            parts.append(self._rate(task.speed))
        if task.time_remaining is not None:
            parts.append(f"{format_seconds(task.time_remaining)} left")
        return ", ".join([*parts, *format_values(self._values)])

    def _rate(self, speed: float) -> str:
        return f"{format_number(speed)} {self._unit}/s"


@contextmanager
def track(description: str, total: float | None, unit: str = "tok", *, done: float = 0) -> Iterator[Progress]:
    """Show the progress of a step of `total` units (None: not known), of which an earlier attempt did `done`."""
    progress = Progress(description, total, unit, done=done)
    try:
        yield progress
    except BaseException:
        progress.close(finished=False)
        raise
    progress.close(finished=True)


@contextmanager
def listening(listener: Callable[[], None]) -> Iterator[None]:
    """Call `listener` whenever a step goes on, while the block runs."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def format_values(values: dict[str, float | str]) -> list[str]:
    """`name value` for each, numbers to four significant digits."""
    return [f"{name} {value if isinstance(value, str) else f'{value:.4g}'}" for name, value in values.items()]


def format_number(number: float) -> str:
    """1,234 or 0.57: whole above 100."""
    return f"{number:,.0f}" if number >= 100 or number == int(number) else f"{number:.3g}"


def format_seconds(seconds: float) -> str:
    """0.4 s, 12 s, 3:07 or 1:02:03."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"
