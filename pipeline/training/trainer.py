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
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from data.artifacts.features import CURVE_FILE
from data.artifacts.shards import ShardReader
from data.errors import CorpusError
from pipeline.activations.rows import Position, as_tensor, read_batches
from pipeline.progress import Progress, log, track
from pipeline.recipe import Recipe, SAEConfig, TrainConfig
from pipeline.stages.train import describe, make_architecture
from pipeline.training.architecture import Architecture
from pipeline.training.trainee import DEAD_TOKENS, Curve, Normalisation, Schedule, Trainee

CHECKPOINT_FILE = ".checkpoint.pt"
CURVE_POINTS = 200
"""Points of a curve; each is the mean over the steps since the one before."""
CURVE_LINES = 10
"""How often the terminal shows a line for each autoencoder."""
BLOCK_BATCHES = 8
"""Batches that are read at once; an autoencoder that is done with a block waits there for the others."""
SIDE_BY_SIDE = 2
"""Autoencoders trained at the same time: one's steps fill the gaps in which another's use one core."""
AUXILIARY_SHARE = 0.1
"""A feature that was silent for this share of the epoch (at most DEAD_TOKENS) is revived by the auxiliary loss."""


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


def seed_of(seed: int, name: str) -> int:
    """A seed of its own for each autoencoder, the same whatever it is trained beside."""
    return int.from_bytes(hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=7).digest(), "little")
