"""Stage `effects` on the fake run: measured effects against whole forward passes with a hook, one example at a time."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import Tensor

from data.arrow import read_arrow
from data.artifacts.corpus import SEQUENCE, TokenizedCorpus
from data.artifacts.effects import EFFECTS_FILE, READINGS_FILE
from data.artifacts.features import EXAMPLES, EXAMPLES_FILE, STATISTICS_FILE, TOP, read_kinds
from data.artifacts.responses import read_best_strengths, read_shown
from data.layout import RunPaths, StorePaths
from pipeline.activations.beginnings import read_beginnings
from pipeline.influence import effects as measuring
from pipeline.influence.effect_cases import Choice, choose_cases, choose_features
from pipeline.models.language_model import LanguageModel
from pipeline.models.sae import SAE
from pipeline.recipe import Recipe
from pipeline.recipe.influence import EffectsConfig
from pipeline.stages import effects
from tests.support.attribution import ablated_logits
from tests.support.fake_run import DEAD, NEGLIGIBLE, RARE, fake_recipe

SAE_NAME = "1-relu-64"
TOLERANCE = 2e-5
"""Of probabilities: the run's model is in float32."""


@pytest.fixture
def run(published_store: StorePaths, tmp_path: Path) -> RunPaths:
    """A copy of the fake run before its effects were measured."""
    shutil.copytree(published_store.root, tmp_path / "store")
    paths = StorePaths(tmp_path / "store").run("fake")
    shutil.rmtree(paths.stage("effects"))
    return paths


@pytest.fixture(scope="module")
def plain(published_store: StorePaths) -> LanguageModel:
    return LanguageModel.load(published_store.models / "tiny", layer=1, dtype="float32", fused=False)


def asked(**changes: Any) -> Recipe:
    return fake_recipe(effects={"examples": 2, "tokens": 4, "readings": 2, **changes})


def rows_of(paths: RunPaths, file: str, sae: str = SAE_NAME) -> list[dict[str, Any]]:
    return read_arrow(paths.stage("effects") / sae / file).to_pylist()


def top_examples(paths: RunPaths, index: int) -> list[dict[str, Any]]:
    examples = read_arrow(paths.stage("examples") / SAE_NAME / EXAMPLES_FILE).to_pylist()
    return [row for row in examples if (row["index"], row["kind"]) == (index, TOP)]


def sequence_to(paths: RunPaths, example: dict[str, Any], recipe: Recipe) -> list[int]:
    """The opening token and the example's sequence, up to its token."""
    piece = recipe.tokenize.context_length - 1
    start = example["position"] // piece * piece
    tokens = TokenizedCorpus(paths.stage("tokenize")).document_tokens(example["document"])
    return [0, *tokens[start : example["position"] + 1].tolist()]


def naive_change(plain: LanguageModel, sae: SAE, index: int, tokens: list[int]) -> Tensor:
    """Change of the probability of every next token by a feature at the last of the tokens."""
    place = slice(len(tokens) - 1, len(tokens))
    with_it, without = (ablated_logits(plain, sae, feature, tokens, place)[-1].softmax(0) for feature in (None, index))
    return with_it - without


def test_effects_are_means_of_ablations_at_the_nearest_strong_examples(run: RunPaths, plain: LanguageModel) -> None:
    recipe = asked()
    effects.run(recipe, run)
    sae = SAE.load(run.stage("train") / SAE_NAME)
    responding = read_best_strengths(run.stage("respond"))[SAE_NAME]
    rows = [row for row in rows_of(run, EFFECTS_FILE) if row["index"] not in responding]
    measured = [row for row in rows if row["num_measured"] == 2]
    assert len(measured) > 20
    for row in measured[:6]:
        top = top_examples(run, row["index"])
        strong = [e for e in top if e["activation"] >= 0.5 * top[0]["activation"]]
        texts = sorted((sequence_to(run, e, recipe) for e in strong), key=len)[:2]
        change_V = torch.stack([naive_change(plain, sae, row["index"], text) for text in texts]).mean(0)
        highest, lowest = change_V.topk(4), (-change_V).topk(4)
        assert row["raised_change"] == pytest.approx(highest.values.tolist(), abs=TOLERANCE)
        assert row["lowered_change"] == pytest.approx((-lowest.values).tolist(), abs=TOLERANCE)
        assert change_V[row["raised"]].tolist() == pytest.approx(row["raised_change"], abs=TOLERANCE)
        assert change_V[row["lowered"]].tolist() == pytest.approx(row["lowered_change"], abs=TOLERANCE)
    assert max(row["raised_change"][0] for row in measured) > 0.01, "features matter"


