"""Stage `compare`: in a planted world, and on the fake run against the model's own activations."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from data.arrow import read_arrow
from data.artifacts.comparison import COMPARED_FILE, FIT, NEURONS_GROUP, Measure, read_comparison
from data.artifacts.corpus import TokenizedCorpus
from data.layout import RunPaths, StorePaths
from pipeline.comparison.drawing import CUT
from pipeline.models.language_model import LanguageModel
from pipeline.models.sae import SAE
from pipeline.stages import compare
from tests.pipeline.comparison.planted import LETTERS, NAME, World, mixtures, monosemantic
from tests.support.fake_run import fake_recipe

PER_LAYER = 64


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(StorePaths(tmp_path_factory.mktemp("store")).run("planted"))


def by_name(measures: tuple[Measure, ...]) -> dict[tuple[str, str], Measure]:
    return {(one.judge, one.task): one for one in measures}


def test_features_that_mean_one_thing_do_better_than_neurons_that_are_mixtures(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = world.run(monkeypatch, mixtures)
    assert [(group.name, group.num) for group in found.groups] == [(NAME, 16), (NEURONS_GROUP, 16)]
    measures = by_name(found.measures)
    assert list(measures) == [("", FIT), *(("rule", task) for task in ("specificity", "detection", "fuzzing"))]
    assert found.left_out == (
        "local: It has no chat template.", "few: the recipe lets it judge 3 features only."
    )  # fmt: skip
    for name in [("", FIT), ("rule", "specificity"), ("rule", "fuzzing")]:
        test = measures[name].tests[0]
        assert test.group == NAME
        assert 0 < test.low < test.difference < test.high
        assert test.p < 0.01
        assert test.superiority > 0.7
    labels = {row["index"]: row for row in rows_of(world.paths) if row["group"] == NAME}
    assert all(LETTERS[index] in row["label"] and row["telling"] for index, row in labels.items())


def test_means_are_those_of_what_was_drawn(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    found, rows = world.run(monkeypatch, mixtures), rows_of(world.paths)
    for place, measure in enumerate(found.measures):
        for mean in measure.means:
            values = [row["values"][place] for row in rows if row["group"] == mean.group]
            known = [value for value in values if value is not None]
            assert (mean.num, mean.mean) == (len(known), pytest.approx(np.mean(known), abs=1e-6))
    without = [row for row in rows if not row["label"]]
    assert all(row["values"][:2] == [0, 0] and row["label_rule"] == "" for row in without)


def test_neurons_that_are_as_features_are_show_no_difference(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    tests = [
        test
        for seed in range(5)
        for name, measure in by_name(world.run(monkeypatch, monosemantic, seed).measures).items()
        for test in measure.tests
        if name[1] in (FIT, "specificity", "fuzzing")
    ]
    p = np.array([test.p for test in tests])
    assert len(p) == 15
    assert (p < 0.05).sum() <= 2
    assert np.median(p) > 0.2
    assert abs(np.mean([test.difference for test in tests])) < 0.05


def test_none_are_compared_where_the_recipe_asks_for_none(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert world.run(monkeypatch, mixtures, n=0).why_none == "The recipe compares none (compare.n=0)."
    assert rows_of(world.paths) == []


def test_groups_of_which_nothing_is_active_enough_are_empty(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    found = world.run(monkeypatch, mixtures, min_active=100_000)
    assert [(group.num, group.num_passed_over) for group in found.groups] == [(0, len(LETTERS)), (0, len(LETTERS))]
    assert all(measure.means == measure.tests == () for measure in found.measures)
    assert rows_of(world.paths) == []


def rows_of(paths: RunPaths) -> list[dict]:
    return read_arrow(paths.stage("compare") / COMPARED_FILE).to_pylist()


def test_activations_are_those_of_the_model(published_store: StorePaths, tmp_path: Path) -> None:
    shutil.copytree(published_store.root, tmp_path / "store")
    paths = StorePaths(tmp_path / "store").run("fake")
    shutil.rmtree(paths.stage("compare"))
    judges = [{"kind": "rule"}, {"kind": "local", "features": 3}, {"kind": "sentences"}]
    judges.append({"kind": "sentences", "name": "near", "features": 3})
    recipe = fake_recipe(
        compare={"n": 5, "max_tokens": 1_000_000, "samples": 10, "examples": 2}, score={"judges": judges}
    )
    compare.run(recipe, paths)
    found, rows = read_comparison(paths.stage("compare")), rows_of(paths)
    assert [group.name for group in found.groups] == [*recipe.sae_names, NEURONS_GROUP]
    model = LanguageModel.load(paths.store.models / "tiny", layer=1, dtype="float32", fused=False)
    corpus = TokenizedCorpus(paths.stage("tokenize"))
    x_ND, neurons_NM, document_N, position_N = whole_text(model, corpus)
    assert found.num_tokens == len(x_ND)
    for row in rows:
        if row["group"] == NEURONS_GROUP:
            value_N = neurons_NM[:, row["layer"] * PER_LAYER + row["index"]]
        else:
            sae = SAE.load(paths.stage("train") / row["group"])
            value_N = sae.encode(torch.from_numpy(x_ND), torch.tensor([row["index"]]))[:, 0].numpy()
        assert row["max"] == pytest.approx(max(value_N.max(), 0), rel=1e-4)
        assert row["num_active"] == (value_N > CUT * value_N.max()).sum()
        assert row["threshold"] == pytest.approx(CUT * row["max"], rel=1e-4)
        assert row["example_activation"] == sorted(row["example_activation"], reverse=True)
        at_N = {(d, p): v for d, p, v in zip(document_N, position_N, value_N.tolist(), strict=True)}
        for k, (document, position) in enumerate(zip(row["example_document"], row["example_position"], strict=True)):
            assert row["example_activation"][k] == pytest.approx(at_N[document, position], abs=1e-4)
            window = [at_N[document, row["example_start"][k] + n] for n in range(len(row["example_values"][k]))]
            expected = [value if value > row["threshold"] else 0 for value in window]
            np.testing.assert_allclose(row["example_values"][k], expected, atol=1e-4)
        assert row["example_activation"][0] == pytest.approx(row["max"], rel=1e-4)


def whole_text(model: LanguageModel, corpus: TokenizedCorpus) -> tuple[np.ndarray, ...]:
    """All training tokens, one sequence at a time."""
    xs, units, documents, positions = [], [], [], []
    for number in corpus.sequence_numbers(held_out=False).tolist():
        found: list[torch.Tensor] = []
        tokens = torch.tensor([[0, *corpus.sequence_tokens(number).tolist()]])
        x_1LD = model.residuals_and_neurons(tokens, lambda _, n_BLM, found=found: found.append(n_BLM.clone()))  # type: ignore[misc]
        document, start, length = corpus.sequences[number].tolist()
        xs.append(x_1LD[0, 1:].numpy())
        units.append(torch.cat([n_BLM[0, 1:] for n_BLM in found], 1).numpy())
        documents += [document] * length
        positions += range(start, start + length)
    return np.concatenate(xs), np.concatenate(units), np.array(documents), np.array(positions)
