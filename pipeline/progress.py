"""How a long step tells a person where it is: a bar on a terminal, a plain line now and then anywhere else.

All of it goes to stderr, so that stdout holds results alone.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.text import Text

SECONDS_BETWEEN_LINES = 10.0
"""Where there is no terminal, one line in this time."""


_listeners: list[Callable[[], None]] = []


class Progress(ABC):
    """What a step calls as it goes."""

    def advance(self, amount: float = 1, **values: float | str) -> None:
        """`amount` more is done; `values` (a loss, say) are shown beside it until others come."""
        self.show(amount, values)
        for listener in _listeners:
            listener()

    @abstractmethod
    def show(self, amount: float, values: dict[str, float | str]) -> None:
        """Tell a person."""

    @abstractmethod
    def close(self, *, finished: bool) -> None:
        """Say for the last time how far it came."""


@cache
def console() -> Console:
    """The one console of progress and log lines, so that a line never breaks a bar."""
    return Console(stderr=True, highlight=False)


def log(message: str) -> None:
    """Print one plain line."""
    console().print(message, markup=False, soft_wrap=True)


@contextmanager
def track(description: str, total: float | None, unit: str = "tok", *, done: float = 0) -> Iterator[Progress]:
    """Show the progress of a step of `total` units (None: not known), of which an earlier attempt did `done`."""
    progress: Progress
    if console().is_terminal:
        progress = Bar(description, total, unit, done=done)
    else:
        progress = Lines(description, total, unit, done=done)
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


class Lines(Progress):
    """A line every ten seconds, and one at the end."""

    def __init__(
        self,
        description: str,
        total: float | None,
        unit: str,
        *,
        done: float = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.description, self.total, self.unit = description, total, unit
        self.done = self._first = done
        self._values: dict[str, float | str] = {}
        self._clock = clock
        self._start = self._last_line = clock()

    def show(self, amount: float, values: dict[str, float | str]) -> None:
        self.done += amount
        self._values.update(values)
        now = self._clock()
        if now - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = now
            log(self._line(now - self._start))

    def close(self, *, finished: bool) -> None:
        seconds = self._clock() - self._start
        took = f"{format_number(self.done)} {self.unit} in {format_seconds(seconds)}"
        parts = [took, *([self._rate(seconds)] if seconds else []), *format_values(self._values)]
        log(f"{self.description}: {'' if finished else 'stopped after '}{', '.join(parts)}")

    def _line(self, seconds: float) -> str:
        if self.total:
            rate = (self.done - self._first) / seconds
            left = f"{format_seconds((self.total - self.done) / rate)} left" if rate > 0 else "time left not known"
            share = (
                f"{format_number(self.done)} of {format_number(self.total)} {self.unit} ({self.done / self.total:.0%})"
            )
            parts = [share, self._rate(seconds), left]
        else:
            parts = [f"{format_number(self.done)} {self.unit}", self._rate(seconds)]
        return f"{self.description}: " + ", ".join([*parts, *format_values(self._values)])

    def _rate(self, seconds: float) -> str:
        return f"{format_number((self.done - self._first) / seconds)} {self.unit}/s"


class Bar(Progress):
    """A bar that is drawn again in place."""

    def __init__(self, description: str, total: float | None, unit: str, *, done: float = 0) -> None:
        self._values: dict[str, float | str] = {}
        self._rich = RichProgress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=28),
            TextColumn("{task.percentage:>3.0f}%" if total else ""),
            _DoneColumn(unit),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[values]}", markup=False),
            console=console(),
            speed_estimate_period=20,
        )
        self._task = self._rich.add_task(f"{description:<12}", total=total, values="")
        self._rich.update(self._task, completed=done)
        self._rich.start()

    def show(self, amount: float, values: dict[str, float | str]) -> None:
        self._values.update(values)
        self._rich.update(self._task, advance=amount, values=" ".join(format_values(self._values)))

    def close(self, *, finished: bool) -> None:
        if finished:
            self._rich.update(self._task, total=self._rich.tasks[0].completed)
        self._rich.stop()


class _DoneColumn(ProgressColumn):
    """How much is done, and how fast."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        rate = f" {format_number(speed)} {self._unit}/s" if speed else ""
        return Text(f"{format_number(task.completed)} {self._unit}{rate}")


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