def test_live_features_alone_are_measured_and_the_others_are_empty(run: RunPaths) -> None:
    manifest = effects.run(asked(), run)
    statistics = read_arrow(run.stage("examples") / SAE_NAME / STATISTICS_FILE)
    live_F = read_kinds(statistics, fake_recipe().examples.rare_tokens).live_F
    rows = rows_of(run, EFFECTS_FILE)
    assert [row["num_measured"] > 0 for row in rows] == live_F.tolist()
    assert not live_F[[DEAD, RARE, NEGLIGIBLE]].any()
    for row in rows:
        if not row["num_measured"]:
            assert row["raised"] == row["raised_change"] == row["lowered"] == row["lowered_change"] == []
    counts = manifest.counts["saes"][SAE_NAME]
    assert counts == {"num_live": int(live_F.sum()), "num_measured": int(live_F.sum())}
    assert manifest.counts["why_none"] == ""


def test_a_budget_takes_what_responds_and_the_same_share_of_the_most_active_of_each_sae(run: RunPaths) -> None:
    effects.run(asked(features=30), run)
    responding = read_best_strengths(run.stage("respond"))
    assert sum(map(len, responding.values())) > 2
    others, squares = {}, {}
    for name in fake_recipe().sae_names:
        statistics = read_arrow(run.stage("examples") / name / STATISTICS_FILE)
        squares[name] = statistics["sum_squares"].to_numpy()
        live_F = read_kinds(statistics, fake_recipe().examples.rare_tokens).live_F
        assert live_F[list(responding.get(name, {}))].all()
        others[name] = [f for f in np.flatnonzero(live_F).tolist() if f not in responding.get(name, {})]
    total, left = sum(map(len, others.values())), 30 - sum(map(len, responding.values()))
    for name, indices in others.items():
        measured = {row["index"] for row in rows_of(run, EFFECTS_FILE, name) if row["num_measured"]}
        assert measured >= set(responding.get(name, {}))
        count = left * len(indices) // total
        most_active = sorted(indices, key=lambda f, squares_F=squares[name]: -squares_F[f])[:count]
        assert measured - set(responding.get(name, {})) == set(most_active)
        assert count > 2


def test_dead_features_are_not_measured_even_where_they_are_asked_for_and_none_where_none_is() -> None:
    statistics = pa.table({"sum_squares": [0.0, 4.0, 9.0], "num_active": [0, 500, 500]})
    [choice] = choose_features([statistics], [[0, 1]], rare_tokens=100, most=1)
    assert choice.live_F.tolist() == [False, True, True]
    assert choice.chosen_F.tolist() == [False, True, False], "what is asked for comes before the more active"
    [none] = choose_features([statistics], [[0, 1]], rare_tokens=100, most=0)
    assert not none.chosen_F.any()


def test_none_are_measured_where_the_recipe_asks_for_none(run: RunPaths) -> None:
    manifest = effects.run(asked(features=0), run)
    assert "effects.features=0" in manifest.counts["why_none"]
    assert not any(row["num_measured"] for row in rows_of(run, EFFECTS_FILE))
    assert rows_of(run, READINGS_FILE) == []


def test_readings_say_what_changed_after_each_measured_example(run: RunPaths, plain: LanguageModel) -> None:
    recipe = asked(readings=0)
    effects.run(recipe, run)
    sae, readings = SAE.load(run.stage("train") / SAE_NAME), rows_of(run, READINGS_FILE)
    assert [(r["index"], r["rank"]) for r in readings] == sorted((r["index"], r["rank"]) for r in readings)
    assert sum(row["num_readings"] for row in rows_of(run, EFFECTS_FILE)) == len(readings) > 40
    for reading in readings[:5]:
        assert reading["measured"]
        assert reading["causes"] is reading["changes"] is None
        tokens = sequence_to(run, top_examples(run, reading["index"])[reading["rank"]], recipe)
        place = slice(len(tokens) - 1, len(tokens))
        logs, without = (
            ablated_logits(plain, sae, f, tokens, place)[-1].log_softmax(0) for f in (None, reading["index"])
        )
        assert reading["kl"] == pytest.approx(float((logs.exp() * (logs - without)).sum()), abs=1e-5)
        for name in ("raised", "lowered"):
            assert logs[reading[name]].tolist() == pytest.approx(reading[f"{name}_with"], abs=1e-4)
            assert without[reading[name]].tolist() == pytest.approx(reading[f"{name}_without"], abs=1e-4)


