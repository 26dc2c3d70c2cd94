"""Runs that read other hooks of one model are harvested by one reading, each to the bit as if it were alone."""

from collections.abc import Callable
from pathlib import Path

import pytest

from data.layout import RunPaths, StorePaths
from data.manifests import load_manifest
from pipeline.activations import harvest as harvesting
from pipeline.recipe import Recipe, make_recipe
from pipeline.stages import harvest
from tests.pipeline.activations.test_harvest import BOS, CONTEXT, documents
from tests.support.fakes import make_corpus, put_manifest
from tests.support.models import tiny_llama
from tests.support.passes import count_passes

PLACES = ({"layer": 1}, {"layer": 2, "hook": "attn"}, {"layer": 0, "hook": "mlp"}, {"layer": 2, "hook": "resid_pre"})
Part = tuple[Recipe, RunPaths]


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tiny_llama().save_pretrained(folder)
    return folder


@pytest.fixture
def parts(store: StorePaths, model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[Part]]:
    """Runs of one name with the corpus tokenized, ready to be harvested."""
    monkeypatch.setattr(harvesting, "CALIBRATION_TOKENS", 400)

    def made(name: str) -> list[Part]:
        recipe = make_recipe(
            {
                "name": name,
                "corpus": {"source": "sample"},
                "model": {"name": "tiny", "source": "tiny", "layer": 1, "dtype": "float32"},
                "harvest": {"num_shards": 4, "batch_tokens": 200, "keep_fraction": 0.6},
                "train": {"saes": [{"architecture": "relu", "num_features": 12, **place} for place in PLACES]},
            }
        )
        found = [(one, store.run(one.name)) for one in recipe.by_place()]
        for _, paths in found:
            make_corpus(paths.stage("tokenize"), documents(), CONTEXT, held_out=[2, 5])
            put_manifest(paths, "tokenize", {"bos_id": BOS})
            put_manifest(paths, "fetch", {"model": str(model_folder)})
        return found

    return made


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Hooks that were read in each forward pass."""
    return count_passes(monkeypatch)


def assert_same(one: list[Part], other: list[Part]) -> None:
    for (_, paths), (_, others) in zip(one, other, strict=True):
        manifest = load_manifest(paths.stage("harvest"))
        assert manifest.files == load_manifest(others.stage("harvest")).files
        assert manifest.key == load_manifest(others.stage("harvest")).key


def test_shards_are_those_of_each_alone_from_one_reading(parts: Callable[[str], list[Part]], read: list[int]) -> None:
    together, alone = parts("together"), parts("alone")
    manifests = harvest.STAGE.run_together(together)
    passes, read[:] = list(read), []
    for recipe, paths in alone:
        harvest.run(recipe, paths)
    assert_same(together, alone)
    assert set(passes) == {len(PLACES)}
    assert len(read) == len(passes) * len(PLACES)
    assert manifests[0].counts["together_with"] == [paths.run for _, paths in together]
    assert len({tuple(sorted(manifest.files.items())) for manifest in manifests}) == len(PLACES)


def test_what_stands_is_not_read_again(parts: Callable[[str], list[Part]], read: list[int]) -> None:
    together, alone = parts("together"), parts("alone")
    first = harvest.run(*together[0])
    read.clear()
    assert harvest.STAGE.run_together(together)[0] == first
    assert set(read) == {len(PLACES) - 1}
    harvest.STAGE.run_together(alone)
    assert_same(together, alone)
    read.clear()
    harvest.STAGE.run_together(together)
    assert read == []


def test_a_kill_that_leaves_one_ahead_of_the_others(
    parts: Callable[[str], list[Part]], monkeypatch: pytest.MonkeyPatch
) -> None:
    together, alone = parts("together"), parts("alone")
    harvest.STAGE.run_together(alone)
    monkeypatch.setattr(harvesting, "HARVEST_CHECKPOINT_SECONDS", -1.0)
    checkpoint, written = harvesting.Harvest.checkpoint, []

    def dying(self: harvesting.Harvest) -> None:
        checkpoint(self)
        written.append(self.counts.num_batches)
        if len(written) == 2 * len(PLACES) + 1:  # two of each, and one of the first
            raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr(harvesting.Harvest, "checkpoint", dying)
        with pytest.raises(KeyboardInterrupt):
            harvest.STAGE.run_together(together)
    assert written[-2:] == [2, 3]
    harvest.STAGE.run_together(together)
    assert_same(together, alone)
