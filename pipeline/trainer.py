"""Training: several autoencoders side by side from one reading of the activation shards, resumable to the bit.

Rows come in the shards' uniform shuffle, are cut into batches across the borders of shards, normalised once, and
given to every autoencoder. One epoch; rows after the last whole batch are left out. A checkpoint holds all that a later
step depends on, so that a run that was killed ends with the same weights as one that was not.

Shapes: N rows, B rows of a batch, D width of the residual stream.
"""

import hashlib
import json
import math
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from data.errors import ConfigError, CorpusError
from data.records import CURVE_FILE
from data.shards import ShardReader
from pipeline.config import Recipe, SAEConfig, TrainConfig
from pipeline.models.architectures import Architecture, BatchTopK, ReLU, StepStats, TopK
from pipeline.progress import Progress, log, track
from pipeline.residuals import as_tensor

CHECKPOINT_FILE = ".checkpoint.pt"
CURVE_POINTS = 200
"""Points of a curve; each is the mean over the steps since the one before."""
CURVE_LINES = 10
"""How often the terminal shows a line for each autoencoder."""
BLOCK_BATCHES = 8
"""Batches that are read at once; an autoencoder that is done with a block waits there for the others."""
SIDE_BY_SIDE = 2
"""Autoencoders trained at the same time: one's steps fill the gaps in which another's use one core."""
DEAD_TOKENS = 10_000_000
"""The curve's dead share counts features that were silent over this many tokens, or all so far."""
AUXILIARY_SHARE = 0.1
"""A feature that was silent for this share of the epoch (at most DEAD_TOKENS) is revived by the auxiliary loss."""


class Position(NamedTuple):
    """How far the shuffled rows were read."""

    shard: int = 0
    """Number of leading shards read to their end."""
    row: int = 0
    """Rows read of the next one."""


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
        return (x_ND.float() - self.mean_D.to(x_ND.device, torch.float32)).mul_(self.scale)


@dataclass(frozen=True)
class Schedule:
    """What changes from step to step."""

    num_steps: int
    warmup_fraction: float
    decay_fraction: float

    def warmup(self, step: int) -> float:
        """Factor of the sparsity loss: rises linearly to 1."""
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

    config: SAEConfig
    model: Architecture
    curve: Curve
    seconds: float = 0.0
    """Wall time of its steps."""

    def train(self, batches: list[Tensor], first_step: int, schedule: Schedule) -> None:
        """One step for each batch."""
        start = time.perf_counter()
        for step, x_BD in enumerate(batches, first_step):
            learning_rate = self.config.learning_rate * schedule.decay(step)
            stats = self.model.step(x_BD, learning_rate=learning_rate, warmup=schedule.warmup(step))
            if self.curve.add(stats) or step + 1 == schedule.num_steps:
                dead_share = self.model.dead_share(DEAD_TOKENS)
                self.curve.close_point(step + 1, self.model.tokens_seen, len(x_BD), dead_share, learning_rate)
            if not math.isfinite(stats.loss):
                raise ConfigError(
                    f"training diverged at step {step + 1}: lower learning_rate {self.config.learning_rate}"
                )
        self.seconds += time.perf_counter() - start

    def state(self) -> dict[str, Any]:
        return {"model": self.model.state(), "curve": asdict(self.curve), "seconds": self.seconds}

    def load_state(self, state: dict[str, Any]) -> None:
        self.model.load_state(state["model"])
        self.curve, self.seconds = Curve(**state["curve"]), state["seconds"]


