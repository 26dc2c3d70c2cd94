"""One autoencoder in training: its schedule, its curve, its steps."""

import math
import time
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from torch import Tensor

from data.errors import ConfigError
from pipeline.training.architecture import Architecture, StepStats

DEAD_TOKENS = 10_000_000
"""The curve's dead share counts features that were inactive over this many tokens, or all so far."""


class Normalisation(NamedTuple):
    """x~ = scale (x - mean), with mean squared norm D over the stored rows."""

    mean_D: Tensor
    """float64"""
    rms: float
    """Root mean square norm of x - mean."""

    @property
    def scale(self) -> float:
        return math.sqrt(len(self.mean_D)) / self.rms

    def apply(self, x_ND: Tensor) -> Tensor:
        """Normalised rows, float32."""
        return (x_ND.float() - self.mean_D.float().to(x_ND.device)).mul_(self.scale)


@dataclass(frozen=True)
class Schedule:
    """Schedule of the quantities that change from step to step."""

    num_steps: int
    warmup_fraction: float
    decay_fraction: float

    def warmup(self, step: int) -> float:
        """Factor of the sparsity loss, and of the learning rate of what is continued: rises linearly to 1."""
        return min(1.0, (step + 1) / max(1.0, self.warmup_fraction * self.num_steps))

    def decay(self, step: int) -> float:
        """Factor of the learning rate: 1, then falls linearly to 0."""
        return min(1.0, (self.num_steps - step) / max(1.0, self.decay_fraction * self.num_steps))


@dataclass
class Curve:
    """Means of what the steps saw, a point every `every` steps."""

    every: int
    points: list[dict[str, float]] = field(default_factory=list)
    sums: list[float] = field(default_factory=lambda: [0.0] * len(StepStats._fields))
    num_steps: int = 0
    """Since the last point."""

    def add(self, stats: StepStats) -> bool:
        """Count one step in; True when a point is due."""
        self.sums = [a + b for a, b in zip(self.sums, stats, strict=True)]
        self.num_steps += 1
        return self.num_steps == self.every

    def close_point(self, step: int, tokens: int, batch_size: int, dead_share: float, learning_rate: float) -> None:
        """Add a point for the steps since the last one."""
        loss, squared_error, squared_norm, num_active = self.sums
        point = {
            "step": step,
            "tokens": tokens,
            "loss": loss / self.num_steps,
            "l0": num_active / (self.num_steps * batch_size),
            "explained_variance": 1 - squared_error / squared_norm,
            "dead_share": dead_share,
            "learning_rate": learning_rate,
        }
        self.points.append(point)
        self.sums, self.num_steps = [0.0] * len(self.sums), 0


@dataclass
class Trainee:
    """One autoencoder in training, with what is known of it."""

    model: Architecture
    curve: Curve
    learning_rate: float
    """At its highest."""
    continued: bool = False
    """Whether it began with trained parameters: the learning rate warms up then, and not the sparsity loss."""
    seconds: float = 0.0
    """Wall time of its steps."""

    def train(self, batches: list[Tensor], first_step: int, schedule: Schedule) -> None:
        """One step for each batch."""
        start = time.perf_counter()
        for step, x_BD in enumerate(batches, first_step):
            learning_rate, warmup = self.rates(step, schedule)
            stats = self.model.step(x_BD, learning_rate=learning_rate, warmup=warmup)
            if self.curve.add(stats) or step + 1 == schedule.num_steps:
                dead_share = self.model.dead_share(DEAD_TOKENS)
                self.curve.close_point(step + 1, self.model.tokens_seen, len(x_BD), dead_share, learning_rate)
            if not math.isfinite(stats.loss):
                raise ConfigError(self._divergence(x_BD, step + 1))
        self.seconds += time.perf_counter() - start

    def rates(self, step: int, schedule: Schedule) -> tuple[float, float]:
        """The learning rate of a step, and the factor of its sparsity loss."""
        learning_rate, warmup = self.learning_rate * schedule.decay(step), schedule.warmup(step)
        return (learning_rate * warmup, 1.0) if self.continued else (learning_rate, warmup)

    def _divergence(self, x_BD: Tensor, step: int) -> str:
        """The reason why the loss of a step is not finite."""
        num_wrong = len(x_BD) - int(x_BD.isfinite().all(1).sum())
        if num_wrong:
            return (
                f"{num_wrong:,} of the {len(x_BD):,} activations of step {step} are not finite: the harvest is "
                "damaged; delete its folder in the store, and run the recipe again with model.dtype=bfloat16 or float32"
            )
        return (
            f"training diverged at step {step}, on activations that are finite: lower learning_rate "
            f"{self.learning_rate} of the autoencoder with {self.model.num_features:,} features"
        )

    def state(self) -> dict[str, Any]:
        return {"model": self.model.state(), "curve": asdict(self.curve), "seconds": self.seconds}

    def load_state(self, state: dict[str, Any]) -> None:
        self.model.load_state(state["model"])
        self.curve, self.seconds = Curve(**state["curve"]), state["seconds"]
