"""Stage `neurons` on the fake run: against numpy over the activations of whole passes, one sequence at a time."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from data.arrow import read_arrow
from data.artifacts.corpus import TokenizedCorpus
from data.artifacts.features import STATISTICS_FILE, read_kinds
from data.artifacts.neurons import HIGHEST_END, LOWEST_END, NEURON_EXAMPLES_FILE, NEURONS_FILE, WEAK_R
from data.errors import ConfigError
from data.layout import RunPaths, StorePaths
from data.manifests import load_manifest, write_manifest
from pipeline.models.language_model import LanguageModel
from pipeline.models.sae import SAE
from pipeline.neurons import passes
from pipeline.recipe import Recipe
from pipeline.stages import neurons
from tests.support.fake_run import DEAD, RARE, fake_recipe

SAE_NAME, PER_LAYER, ALL_TOKENS = "1-relu-64", 64, 1_000_000


@pytest.fixture
def run(published_store: StorePaths, tmp_path: Path) -> RunPaths:
    """A copy of the fake run before it was compared with neurons."""
    shutil.copytree(published_store.root, tmp_path / "store")
    paths = StorePaths(tmp_path / "store").run("fake")
    shutil.rmtree(paths.stage("neurons"))
    return paths


def asked(**changes: Any) -> Recipe:
    return fake_recipe(neurons={"max_tokens": ALL_TOKENS, "min_active": 5, **changes})


def rows_of(paths: RunPaths, sae: str = SAE_NAME) -> list[dict[str, Any]]:
    return read_arrow(paths.stage("neurons") / sae / NEURONS_FILE).to_pylist()


def examples_of(paths: RunPaths) -> list[dict[str, Any]]:
    return read_arrow(paths.stage("neurons") / NEURON_EXAMPLES_FILE).to_pylist()


class Text(NamedTuple):
    """All training tokens."""

    acts_NF: np.ndarray
    neurons_NM: np.ndarray
    document_N: np.ndarray
    position_N: np.ndarray
    sequence_N: np.ndarray
    norm_N: np.ndarray
    """Of the residual stream."""


def whole_text(paths: RunPaths) -> Text:
    model = LanguageModel.load(paths.store.models / "tiny", layer=1, dtype="float32", fused=False)
    corpus, sae = TokenizedCorpus(paths.stage("tokenize")), SAE.load(paths.stage("train") / SAE_NAME)
    acts, units, documents, positions, sequences, norms = [], [], [], [], [], []
    for number in corpus.sequence_numbers(held_out=False).tolist():
        found: list[torch.Tensor] = []
        tokens = torch.tensor([[0, *corpus.sequence_tokens(number).tolist()]])
        x_1LD = model.residuals_and_neurons(tokens, lambda _, n_BLM, found=found: found.append(n_BLM.clone()))  # type: ignore[misc]
        document, start, length = corpus.sequences[number].tolist()
        acts.append(sae.encode(x_1LD[0, 1:]).numpy())
        units.append(torch.cat([n_BLM[0, 1:] for n_BLM in found], 1).numpy())
        documents += [document] * length
        positions += range(start, start + length)
        sequences += [number] * length
        norms += x_1LD[0, 1:].norm(dim=1).tolist()
    columns = map(np.array, (documents, positions, sequences, norms))
    return Text(np.concatenate(acts), np.concatenate(units), *columns)


def test_best_neurons_are_those_of_numpy(run: RunPaths) -> None:
    manifest = neurons.run(asked(), run)
    text = whole_text(run)
    live_F = read_kinds(read_arrow(run.stage("examples") / SAE_NAME / STATISTICS_FILE), 10).live_F
    both = np.concatenate([text.acts_NF[:, live_F], text.neurons_NM], 1).astype(np.float64)
    r_FM = np.corrcoef(both.T)[: live_F.sum(), live_F.sum() :]
    rows = [row for row, live in zip(rows_of(run), live_F, strict=True) if live]
    for row, r_M, acts_N in zip(rows, r_FM, text.acts_NF[:, live_F].T, strict=True):
        assert row["neuron_tokens"] == (acts_N > 0).sum()
        numbers = np.array(row["neuron_layer"]) * PER_LAYER + row["neuron"]
        np.testing.assert_allclose(np.abs(row["neuron_r"]), np.sort(np.abs(r_M))[::-1][:10], atol=1e-5)
        np.testing.assert_allclose(row["neuron_r"], r_M[numbers], atol=1e-5)
        assert row["highest_r"] == pytest.approx(abs(row["neuron_r"][0]))
    counts = manifest.counts
    assert (counts["num_tokens"], counts["num_neurons"], counts["num_passes"]) == (len(text.acts_NF), 128, 1)
    highest = [row["highest_r"] for row in rows]
    mine = counts["saes"][SAE_NAME]
    assert (mine["num_live"], mine["num_features"], sum(mine["counts"])) == (len(rows), len(rows), len(rows))
    assert mine["num_weak"] == sum(r < WEAK_R for r in highest)
    assert mine["median_r"] == pytest.approx(np.median(highest))


def test_attention_sinks_count_for_no_correlation_and_are_no_examples(run: RunPaths) -> None:
    whole = whole_text(run)
    below, above = np.sort(whole.norm_N)[[int(0.8 * len(whole.norm_N)) + step for step in (0, 1)]]
    harvest = load_manifest(run.stage("harvest"))
    counts = harvest.counts | {"sink_threshold": (below + above) / 2}
    write_manifest(run.stage("harvest"), replace(harvest, counts=counts))
    text = Text(*(column[whole.norm_N <= below] for column in whole))

    assert neurons.run(asked(), run).counts["num_tokens"] == len(text.norm_N) < len(whole.norm_N)

    places = set(zip(text.document_N.tolist(), text.position_N.tolist(), strict=True))
    assert all((example["document"], example["position"]) in places for example in examples_of(run))
    active_F = (text.acts_NF > 0).sum(0)
    for index, row in enumerate(rows_of(run)):
        if row["neuron_r"] and active_F[index]:
            assert row["neuron_tokens"] == active_F[index]
            numbers = np.array(row["neuron_layer"]) * PER_LAYER + row["neuron"]
            both = np.concatenate([text.acts_NF[:, [index]], text.neurons_NM], 1).astype(np.float64)
            r_M = np.corrcoef(both.T)[0, 1:]
            np.testing.assert_allclose(np.abs(row["neuron_r"]), np.sort(np.abs(r_M))[::-1][:10], atol=1e-5)
            np.testing.assert_allclose(row["neuron_r"], r_M[numbers], atol=1e-5)


def test_examples_of_the_first_neurons_are_their_own_at_the_end_that_r_says(run: RunPaths) -> None:
    neurons.run(asked(shown=2, examples=3, context=6), run)
    text, corpus, examples = whole_text(run), TokenizedCorpus(run.stage("tokenize")), examples_of(run)
    signs = set()
    for row in rows_of(run):
        assert len(row["first_neuron_example"]) == len(row["num_neuron_examples"]) == (2 if row["neuron_r"] else 0)
        places = zip(row["first_neuron_example"], row["num_neuron_examples"], strict=True)
        for k, (first, count) in enumerate(places):
            layer, neuron, sign = row["neuron_layer"][k], row["neuron"][k], 1 if row["neuron_r"][k] > 0 else -1
            signs.add(sign)
            value_N = text.neurons_NM[:, layer * PER_LAYER + neuron]
            mine = examples[first : first + count]
            assert {(e["layer"], e["neuron"], e["end"]) for e in mine} == {(layer, neuron, sign)}
            strongest = {}
            for n in np.argsort(-sign * value_N, kind="stable").tolist():
                strongest.setdefault(int(text.document_N[n]), n)
            expected = list(strongest.values())[:3]
            assert [e["rank"] for e in mine] == [0, 1, 2]
            assert [e["document"] for e in mine] == text.document_N[expected].tolist()
            assert [e["position"] for e in mine] == text.position_N[expected].tolist()
            for example, n in zip(mine, expected, strict=True):
                inside = np.flatnonzero(
                    (text.sequence_N == text.sequence_N[n]) & (np.abs(text.position_N - text.position_N[n]) <= 6)
                )
                np.testing.assert_allclose(example["values"], value_N[inside], atol=1e-5)
                assert example["start"] == text.position_N[inside[0]]
                assert example["document_id"] == corpus.document_ids[example["document"]]
    assert signs == {HIGHEST_END, LOWEST_END}


def test_several_passes_give_the_same(run: RunPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passes, "MOST_THREADS", 1)
    neurons.run(asked(features=60), run)
    whole = {name: rows_of(run, name) for name in fake_recipe().sae_names}, examples_of(run)
    shutil.rmtree(run.stage("neurons"))
    manifest = neurons.run(asked(features=60, memory_gb=0.003), run)
    assert manifest.counts["num_passes"] > 1
    for name, rows in whole[0].items():
        for row, again in zip(rows, rows_of(run, name), strict=True):
            assert again["neuron_r"] == pytest.approx(row["neuron_r"], abs=1e-6)
            assert {**again, "neuron_r": [], "highest_r": 0} == {**row, "neuron_r": [], "highest_r": 0}
    assert examples_of(run) == whole[1]


def test_features_that_are_not_compared_or_are_active_too_rarely_have_none(run: RunPaths) -> None:
    active_F = (whole_text(run).acts_NF > 0).sum(0)
    enough = int(active_F[RARE + 1 :].max())
    neurons.run(asked(min_active=enough), run)
    rows = rows_of(run)
    for index in (DEAD, RARE):
        assert rows[index]["neuron_tokens"] is None
    compared = [row for row in rows if row["neuron_tokens"] is not None]
    few = [row for row in compared if active_F[row["index"]] < enough]
    assert 0 < len(few) < len(compared)
    for row in [*few, rows[DEAD], rows[RARE]]:
        assert row["highest_r"] is None
        assert row["neuron_r"] == row["neuron"] == row["first_neuron_example"] == []


def test_a_budget_takes_the_same_share_of_each_sae_and_of_the_tokens(run: RunPaths) -> None:
    manifest = neurons.run(asked(features=30, max_tokens=400), run)
    assert 300 < manifest.counts["num_tokens"] <= 400
    compared = [sum(row["neuron_tokens"] is not None for row in rows_of(run, name)) for name in fake_recipe().sae_names]
    assert 27 <= sum(compared) <= 30
    assert compared[1] > 2 * compared[0]


def test_none_are_compared_where_the_recipe_asks_for_none(run: RunPaths) -> None:
    manifest = neurons.run(asked(features=0), run)
    assert manifest.counts["why_none"] == "The recipe correlates none (neurons.features=0)."
    assert all(row["neuron_tokens"] is None for row in rows_of(run))
    assert examples_of(run) == []


def test_too_little_memory_is_refused(run: RunPaths) -> None:
    with pytest.raises(ConfigError, match="memory_gb"):
        neurons.run(asked(memory_gb=1e-4), run)