def test_the_strongest_examples_of_a_few_features_are_coloured(run: RunPaths) -> None:
    effects.run(asked(), run)
    coloured = [
        row
        for name in fake_recipe().sae_names
        for row in rows_of(run, READINGS_FILE, name)
        if row["causes"] is not None
    ]
    assert len(coloured) == 2 * 3
    assert {row["rank"] for row in coloured} == {0, 1, 2}
    for name in fake_recipe().sae_names:
        examples = read_arrow(run.stage("examples") / name / EXAMPLES_FILE).to_pylist()
        windows = {(e["index"], e["rank"]): e for e in examples if e["kind"] == TOP}
        for row in rows_of(run, READINGS_FILE, name):
            if row["causes"] is not None:
                example = windows[row["index"], row["rank"]]
                assert len(row["changes"]) == example["length"]
                assert len(row["causes"]) == example["position"] - example["start"] + 1
                assert row["activation"] == pytest.approx(example["activation"], rel=1e-3)


def test_what_pages_lead_with_is_coloured_first(run: RunPaths) -> None:
    effects.run(asked(readings=1), run)
    lead = read_shown(run.stage("respond")).chats[0]
    coloured = {
        (name, row["index"])
        for name in fake_recipe().sae_names
        for row in rows_of(run, READINGS_FILE, name)
        if row["causes"] is not None
    }
    assert coloured == {(lead.sae, lead.index)}


def test_chunks_and_small_batches_give_the_same(run: RunPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    effects.run(asked(), run)
    whole = rows_of(run, EFFECTS_FILE)
    shutil.rmtree(run.stage("effects"))
    monkeypatch.setattr(measuring, "LOGITS_AT_ONCE", 1)
    recipe = fake_recipe(effects=asked().effects.model_dump(), harvest={"batch_tokens": 64})
    effects.run(recipe, run)
    for one, other in zip(whole, rows_of(run, EFFECTS_FILE), strict=True):
        assert one["raised_change"] == pytest.approx(other["raised_change"], abs=TOLERANCE)
        assert one["lowered_change"] == pytest.approx(other["lowered_change"], abs=TOLERANCE)


def test_cases_are_the_strong_examples_with_the_shortest_context() -> None:
    sequences = np.array([(0, 0, 9), (0, 9, 9), (1, 0, 5)], SEQUENCE)
    found = [(0, 8, 4.0), (0, 12, 3.0), (1, 1, 1.9), (0, 1, 2.5), (1, 4, 2.0)]
    constant = {"kind": TOP, "band": -1, "document_id": 0, "start": 0, "length": 1, "pre_activation": 0.0}
    rows = [
        {**constant, "index": 1, "rank": rank, "document": document, "position": position, "activation": activation,
         "offsets": [], "values": [], "repeats": 0}
        for rank, (document, position, activation) in enumerate(found)
    ]  # fmt: skip
    table, mask_F = pa.Table.from_pylist(rows, EXAMPLES), np.array([False, True])
    chosen = [Choice(mask_F, mask_F, ~mask_F)]
    cases = choose_cases([table], chosen, sequences, EffectsConfig(examples=2, context=6))
    assert cases.rank_M.tolist() == [1, 3], "rank 2 is too weak, the others stand further on"
    assert cases.sequence_M.tolist() == [1, 0]
    assert cases.position_M.tolist() == [4, 2]
    far = choose_cases([table.slice(0, 1)], chosen, sequences, EffectsConfig(examples=2, context=6))
    assert far.rank_M.tolist() == [0], "where all are far on, the nearest"
    first = choose_cases([table], [Choice(mask_F, mask_F, mask_F)], sequences, EffectsConfig(examples=2, context=6))
    assert first.rank_M.tolist() == [0, 1], "of a feature that comes first the strongest"


def test_beginnings_are_what_the_model_gives(run: RunPaths, plain: LanguageModel) -> None:
    corpus = TokenizedCorpus(run.stage("tokenize"))
    positions_S = np.zeros(len(corpus.sequences), np.int64)
    positions_S[[0, 2, 3]] = [1, 5, 2]
    seen = {}
    for numbers_B, x_BLD, _ in read_beginnings(fake_recipe(), run, plain, positions_S):
        seen |= {n: x_LD[: positions_S[n]] for n, x_LD in zip(numbers_B.tolist(), x_BLD, strict=True)}
    assert sorted(seen) == [0, 2, 3]
    for number, x_LD in seen.items():
        tokens = [0, *corpus.sequence_tokens(number)[: positions_S[number] - 1].tolist()]
        torch.testing.assert_close(x_LD, plain.residuals(torch.tensor([tokens]))[0], atol=1e-5, rtol=0)
