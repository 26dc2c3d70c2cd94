"""Lanes in step: cells that share a trunk are what they would be alone, after a kill too, and when one diverges."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from data.artifacts.shards import ShardReader
from data.errors import ConfigError, CorpusError
from data.layout import StorePaths
from pipeline.activations.rows import ShufflePosition, read_batches
from pipeline.training.architecture import Architecture
from pipeline.training.grid import GRID_CHECKPOINT, GridTrainer, GridTraining
from pipeline.training.lane import Ended, Ending, Lane, LanePlan
from pipeline.training.relu import ReLU
from pipeline.training.topk import TopK
from pipeline.training.trainee import Normalisation
from pipeline.training.trainer import normalised_rows
from tests.support.harvested import normalisation_of, planted_rows, put_harvest

WIDTH, BATCH, WARMUP = 12, 32, 3
SHORT, MIDDLE, LONG = Ending("short", 10, 2), Ending("middle", 20, 12), Ending("long", 40, 8)


def make_relu(num_features: int = 24) -> Architecture:
    return ReLU(num_features, WIDTH, l1_coefficient=1.0, seed=3)


def make_topk() -> Architecture:
    return TopK(24, WIDTH, k=3, auxiliary_coefficient=1 / 32, dead_window=64, seed=3)


def plan(
    *endings: Ending, name: str = "a", rate: float = 4e-3, make: Callable[[], Architecture] = make_relu
) -> LanePlan:
    return LanePlan(name, make().num_features, rate, WARMUP, make, endings)


@pytest.fixture(scope="module")
def harvest(tmp_path_factory: pytest.TempPathFactory) -> tuple[ShardReader, Normalisation]:
    paths = StorePaths(tmp_path_factory.mktemp("store")).run("test")
    reader = put_harvest(paths, planted_rows(1003, WIDTH, 40, seed=0))
    return reader, normalisation_of(paths)


class Grid:
    """Trains plans, and keeps what ended."""

    def __init__(self, harvest: tuple[ShardReader, Normalisation], folder: Path, seconds: float = 1e9) -> None:
        self.harvest, self.folder, self.seconds = harvest, folder, seconds
        self.ended: dict[str, Ended] = {}

    def trainer(self, *plans: LanePlan) -> GridTrainer:
        training = GridTraining(BATCH, self.seconds, seed=7, device="cpu")
        return GridTrainer(training, plans, *self.harvest, self.folder)

    def train(self, *plans: LanePlan) -> dict[str, Ended]:
        trainer = self.trainer(*plans)
        trainer.restore()
        trainer.run(self.give, lambda made: None)
        return self.ended

    def give(self, ended: Ended) -> None:
        self.ended[ended.key] = ended


def weights(ended: Ended) -> list[torch.Tensor]:
    assert ended.model is not None, ended.why_diverged
    return [weight.clone() for weight in ended.model.weights]


def assert_same(a: Ended, b: Ended) -> None:
    assert all(torch.equal(x, y) for x, y in zip(weights(a), weights(b), strict=True))


@pytest.mark.parametrize("make", [make_relu, make_topk])
def test_cells_that_share_a_trunk_are_to_the_bit_what_they_are_alone(harvest, tmp_path, make):
    together = Grid(harvest, tmp_path).train(
        plan(SHORT, LONG, MIDDLE, make=make), plan(Ending("other", 30, 6), name="b", rate=1e-3, make=make)
    )

    for ending in (SHORT, MIDDLE, LONG):
        assert_same(together[ending.key], Grid(harvest, tmp_path).train(plan(ending, make=make))[ending.key])
    assert not torch.equal(weights(together["long"])[0], weights(together["other"])[0])


def test_a_cell_is_what_the_schedule_says(harvest, tmp_path):
    model = make_relu()
    for step, (values_BD, _) in enumerate(read_batches(harvest[0], 7, BATCH, ShufflePosition())):
        if step == SHORT.num_steps:
            break
        rate = 4e-3 if step < 8 else 4e-3 * (10 - step) / 2
        model.step(
            normalised_rows(values_BD, *harvest, "cpu"), learning_rate=rate, warmup=min(1.0, (step + 1) / WARMUP)
        )

    ended = Grid(harvest, tmp_path).train(plan(SHORT, LONG))["short"]

    assert all(torch.equal(x, y) for x, y in zip(weights(ended), model.weights, strict=True))


def test_more_tokens_than_there_are_rows_are_read_again(harvest, tmp_path):
    ending = Ending("again", 70, 10)

    ended = Grid(harvest, tmp_path).train(plan(ending))["again"]

    assert ended.model is not None
    assert ended.model.tokens_seen == 70 * BATCH > len(harvest[0])


@pytest.mark.parametrize("blocks", [1, 2, 3])
def test_a_killed_grid_goes_on_and_ends_the_same(harvest, tmp_path, blocks):
    plans = [plan(SHORT, MIDDLE, LONG), plan(Ending("other", 30, 6), name="b", make=make_topk)]
    whole = Grid(harvest, tmp_path).train(*plans)
    killed, reports = Grid(harvest, tmp_path, seconds=0.0), []

    def kill(made: int) -> None:
        reports.append(made)
        if len(reports) > blocks:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        killed.trainer(*plans).run(killed.give, kill)
    before = dict(killed.ended)
    rest = [
        LanePlan(p.name, p.num_features, p.learning_rate, WARMUP, p.make, left)
        for p in plans
        if (left := tuple(ending for ending in p.endings if ending.key not in before))
    ]
    resumed = killed.trainer(*rest)
    assert resumed.restore()
    assert resumed.step == 8 * blocks
    resumed.run(killed.give, lambda made: None)

    assert set(killed.ended) == {"short", "middle", "long", "other"}
    for key, ended in killed.ended.items():
        assert_same(ended, whole[key])
    assert not (tmp_path / GRID_CHECKPOINT).exists()


def test_a_checkpoint_that_is_past_what_is_asked_is_left_aside(harvest, tmp_path):
    grid, seen = Grid(harvest, tmp_path, seconds=0.0), []

    def kill(made: int) -> None:
        seen.append(made)
        if len(seen) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        grid.trainer(plan(LONG)).run(grid.give, kill)

    assert grid.trainer(plan(LONG)).restore()
    assert not grid.trainer(plan(SHORT, LONG)).restore(), "short parted before the checkpoint"
    assert not grid.trainer(plan(LONG, name="other")).restore()


def test_a_lane_that_diverges_takes_all_that_wait_for_it_and_no_other(harvest, tmp_path):
    ended = Grid(harvest, tmp_path).train(
        plan(SHORT, LONG, rate=1e30), plan(MIDDLE, name="b"), plan(Ending("more", 20, 4), name="c")
    )

    assert {key for key, one in ended.items() if one.model is None} == {"short", "long"}
    assert "no longer a number at step" in ended["long"].why_diverged


def test_activations_that_are_not_finite_are_no_divergence():
    lane = Lane.begin(plan(SHORT))

    with pytest.raises(ConfigError, match="harvest is damaged"):
        lane.train([torch.full((BATCH, WIDTH), torch.nan)], 0)


def test_fewer_rows_than_a_batch_are_refused(harvest, tmp_path):
    training = GridTraining(5000, 1.0, seed=7, device="cpu")

    with pytest.raises(CorpusError, match=r"scale\.batch_size"):
        GridTrainer(training, [plan(SHORT)], *harvest, tmp_path)


def test_steps_and_seconds_are_counted_once(harvest, tmp_path):
    made: list[int] = []
    grid = Grid(harvest, tmp_path)

    grid.trainer(plan(SHORT, LONG)).run(grid.give, made.append)

    assert sum(made) == (32 + 2 + 8) * 24
    for ended in grid.ended.values():
        assert 0 < ended.own_seconds <= ended.seconds
