"""Training of a grid: many lanes in step with each other, from one reading of the activation shards, resumable.

Every lane sees the same batches in the same order, whatever it is trained beside, so that a training is the same alone
and in a grid. What ends is given away at once and its memory is free for the rest.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from data.artifacts.shards import ShardReader
from data.errors import CorpusError
from pipeline.activations.rows import ShufflePosition, read_batches
from pipeline.training.lane import Ended, Lane, LanePlan
from pipeline.training.trainee import Normalisation
from pipeline.training.trainer import BLOCK_BATCHES, SIDE_BY_SIDE, normalised_rows

GRID_CHECKPOINT = ".lanes.pt"


@dataclass(frozen=True)
class GridTraining:
    """Settings with which all lanes are trained."""

    batch_size: int
    """Tokens in one step."""
    checkpoint_seconds: float
    """Of the clock, between two checkpoints."""
    seed: int
    device: str


class GridTrainer:
    """Trains lanes on the rows of `reader`; a checkpoint lies in `folder`.

    Raises CorpusError when there are fewer rows than one batch.
    """

    def __init__(
        self,
        config: GridTraining,
        plans: Sequence[LanePlan],
        reader: ShardReader,
        normalisation: Normalisation,
        folder: Path,
    ) -> None:
        if len(reader) < config.batch_size:
            raise CorpusError(
                f"the harvest has {len(reader):,} rows, fewer than one batch of {config.batch_size:,}: use more "
                "text, or lower scale.batch_size"
            )
        self.config, self.plans, self.reader, self.normalisation = config, plans, reader, normalisation
        self.step, self.position = 0, ShufflePosition()
        self._checkpoint = folder / GRID_CHECKPOINT
        self.lanes: list[Lane] = []

    @property
    def num_steps(self) -> int:
        return max(plan.num_steps for plan in self.plans)

    def restore(self) -> bool:
        """Go on from the last checkpoint; False when there is none of all these lanes."""
        if not self._checkpoint.exists():
            return False
        state = torch.load(self._checkpoint, map_location=self.config.device, weights_only=True)
        lanes = _resume(self.plans, state)
        if lanes is None:
            return False
        self.lanes, self.step, self.position = lanes, state["step"], ShufflePosition(*state["position"])
        return True

    def run(self, give: Callable[[Ended], None], report: Callable[[int], None]) -> None:
        """Train to the end.

        give: takes each training that is over, from several threads; once it returns, that one is not made again.
        report: is told after every block how many steps were made since, each counted as often as it has features.
        """
        self.lanes = self.lanes or [Lane.begin(plan) for plan in self.plans]
        saved = time.monotonic()
        epochs = math.ceil(self.num_steps * self.config.batch_size / len(self.reader))
        batches = read_batches(self.reader, self.config.seed, self.config.batch_size, self.position, epochs)
        with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
            while self.step < self.num_steps:
                block = list(islice(batches, min(BLOCK_BATCHES, self.num_steps - self.step)))
                rows = [
                    normalised_rows(values_BD, self.reader, self.normalisation, self.config.device)
                    for values_BD, _ in block
                ]
                report(sum(pool.map(partial(self._train, rows=rows, give=give), self._queue())))
                self.step, self.position = self.step + len(block), block[-1][1]
                if time.monotonic() - saved > self.config.checkpoint_seconds:
                    self.checkpoint()
                    saved = time.monotonic()
        self._checkpoint.unlink(missing_ok=True)

    def checkpoint(self) -> None:
        """Write everything that a later step depends on, whole or not at all."""
        state = {
            "step": self.step,
            "position": tuple(self.position),
            "lanes": {lane.plan.name: lane.state() for lane in self.lanes if not lane.is_over},
        }
        temporary = self._checkpoint.with_name(f"{GRID_CHECKPOINT}.part")
        torch.save(state, temporary)
        temporary.replace(self._checkpoint)

    def _queue(self) -> list[Lane]:
        """Lanes that go on, the largest first, so that the others fill in beside it."""
        return sorted((lane for lane in self.lanes if not lane.is_over), key=lambda lane: -lane.plan.num_features)

    def _train(self, lane: Lane, rows: list[Tensor], give: Callable[[Ended], None]) -> int:
        ended, num_made = lane.train(rows, self.step)
        for one in ended:
            give(one)
        return num_made * lane.plan.num_features


def _resume(plans: Sequence[LanePlan], state: Mapping[str, Any]) -> list[Lane] | None:
    """The lanes of a checkpoint; None where it lacks what one of the plans needs."""
    lanes = [
        Lane.resume(plan, state["lanes"][plan.name], state["step"]) if plan.name in state["lanes"] else None
        for plan in plans
    ]
    found = [lane for lane in lanes if lane is not None]
    return found if len(found) == len(plans) else None