class Trainer:
    """Trains every autoencoder of a recipe on the rows of `reader`, in `folder`, where checkpoints and curves lie.

    Raises CorpusError when there are fewer rows than one batch, ConfigError when training diverges.
    """

    def __init__(self, recipe: Recipe, reader: ShardReader, normalisation: Normalisation, folder: Path) -> None:
        self.config: TrainConfig = recipe.train
        self.seed, self.device = recipe.seed, recipe.model.device
        self.reader, self.normalisation, self.folder = reader, normalisation, folder
        self.num_steps = len(reader) // self.config.batch_size
        if self.num_steps == 0:
            raise CorpusError(
                f"the harvest has {len(reader):,} rows, fewer than one batch of {self.config.batch_size:,}: use more "
                "text, or lower train.batch_size"
            )
        self.schedule = Schedule(self.num_steps, self.config.warmup_fraction, self.config.decay_fraction)
        self.step, self.position = 0, Position()
        every = math.ceil(self.num_steps / CURVE_POINTS)
        self.trainees = {
            name: Trainee(config, self._make(name, config), Curve(every))
            for name, config in zip(recipe.sae_names, self.config.saes, strict=True)
        }

    def run(self) -> None:
        """Train from where the last checkpoint stands to the end."""
        if (self.folder / CHECKPOINT_FILE).exists():
            self._restore()
        batch_size = self.config.batch_size
        with track("train", self.num_steps * batch_size, done=self.step * batch_size) as progress:
            self._train(progress)
        self.save_curves()

    def _train(self, progress: Progress) -> None:
        saved = time.monotonic()
        batches = read_batches(self.reader, self.seed, self.config.batch_size, self.position)
        # The largest first, so that the others fill in beside it.
        queue = sorted(self.trainees.values(), key=lambda trainee: -trainee.model.num_features)
        with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
            while block := list(islice(batches, BLOCK_BATCHES)):
                rows = [self._normalise(values_BD) for values_BD, _ in block]
                train = partial(Trainee.train, batches=rows, first_step=self.step, schedule=self.schedule)
                list(pool.map(train, queue))
                self.step, self.position = self.step + len(block), block[-1][1]
                self._report(progress, len(block))
                if time.monotonic() - saved > self.config.checkpoint_seconds:
                    self.checkpoint()
                    saved = time.monotonic()

    def checkpoint(self) -> None:
        """Write everything that a later step depends on, whole or not at all."""
        state = {
            "step": self.step,
            "position": tuple(self.position),
            "trainees": {name: trainee.state() for name, trainee in self.trainees.items()},
        }
        temporary = self.folder / f"{CHECKPOINT_FILE}.part"
        torch.save(state, temporary)
        temporary.replace(self.folder / CHECKPOINT_FILE)
        self.save_curves()

    def save_curves(self) -> None:
        """Write every curve so far."""
        for name, trainee in self.trainees.items():
            (self.folder / name).mkdir(exist_ok=True)
            (self.folder / name / CURVE_FILE).write_text(json.dumps(trainee.curve.points) + "\n")

    def _restore(self) -> None:
        state = torch.load(self.folder / CHECKPOINT_FILE, map_location=self.device, weights_only=True)
        self.step, self.position = state["step"], Position(*state["position"])
        for name, trainee in self.trainees.items():
            trainee.load_state(state["trainees"][name])
        log(f"going on after step {self.step:,} of {self.num_steps:,}")

    def _make(self, name: str, config: SAEConfig) -> Architecture:
        dead_window = min(DEAD_TOKENS, int(AUXILIARY_SHARE * self.num_steps * self.config.batch_size))
        options = {"seed": seed_of(self.seed, name), "device": self.device}
        return make_architecture(config, self.reader.width, dead_window, options)

    def _normalise(self, values_BD: npt.NDArray[Any]) -> Tensor:
        scales_D = self.reader.scales_D
        x_BD = as_tensor(values_BD) if scales_D is None else torch.from_numpy(values_BD * scales_D)
        return self.normalisation.apply(x_BD.to(self.device))

    def _report(self, progress: Progress, num_batches: int) -> None:
        short = {}
        due = self.step * CURVE_LINES // self.num_steps > (self.step - num_batches) * CURVE_LINES // self.num_steps
        for name, trainee in self.trainees.items():
            if trainee.curve.points:
                point = trainee.curve.points[-1]
                short[f"{name} EV/L0"] = f"{point['explained_variance']:.2f}/{point['l0']:.0f}"
                if due:
                    log(f"  {name:<20} {describe(point)}")
        progress.advance(num_batches * self.config.batch_size, **short)


def describe(point: Mapping[str, float]) -> str:
    """One point of a curve in words."""
    return (
        f"loss {point['loss']:7.1f}   L0 {point['l0']:7.1f}   explained variance {point['explained_variance']:.3f}"
        f"   dead {point['dead_share']:.1%}"
    )


def make_architecture(config: SAEConfig, width: int, dead_window: int, options: Mapping[str, Any]) -> Architecture:
    """The untrained autoencoder that a recipe asks for; `options` go to every architecture."""
    if config.architecture == "relu":
        return ReLU(config.num_features, width, l1_coefficient=config.l1_coefficient, **options)
    kind = {"topk": TopK, "batchtopk": BatchTopK}[config.architecture]
    assert config.k is not None, "checked where the recipe is made"
    coefficient = config.auxiliary_coefficient
    return kind(
        config.num_features, width, k=config.k, auxiliary_coefficient=coefficient, dead_window=dead_window, **options
    )


def seed_of(seed: int, name: str) -> int:
    """A seed of its own for each autoencoder, the same whatever it is trained beside."""
    return int.from_bytes(hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=7).digest(), "little")


def read_batches(
    reader: ShardReader, seed: int, batch_size: int, start: Position
) -> Iterator[tuple[npt.NDArray[Any], Position]]:
    """Stored values of one batch after the other [B, D], across shard borders, and how far was read with each.

    Starts at `start`; rows after the last whole batch are left out.
    """
    pieces: list[npt.NDArray[Any]] = []
    missing, row = batch_size, start.row
    for shard, rows in enumerate(reader.shuffled(seed, skip=start.shard), start.shard):
        while row < len(rows.values_ND):
            pieces.append(rows.values_ND[row : row + missing])
            row += len(pieces[-1])
            missing -= len(pieces[-1])
            if missing == 0:
                yield np.concatenate(pieces), Position(shard, row)
                pieces, missing = [], batch_size
        row = 0
