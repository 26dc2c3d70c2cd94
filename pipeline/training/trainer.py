"""Training: several autoencoders side by side from one reading of the activation shards, resumable to the bit.

Rows come in the shards' uniform shuffle, are cut into batches across the borders of shards, normalised once, and
given to every autoencoder; every epoch reads them all in an order of its own. Rows after the last whole batch are left
out. A checkpoint holds all that a later step depends on, so that a killed run ends with the same weights.

Shapes: N rows, B rows of a batch, D width of the residual stream.
"""

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy.typing as npt
import torch
from torch import Tensor

from data.artifacts.features import CURVE_FILE
from data.artifacts.shards import ShardReader
from data.errors import CorpusError
from pipeline.activations.rows import ShufflePosition, as_tensor, read_batches
from pipeline.training.architecture import Architecture
from pipeline.training.trainee import DEAD_TOKENS, Curve, Normalisation, Schedule, Trainee

TRAINING_CHECKPOINT = ".checkpoint.pt"
CURVE_POINTS = 200
"""Points of a curve; each is the mean over the steps since the one before."""
BLOCK_BATCHES = 8
"""Batches that are read at once; an autoencoder that is done with a block waits there for the others."""
SIDE_BY_SIDE = 2
"""Autoencoders trained at the same time: one's steps fill the gaps in which another's use one core."""
AUXILIARY_SHARE = 0.1
"""A feature that was inactive for this share of an epoch (at most DEAD_TOKENS) is revived by the auxiliary loss."""


@dataclass(frozen=True)
class Training:
    """Settings with which all autoencoders are trained."""

    batch_size: int
    """Tokens in one step."""
    epochs: int
    """Readings of all rows."""
    warmup_fraction: float
    """Share of the steps over which the L1 coefficient rises linearly from 0, or the learning rate where training goes
    on from trained parameters."""
    decay_fraction: float
    """Share of the steps, at the end, over which the learning rate falls linearly to 0."""
    checkpoint_seconds: float
    """Of the clock, between two checkpoints."""
    seed: int
    device: str


class Make(Protocol):
    """Makes an autoencoder that is to be trained."""

    def __call__(self, width: int, *, dead_window: int, seed: int, device: str) -> Architecture:
        """`dead_window`: tokens after which an inactive feature is revived, where the architecture does that."""
        ...


@dataclass(frozen=True)
class Untrained:
    """One autoencoder to be trained."""

    make: Make
    learning_rate: float
    continued: bool = False
    """Whether `make` gives it trained parameters."""


class Trainer:
    """Trains autoencoders on the rows of `reader`, in `folder`, where checkpoints and curves lie.

    Raises CorpusError when there are fewer rows than one batch, ConfigError when training diverges.
    """

    def __init__(
        self,
        config: Training,
        autoencoders: Mapping[str, Untrained],
        reader: ShardReader,
        normalisation: Normalisation,
        folder: Path,
    ) -> None:
        """autoencoders: by name, which names their files too."""
        self.config, self.reader, self.normalisation, self.folder = config, reader, normalisation, folder
        self.num_steps = config.epochs * len(reader) // config.batch_size
        if len(reader) < config.batch_size:
            raise CorpusError(
                f"the harvest has {len(reader):,} rows, fewer than one batch of {config.batch_size:,}: use more "
                "text, or lower train.batch_size"
            )
        self.schedule = Schedule(self.num_steps, config.warmup_fraction, config.decay_fraction)
        self.step, self.position = 0, ShufflePosition()
        every = math.ceil(self.num_steps / CURVE_POINTS)
        self.trainees = {
            name: Trainee(self._make(name, one.make), Curve(every), one.learning_rate, one.continued)
            for name, one in autoencoders.items()
        }

    def restore(self) -> bool:
        """Resume from the last checkpoint; False when there is none."""
        if not (self.folder / TRAINING_CHECKPOINT).exists():
            return False
        state = torch.load(self.folder / TRAINING_CHECKPOINT, map_location=self.config.device, weights_only=True)
        self.step, self.position = state["step"], ShufflePosition(*state["position"])
        for name, trainee in self.trainees.items():
            trainee.load_state(state["trainees"][name])
        return True

    def run(self, report: Callable[[int], None]) -> None:
        """Train to the end; `report` is told after every block how many steps were made since."""
        saved = time.monotonic()
        batches = read_batches(self.reader, self.config.seed, self.config.batch_size, self.position, self.config.epochs)
        # The largest first, so that the others fill in beside it.
        queue = sorted(self.trainees.values(), key=lambda trainee: -trainee.model.num_features)
        with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
            while block := list(islice(batches, BLOCK_BATCHES)):
                rows = [
                    normalised_rows(values_BD, self.reader, self.normalisation, self.config.device)
                    for values_BD, _ in block
                ]
                train = partial(Trainee.train, batches=rows, first_step=self.step, schedule=self.schedule)
                list(pool.map(train, queue))
                self.step, self.position = self.step + len(block), block[-1][1]
                report(len(block))
                if time.monotonic() - saved > self.config.checkpoint_seconds:
                    self.checkpoint()
                    saved = time.monotonic()
        self.save_curves()

    def checkpoint(self) -> None:
        """Write everything that a later step depends on, whole or not at all."""
        state = {
            "step": self.step,
            "position": tuple(self.position),
            "trainees": {name: trainee.state() for name, trainee in self.trainees.items()},
        }
        temporary = self.folder / f"{TRAINING_CHECKPOINT}.part"
        torch.save(state, temporary)
        temporary.replace(self.folder / TRAINING_CHECKPOINT)
        self.save_curves()

    def save_curves(self) -> None:
        """Write every curve so far."""
        for name, trainee in self.trainees.items():
            (self.folder / name).mkdir(exist_ok=True)
            (self.folder / name / CURVE_FILE).write_text(json.dumps(trainee.curve.points) + "\n")

    def _make(self, name: str, make: Make) -> Architecture:
        dead_window = min(DEAD_TOKENS, int(AUXILIARY_SHARE * len(self.reader)))
        seed = seed_of(self.config.seed, name)
        return make(self.reader.width, dead_window=dead_window, seed=seed, device=self.config.device)


def normalised_rows(
    values_BD: npt.NDArray[Any], reader: ShardReader, normalisation: Normalisation, device: str
) -> Tensor:
    """Stored values of `reader` as x~ on a device."""
    x_BD = as_tensor(values_BD) if reader.scales_D is None else torch.from_numpy(values_BD * reader.scales_D)
    return normalisation.apply(x_BD.to(device))


def seed_of(seed: int, name: str) -> int:
    """A seed of its own for each autoencoder, the same whatever it is trained beside."""
    return int.from_bytes(hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=7).digest(), "little")
