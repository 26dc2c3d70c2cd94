"""Examples against a naive dense implementation of the same definitions, exactly."""

from collections import defaultdict
from pathlib import Path

import pytest
import torch

from data.artifacts.features import EXAMPLE_KINDS
from pipeline.arrays import pack_tokens
from pipeline.examples import contrast, shortlist, windows
from pipeline.examples.selection import FeatureSelection
from pipeline.models import sae as sae_module
from tests.support.naive_examples import Naive
from tests.support.planted_examples import VOCAB, Planted, Row, make_fine_sae, make_recipe_with, make_sae, run_stage


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes at which every boundary is crossed many times."""
    monkeypatch.setattr(sae_module, "TILE_FEATURES", 5)
    monkeypatch.setattr(shortlist, "PENDING", 50)
    monkeypatch.setattr(contrast, "PENDING_ROWS", 30)
    monkeypatch.setattr(contrast, "CHUNK_ROWS", 10)
    monkeypatch.setattr(contrast, "CHUNK_PAIRS", 7)
    monkeypatch.setattr(windows, "SEGMENT_ROWS", 11)
    monkeypatch.setattr(windows, "SEGMENT_WINDOWS", 9)


def check_statistics(found: list[Row], expected: list[Row], per_band: int) -> None:
    """All are equal but the counts of bands: these may be low where there are more than examples asked for."""
    for row, true in zip(found, expected, strict=True):
        assert row | {"band_counts": []} == true | {"band_counts": []}
        for count, all_there_are in zip(row["band_counts"], true["band_counts"], strict=True):
            assert min(per_band, all_there_are) <= count <= all_there_are


@pytest.mark.parametrize("nonlinearity", ["relu", "jumprelu", "topk"])
@pytest.mark.parametrize("block_tokens", [16, 100, 10_000])
def test_agrees_with_the_naive_implementation(
    nonlinearity: str, block_tokens: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted, sae = Planted(tmp_path / "corpus"), make_sae(nonlinearity)
    recipe = make_recipe_with()
    naive = Naive(planted, sae, recipe.examples)
    statistics, examples, counts = run_stage(planted, sae, recipe, tmp_path, monkeypatch, block_tokens)
    check_statistics(statistics, naive.statistics(), recipe.examples.per_band)
    assert examples == naive.examples()
    assert counts["num_tokens"] == len(naive.tokens)
    name = recipe.sae_names[0]
    assert counts["saes"][name]["num_examples"] == len(examples)
    assert counts["saes"][name]["num_dead"] == sum(row["num_active"] == 0 for row in statistics) >= 1


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("top", [4, 8, 20])
def test_copies_are_one_example_with_their_number(
    seed: int, top: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted, sae = Planted(tmp_path / "corpus", copies=3, seed=seed), make_sae("relu", seed=seed)
    recipe = make_recipe_with(top=top, bottom=5, contrast=5, contrast_occurrences=40)
    naive = Naive(planted, sae, recipe.examples)
    statistics, examples, counts = run_stage(planted, sae, recipe, tmp_path, monkeypatch)
    check_statistics(statistics, naive.statistics(), recipe.examples.per_band)
    assert examples == naive.examples()
    of_top = [row for row in examples if row["kind"] == EXAMPLE_KINDS.index("top")]
    assert max(row["repeats"] for row in of_top) > 5
    assert counts["saes"][recipe.sae_names[0]]["num_with_repeats"] == sum(row["repeats"] > 0 for row in examples)


def test_a_corpus_of_copies_has_one_example_of_each_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One document forty times over: every kind has each of its places once, 38 times more among those trained on."""
    planted, sae, recipe = (
        Planted(tmp_path / "corpus", num_documents=1, repeats=40),
        make_sae("relu"),
        make_recipe_with(),
    )
    _, examples, _ = run_stage(planted, sae, recipe, tmp_path, monkeypatch)
    assert examples == Naive(planted, sae, recipe.examples).examples()
    assert {row["repeats"] for row in examples} == {37}
    assert max(row["rank"] for row in examples if row["kind"] == EXAMPLE_KINDS.index("top")) == 0


def test_few_examples_of_each_kind_and_a_narrow_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planted, sae = Planted(tmp_path / "corpus", seed=1), make_sae("relu", seed=1)
    recipe = make_recipe_with(top=2, bottom=3, contrast=2, bands=3, per_band=1, contrast_occurrences=2, context=40)
    _, examples, _ = run_stage(planted, sae, recipe, tmp_path, monkeypatch)
    assert examples == Naive(planted, sae, recipe.examples).examples()


