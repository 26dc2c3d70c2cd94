"""Training as a whole: what it reads, that it goes on to the bit after a kill, and what it says when it cannot."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from data.artifacts.shards import ROW, ShardReader, ShardWriter
from data.errors import ConfigError, CorpusError
from data.layout import RunPaths, StorePaths
from data.manifests import load_manifest
from pipeline.activations.rows import ShufflePosition, read_batches, seed_of_epoch
from pipeline.models.sae import SAE
from pipeline.recipe import Recipe, make_recipe
from pipeline.stages import train
from pipeline.training import trainer as trainer_module
from pipeline.training.trainee import Curve, Normalisation, Schedule, Trainee
from pipeline.training.trainer import Trainer, normalised_rows, seed_of
from tests.support.fakes import put_manifest
from tests.support.harvested import normalisation_of, put_harvest, reader_of

WIDTH, NUM_ROWS, BATCH = 12, 1003, 32
SAES: list[dict[str, Any]] = [
    {"architecture": "relu", "num_features": 40, "learning_rate": 4e-3, "l1_coefficient": 1.0},
    {"architecture": "topk", "num_features": 24, "k": 3},
    {"architecture": "batchtopk", "num_features": 32, "k": 3},
]


def recipe_with(saes: list[dict[str, Any]] = SAES, **options: Any) -> Recipe:
    return make_recipe(
        {
            "name": "test",
            "corpus": {"source": "sample"},
            "model": {"name": "tiny", "source": "sample", "layer": 1},
            "train": {"saes": saes, "batch_size": BATCH, "checkpoint_seconds": 1e-9} | options,
        }
    )


@pytest.fixture(scope="module")
def rows_ND() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return (30 + 10 * torch.randn(NUM_ROWS, WIDTH, generator=generator)).bfloat16()


@pytest.fixture
def paths(store: StorePaths, rows_ND: torch.Tensor) -> RunPaths:
    return harvested(store.run("test"), rows_ND)


def harvested(paths: RunPaths, rows_ND: torch.Tensor) -> RunPaths:
    """A run that is harvested, its rows numbered by position."""
    put_harvest(paths, rows_ND)
    put_manifest(paths, "tokenize", {})
    return paths


def weights_of(paths: RunPaths, recipe: Recipe) -> dict[str, list[torch.Tensor]]:
    saes = {name: SAE.load(paths.stage("train") / name) for name in recipe.sae_names}
    return {n: [s.W_enc_FD, s.b_enc_F, s.W_dec_FD, s.b_dec_D, s.threshold_F] for n, s in saes.items()}


def same(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_batches_cross_shards_and_hold_every_row_once(paths, rows_ND):
    reader = reader_of(paths)
    batches = list(read_batches(reader, 7, BATCH, ShufflePosition()))
    assert len(batches) == NUM_ROWS // BATCH
    assert {len(values_BD) for values_BD, _ in batches} == {BATCH}
    expected_ND = np.concatenate([rows.values_ND for rows in reader.shuffled(7)])
    assert np.array_equal(np.concatenate([values_BD for values_BD, _ in batches]), expected_ND[: len(batches) * BATCH])


def test_reading_goes_on_from_any_batch(paths):
    reader = reader_of(paths)
    batches = list(read_batches(reader, 7, BATCH, ShufflePosition()))
    for number, (_, position) in enumerate(batches, 1):
        rest = list(read_batches(reader, 7, BATCH, position))
        assert len(rest) == len(batches) - number
        assert all(np.array_equal(a, b) for (a, _), (b, _) in zip(rest, batches[number:], strict=True))


def test_every_epoch_reads_all_rows_in_an_order_of_its_own(paths):
    reader = reader_of(paths)
    batches = list(read_batches(reader, 7, BATCH, ShufflePosition(), epochs=3))
    assert len(batches) == 3 * NUM_ROWS // BATCH
    read_ND = np.concatenate([values_BD for values_BD, _ in batches])
    shuffled = [np.concatenate([r.values_ND for r in reader.shuffled(seed_of_epoch(7, epoch))]) for epoch in range(3)]
    assert np.array_equal(read_ND, np.concatenate(shuffled)[: len(read_ND)])
    rows = [sorted(map(bytes, values_ND)) for values_ND in shuffled]
    assert rows[0] == rows[1] == rows[2]
    assert not np.array_equal(shuffled[0], shuffled[1])
    assert not np.array_equal(shuffled[1], shuffled[2])
    for number in (1, len(batches) // 2, len(batches) - 1):
        rest = list(read_batches(reader, 7, BATCH, batches[number - 1][1], epochs=3))
        assert len(rest) == len(batches) - number
        assert all(np.array_equal(a, b) for (a, _), (b, _) in zip(rest, batches[number:], strict=True))


def test_normalised_rows_have_mean_zero_and_squared_norm_d(paths, rows_ND):
    x_ND = normalisation_of(paths).apply(rows_ND)
    assert x_ND.mean(0).abs().max() < 1e-4
    assert x_ND.square().sum(1).mean().item() == pytest.approx(WIDTH, rel=1e-4)


def test_schedule():
    schedule = Schedule(100, warmup_fraction=0.05, decay_fraction=0.2)
    assert [schedule.warmup(step) for step in (0, 1, 4, 50)] == pytest.approx([0.2, 0.4, 1.0, 1.0])
    assert [schedule.decay(step) for step in (0, 80, 90, 99)] == pytest.approx([1.0, 1.0, 0.5, 0.05])
    flat = Schedule(100, warmup_fraction=0.0, decay_fraction=0.0)
    assert (flat.warmup(0), flat.decay(99)) == (1.0, 1.0)


class Killed(BaseException):
    """Exception with which a test kills a run."""


def kill_after(monkeypatch: pytest.MonkeyPatch, num_checkpoints: int) -> Callable[[], None]:
    """The run dies after so many checkpoints, a few batches past the last of them."""
    original, counted = Trainer.checkpoint, [0]

    def checkpoint(self: Trainer) -> None:
        counted[0] += 1
        if counted[0] > num_checkpoints:
            raise Killed
        original(self)

    monkeypatch.setattr(Trainer, "checkpoint", checkpoint)
    return lambda: monkeypatch.setattr(Trainer, "checkpoint", original)


@pytest.mark.parametrize("epochs", [1, 3])
def test_a_killed_run_ends_with_the_same_weights(paths, store, monkeypatch, epochs):
    recipe = recipe_with(epochs=epochs)
    train.run(recipe, paths)
    whole = weights_of(paths, recipe)
    curves = [json.loads((paths.stage("train") / name / "curve.json").read_text()) for name in recipe.sae_names]
    (paths.stage("train") / "manifest.json").unlink()
    for num_checkpoints in (1, 2 * epochs):
        revive = kill_after(monkeypatch, num_checkpoints)
        with pytest.raises(Killed):
            train.run(recipe, paths)
        revive()
    assert (paths.partial("train") / ".checkpoint.pt").exists()
    train.run(recipe, paths)
    resumed = weights_of(paths, recipe)
    assert all(same(whole[name], resumed[name]) for name in recipe.sae_names)
    assert curves == [json.loads((paths.stage("train") / name / "curve.json").read_text()) for name in recipe.sae_names]
    assert not list(paths.stage("train").glob(".*"))


def test_each_autoencoder_is_what_it_would_be_alone(paths):
    recipe = recipe_with()
    train.run(recipe, paths)
    together = weights_of(paths, recipe)
    for sae in SAES:
        alone = recipe_with([sae])
        train.run(alone, paths)
        assert same(weights_of(paths, alone)[alone.sae_names[0]], together[alone.sae_names[0]])


def test_another_seed_gives_other_weights_and_each_its_own(paths):
    recipe = recipe_with()
    train.run(recipe, paths)
    first = weights_of(paths, recipe)
    train.run(recipe.model_copy(update={"seed": 1}), paths)
    assert not any(same(first[name], weights_of(paths, recipe)[name]) for name in recipe.sae_names)
    assert len({seed_of(seed, name) for seed in (0, 1) for name in recipe.sae_names}) == 6


def test_the_manifest_and_curve_say_what_was_reached(paths):
    recipe = recipe_with()
    manifest = train.run(recipe, paths)
    assert manifest.counts["num_steps"] == NUM_ROWS // BATCH
    assert manifest.counts["num_rows_left_over"] == NUM_ROWS % BATCH
    for name in recipe.sae_names:
        curve = json.loads((paths.stage("train") / name / "curve.json").read_text())
        assert [point["step"] for point in curve] == list(range(1, NUM_ROWS // BATCH + 1))
        assert curve[-1]["tokens"] == manifest.counts["num_tokens"]
        assert curve[-1]["loss"] < curve[0]["loss"]
        assert manifest.counts["saes"][name]["loss"] == curve[-1]["loss"]
        assert SAE.load(paths.stage("train") / name).header.activation_scale == normalisation_of(paths).rms


def test_several_epochs_take_as_many_steps_more(paths):
    manifest = train.run(recipe_with(epochs=3), paths)
    assert manifest.counts["num_steps"] == 3 * NUM_ROWS // BATCH
    assert manifest.counts["num_epochs"] == 3
    assert manifest.counts["num_rows_left_over"] == 3 * NUM_ROWS % BATCH


def test_a_long_curve_has_at_most_200_points(paths, monkeypatch):
    monkeypatch.setattr(trainer_module, "CURVE_POINTS", 10)
    recipe = recipe_with()
    train.run(recipe, paths)
    curve = json.loads((paths.stage("train") / recipe.sae_names[0] / "curve.json").read_text())
    assert [point["step"] for point in curve] == [4, 8, 12, 16, 20, 24, 28, 31]


def test_fewer_rows_than_a_batch_is_said(paths):
    with pytest.raises(CorpusError, match=r"1,003 rows, fewer than one batch of 2,048: use more text, or lower"):
        train.run(recipe_with(batch_size=2048), paths)


def test_another_name_of_the_model_trains_nothing_anew(paths):
    recipe = recipe_with()
    before = train.run(recipe, paths)
    renamed = recipe.model_copy(update={"model": recipe.model.model_copy(update={"name": "other"})})
    after = train.run(renamed, paths)
    assert (after.key, after.seconds, after.created) == (before.key, before.seconds, before.created)


def test_activations_that_are_not_finite_or_all_the_same_are_said(paths):
    trainee = Trainee(train.make_architecture(recipe_with().train.saes[0], 4, dead_window=8, seed=0, device="cpu"),
                      Curve(1), 1e-3)  # fmt: skip
    x_BD = torch.ones(8, 4)
    x_BD[2, 1] = torch.nan
    with pytest.raises(ConfigError, match="1 of the 8 activations of step 1 are not finite: the harvest is damaged"):
        trainee.train([x_BD], 0, Schedule(1, 0, 0))
    with np.load(paths.stage("harvest") / "moments.npz") as moments:
        np.savez(paths.stage("harvest") / "moments.npz", mean_D=moments["mean_D"], rms=np.float64(0))
    put_manifest(paths, "harvest", load_manifest(paths.stage("harvest")).counts)
    with pytest.raises(CorpusError, match="spread 0 around their mean, so there is nothing to learn"):
        train.run(recipe_with(), paths)


def test_divergence_is_said(paths):
    sae = SAES[0] | {"learning_rate": 1e30}
    with pytest.raises(ConfigError, match="diverged at step"):
        train.run(recipe_with([sae]), paths)


def test_int8_rows_are_scaled_back(tmp_path: Path):
    writer = ShardWriter(tmp_path, key="k", num_shards=1, width=2, storage="int8", seed=0)
    writer.append(np.array([[1, -2], [3, 4]], np.int8), np.zeros(2, ROW), 0)
    rows = tuple(writer.flush())
    writer.close()
    np.save(tmp_path / "scales.npy", np.array([2.0, 10.0], np.float32))
    reader = ShardReader(tmp_path, "k", 2, "int8", rows)
    normalisation = Normalisation(torch.zeros(2, dtype=torch.float64), 2**0.5)
    values_BD, _ = next(read_batches(reader, 0, 2, ShufflePosition()))
    assert sorted(normalised_rows(values_BD, reader, normalisation, "cpu").tolist()) == [[2.0, -20.0], [6.0, 40.0]]
