"""A lane of a grid: autoencoders of one size and learning rate that differ only in how long they are trained.

With a learning rate that is constant but for a fall at the very end, and an L1 coefficient that rises over a fixed
number of steps, nothing before the fall depends on where the end will be. So all of them share one trunk, and each
parts from it, with a copy of the weights and of Adam's moments, where its own learning rate begins to fall.
"""

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from torch import Tensor

from data.errors import ConfigError
from pipeline.training.architecture import Architecture


@dataclass(frozen=True)
class Ending:
    """One of the trainings of a lane."""

    key: str
    num_steps: int
    decay_steps: int
    """At its end, over which the learning rate falls linearly to 0."""

    @property
    def parts_at(self) -> int:
        """Steps that it shares with the longer ones."""
        return self.num_steps - self.decay_steps

    def factor(self, step: int) -> float:
        """Factor of the learning rate, from `parts_at` on."""
        return (self.num_steps - step) / self.decay_steps


@dataclass(frozen=True)
class LanePlan:
    """What a lane shall train."""

    name: str
    num_features: int
    learning_rate: float
    warmup_steps: int
    """Over which the L1 coefficient rises linearly from 0."""
    make: Callable[[], Architecture]
    endings: tuple[Ending, ...]

    @property
    def num_steps(self) -> int:
        return max(ending.num_steps for ending in self.endings)


class Ended(NamedTuple):
    """A training that is over."""

    key: str
    model: Architecture | None
    """None when it diverged."""
    why_diverged: str
    """As a sentence; "" when it did not."""
    seconds: float
    """Wall time of its steps, those of the trunk included."""
    own_seconds: float
    """Of these, those since it parted from the trunk."""


@dataclass
class Course:
    """An autoencoder under way: the trunk, or what parted from it."""

    model: Architecture
    seconds: float = 0.0
    shared_seconds: float = 0.0
    """Of these, those before it parted."""
    why_diverged: str = ""

    def step(self, x_BD: Tensor, learning_rate: float, warmup: float, number: int) -> None:
        """One step. Raises ConfigError when the activations themselves are not finite."""
        start = time.perf_counter()
        stats = self.model.step(x_BD, learning_rate=learning_rate, warmup=warmup)
        self.seconds += time.perf_counter() - start
        if not abs(stats.loss) < float("inf"):
            if not bool(x_BD.isfinite().all()):
                raise ConfigError(
                    f"activations of step {number} are not finite: the harvest is damaged; delete its folder in the "
                    "store, and run the recipe again with model.dtype=bfloat16 or float32"
                )
            self.why_diverged = f"Its loss was no longer a number at step {number:,}."


@dataclass
class Lane:
    """A lane under way."""

    plan: LanePlan
    trunk: Course | None
    """None once all have parted from it."""
    waiting: list[Ending]
    """Endings that have not parted, by where they do."""
    parted: dict[Ending, Course] = field(default_factory=dict)

    @classmethod
    def begin(cls, plan: LanePlan) -> "Lane":
        """A lane at its first step."""
        return cls(plan, Course(plan.make()), _by_parting(plan.endings))

    @property
    def is_over(self) -> bool:
        return not self.waiting and not self.parted

    def train(self, batches: Sequence[Tensor], first_step: int) -> tuple[list[Ended], int]:
        """One step for each batch; returns what ended, and how many steps were made by all courses together."""
        ended, num_made = [], 0
        for step, x_BD in enumerate(batches, first_step):
            self._part(step)
            num_made += (self.trunk is not None) + len(self.parted)
            ended += self._step(x_BD, step)
        return ended, num_made

    def _part(self, step: int) -> None:
        """Let those part whose learning rate falls from this step on. The last takes the trunk itself."""
        while self.waiting and self.waiting[0].parts_at == step:
            ending = self.waiting.pop(0)
            assert self.trunk is not None, "a trunk stands as long as one waits for it"
            course = self._copy(self.trunk) if self.waiting else self.trunk
            self.parted[ending] = replace(course, shared_seconds=course.seconds)
        if not self.waiting:
            self.trunk = None

    def _step(self, x_BD: Tensor, step: int) -> list[Ended]:
        warmup = min(1.0, (step + 1) / max(1, self.plan.warmup_steps))
        ended = []
        if self.trunk is not None:
            self.trunk.step(x_BD, self.plan.learning_rate, warmup, step + 1)
            if self.trunk.why_diverged:
                ended += [_end(ending, self.trunk) for ending in self.waiting]
                self.waiting, self.trunk = [], None
        for ending, course in list(self.parted.items()):
            course.step(x_BD, self.plan.learning_rate * ending.factor(step), warmup, step + 1)
            if course.why_diverged or step + 1 == ending.num_steps:
                ended.append(_end(ending, self.parted.pop(ending)))
        return ended

    def _copy(self, course: Course) -> Course:
        model = self.plan.make()
        model.load_state(copy.deepcopy(course.model.state()))
        return Course(model, course.seconds)

    # ---- Going on after a kill

    def state(self) -> dict[str, Any]:
        """Everything that a later step depends on."""
        return {
            "trunk": _state(self.trunk) if self.trunk else None,
            "parted": {ending.key: _state(course) for ending, course in self.parted.items()},
        }

    @classmethod
    def resume(cls, plan: LanePlan, state: Mapping[str, Any], step: int) -> "Lane | None":
        """The lane as it stood before `step`; None where the state does not hold all that the plan asks for."""
        waiting = [ending for ending in plan.endings if ending.key not in state["parted"]]
        if waiting and (state["trunk"] is None or min(ending.parts_at for ending in waiting) < step):
            return None
        trunk = cls._load(plan, state["trunk"]) if waiting else None
        parted = {
            ending: cls._load(plan, state["parted"][ending.key])
            for ending in plan.endings
            if ending.key in state["parted"]
        }
        return cls(plan, trunk, _by_parting(waiting), parted)

    @staticmethod
    def _load(plan: LanePlan, state: Mapping[str, Any]) -> Course:
        model = plan.make()
        model.load_state(state["model"])
        return Course(model, state["seconds"], state["shared_seconds"])


def _by_parting(endings: Sequence[Ending]) -> list[Ending]:
    return sorted(endings, key=lambda ending: ending.parts_at)


def _end(ending: Ending, course: Course) -> Ended:
    model = None if course.why_diverged else course.model
    return Ended(ending.key, model, course.why_diverged, course.seconds, course.seconds - course.shared_seconds)


def _state(course: Course) -> dict[str, Any]:
    return {"model": course.model.state(), "seconds": course.seconds, "shared_seconds": course.shared_seconds}