def test_rows_are_cut_into_tiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.examples.selection.TILE_ROWS", 7)
    planted, sae, recipe = Planted(tmp_path / "corpus"), make_sae("relu"), make_recipe_with()
    _, examples, _ = run_stage(planted, sae, recipe, tmp_path, monkeypatch)
    assert examples == Naive(planted, sae, recipe.examples).examples()


def test_dead_and_rare_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planted, sae = Planted(tmp_path / "corpus"), make_sae("relu")
    statistics, examples, _ = run_stage(planted, sae, make_recipe_with(), tmp_path, monkeypatch)
    assert not [row for row in examples if row["index"] == 1]
    assert (statistics[1]["max"], statistics[1]["num_active"], sum(statistics[1]["histogram"])) == (0.0, 0, 0)
    rare = [row for row in examples if row["index"] == 2 and row["kind"] == EXAMPLE_KINDS.index("bottom")]
    assert 0 < len(rare) == statistics[2]["num_active"] < 20


@pytest.mark.parametrize("nonlinearity", ["relu", "jumprelu"])
@pytest.mark.parametrize("scale", [0.75, 30.0])
def test_a_search_in_bfloat16_finds_what_float32_does(
    nonlinearity: str, scale: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Values a few roundings apart, many of them near zero: all that is found is that of the exact values."""
    # Also where this processor would search in float32, for it has no fast products in bfloat16.
    monkeypatch.setattr("pipeline.models.sae.product_dtype", lambda dtype, device: dtype)
    planted, sae = Planted(tmp_path / "corpus"), make_fine_sae(nonlinearity, scale)
    recipe = make_recipe_with(dtype="bfloat16")
    naive = Naive(planted, sae, recipe.examples)
    rounded = sae.pre_activations(planted.all_rows()[1], dtype=torch.bfloat16).numpy()
    assert ((rounded > sae.threshold_F.numpy()) != (naive.acts_NF > 0)).sum() > 100, "rounding decides somewhere"
    statistics, examples, _ = run_stage(planted, sae, recipe, tmp_path, monkeypatch)
    check_statistics(statistics, naive.statistics(), recipe.examples.per_band)
    assert examples == naive.examples()


def test_every_shortage_is_that_of_the_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is short of examples has a count beside it that says so."""
    planted, sae = Planted(tmp_path / "corpus", num_documents=12), make_fine_sae("relu", 30.0)
    config = (recipe := make_recipe_with(dtype="bfloat16", per_band=12)).examples
    statistics, examples, _ = run_stage(planted, sae, recipe, tmp_path, monkeypatch)
    by_kind = defaultdict(list)
    for row in examples:
        by_kind[row["index"], EXAMPLE_KINDS[row["kind"]]].append(row["band"])
    short = 0
    for row in statistics:
        bands = by_kind[row["index"], "interval"]
        for band, count in enumerate(row["band_counts"]):
            assert bands.count(band) == min(count, config.per_band)
            short += 0 < count < config.per_band
        assert len(by_kind[row["index"], "bottom"]) == min(row["num_above_floor"], config.bottom)
        assert (len(by_kind[row["index"], "top"]) == 0) == (row["num_active"] == 0)
    assert short > 5


def test_memory_does_not_grow_with_the_corpus(tmp_path: Path) -> None:
    """The corpus four times over leaves a state of the same bound, and no more than that in use."""
    sae, config = make_sae("relu"), make_recipe_with(top=5, bottom=5, per_band=2).examples
    kept = []
    for repeats in (1, 4):
        planted = Planted(tmp_path / str(repeats), num_documents=60, repeats=repeats)
        selection = FeatureSelection(sae, config, planted.corpus)
        occurrences = contrast.Occurrences(planted.corpus, VOCAB, config.contrast_occurrences)
        for block in planted.blocks(100):
            tokens = pack_tokens(block.index_N["sequence"], block.index_N["position"])
            selection.add(block.x_ND, tokens)
            occurrences.add(block.x_ND, tokens)
        sizes = [len(s.result().group_N) for s in (selection.top, selection.bottom, selection.interval)]
        kept.append([*sizes, len(occurrences.settled()[2])])
    assert kept[1][3] == kept[0][3] == VOCAB * config.contrast_occurrences
    most = (12 * 5, 12 * 5, 12 * 2 * 40)
    assert all(size <= bound for sizes in kept for size, bound in zip(sizes, most, strict=False))
    assert kept[1][0] == kept[0][0]
