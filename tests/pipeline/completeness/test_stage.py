"""Stage `completeness` on the fake run: planted features are found, and what is not planted is not."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from data.arrow import read_arrow
from data.artifacts.completeness import (
    ACTIVITY_FILE,
    CANDIDATES_FILE,
    CONCEPTS_FILE,
    CompletenessCounts,
)
from data.artifacts.corpus import TokenizedCorpus
from data.layout import RunPaths, StorePaths
from pipeline.completeness.lists import AllConcepts, load_lists
from pipeline.models.language_model import LanguageModel
from pipeline.models.sae import SAE
from pipeline.models.tokenizer import Tokenizer
from pipeline.recipe import Recipe
from pipeline.stages import completeness
from tests.support.fake_run import THINGS, fake_recipe

SAE_NAME = "1-relu-64"
PLANTED = {0: 20, 3: 21, 4: 22}
"""Features of their own, by number of the concept."""
STRONG = 1e4
"""Far beyond any activation in the corpus, so that no ordinary text speaks against a planted feature."""


@pytest.fixture
def run(published_store: StorePaths, tmp_path: Path) -> RunPaths:
    """A copy of the fake run before concepts were looked for."""
    shutil.copytree(published_store.root, tmp_path / "store")
    paths = StorePaths(tmp_path / "store").run("fake")
    shutil.rmtree(paths.stage("completeness"))
    return paths


def last_rows(paths: RunPaths, prompts: list[str]) -> torch.Tensor:
    """The residual stream on the last token of each prompt, one at a time."""
    model = LanguageModel.load(paths.store.models / "tiny", layer=1, dtype="float32", fused=False)
    tokenizer = Tokenizer.load(paths.store.models / "tiny")
    return torch.cat([model.residuals(torch.tensor([tokenizer.open(text)[0]]))[0, -1:] for text in prompts])


def all_concepts() -> AllConcepts:
    return AllConcepts.of([one.content for one in load_lists([str(THINGS)])])


def plant(paths: RunPaths, concepts: dict[int, int]) -> None:
    """Give features the directions that tell each concept's last tokens from all others."""
    all_ = all_concepts()
    x_PD, concept_P = last_rows(paths, all_.prompts), np.repeat(range(len(all_.concepts)), all_.num_prompts)
    folder = paths.stage("train") / SAE_NAME
    sae = SAE.load(folder)
    centred_PD = x_PD - x_PD.mean(0)
    for concept, feature in concepts.items():
        own_P = torch.from_numpy(concept_P == concept)
        ridge = centred_PD.T @ centred_PD + 0.05 * torch.eye(x_PD.shape[1])
        w_D = torch.linalg.solve(ridge, centred_PD.T @ own_P.float())
        score_P = x_PD @ w_D
        assert score_P[own_P].min() > score_P[~own_P].max(), "the tiny model tells them apart"
        middle = (score_P[own_P].min() + score_P[~own_P].max()) / 2
        scale = STRONG / (score_P[own_P].mean() - middle)
        sae.W_enc_FD[feature], sae.b_enc_F[feature] = scale * w_D, -scale * middle
    sae.save(folder)


def rows_of(paths: RunPaths, file: str = CANDIDATES_FILE) -> list[dict[str, Any]]:
    return read_arrow(paths.stage("completeness") / SAE_NAME / file).to_pylist()


def test_planted_concepts_are_represented_by_their_features_and_no_others_are(run: RunPaths) -> None:
    before = fake_recipe()
    counts = CompletenessCounts.from_json(completeness.run(before, run).counts)
    others = {row["concept"] for row in rows_of(run) if row["specific"]}
    plant(run, PLANTED)
    shutil.rmtree(run.stage("completeness"))
    found = CompletenessCounts.from_json(completeness.run(before, run).counts)
    own = {row["concept"]: row for row in rows_of(run) if row["specific"] and row["nearest"]}
    assert set(own) >= set(PLANTED)
    assert set(own) - set(PLANTED) <= others
    for concept, feature in PLANTED.items():
        row = own[concept]
        assert (row["index"], row["rank"], row["own"], row["others"]) == (feature, 0, 4, 0)
        assert (row["num_examples_read"], row["num_on_concept"], row["rivals"]) == (0, 0, [])
    mine = found.saes[SAE_NAME]
    assert mine.num_represented == len(own) == mine.by_list[0]
    assert counts.num_concepts == found.num_concepts == 6
    assert (found.num_prompts, mine.fit is None) == (24, bool(mine.why_no_fit))
    assert sum(one.num for one in mine.bins) == 6


def test_a_planted_concept_that_is_also_an_ordinary_word_is_measured_and_not_counted(
    run: RunPaths, tmp_path: Path
) -> None:
    plant(run, PLANTED)
    counts = CompletenessCounts.from_json(completeness.run(fake_recipe(), run).counts)
    marked = tmp_path / "things.txt"
    marked.write_text(THINGS.read_text().replace("music\n", "music ~\n"))
    shutil.rmtree(run.stage("completeness"))
    recipe = fake_recipe(completeness={"lists": [str(marked)]})
    found = CompletenessCounts.from_json(completeness.run(recipe, run).counts)
    assert [row["index"] for row in rows_of(run) if row["specific"] and row["nearest"] and row["concept"] == 3] == [21]
    before, mine = counts.saes[SAE_NAME], found.saes[SAE_NAME]
    assert mine.num_represented == mine.by_list[0] == before.num_represented - 1
    assert (found.num_counted, found.lists[0].ambiguous) == (5, ["music"])
    assert sum(one.num for one in mine.bins) == 5
    assert mine.shared == before.shared


def test_features_planted_for_shuffled_concepts_represent_none_of_them(run: RunPaths) -> None:
    """Each feature fires on one prompt of every concept."""
    all_ = all_concepts()
    x_PD = last_rows(run, all_.prompts)
    sae = SAE.load(run.stage("train") / SAE_NAME)
    centred_PD = x_PD - x_PD.mean(0)
    sae.W_enc_FD.zero_(), sae.b_enc_F.fill_(-1.0)
    for template in range(4):
        own_P = torch.arange(len(x_PD)) % 4 == template
        w_D = torch.linalg.solve(
            centred_PD.T @ centred_PD + 1e-3 * torch.eye(x_PD.shape[1]), centred_PD.T @ own_P.float()
        )
        middle = (x_PD @ w_D).quantile(0.75)
        sae.W_enc_FD[template], sae.b_enc_F[template] = STRONG * w_D, -STRONG * middle
    sae.save(run.stage("train") / SAE_NAME)
    counts = CompletenessCounts.from_json(completeness.run(fake_recipe(), run).counts)
    assert counts.saes[SAE_NAME].num_represented == 0


def test_activity_is_that_of_each_prompt_read_alone(run: RunPaths) -> None:
    completeness.run(fake_recipe(), run)
    acts_PF = SAE.load(run.stage("train") / SAE_NAME).encode(last_rows(run, all_concepts().prompts)).numpy()
    rows = rows_of(run, ACTIVITY_FILE)
    assert len(rows) == 64
    for row, acts_P in zip(rows, acts_PF.T, strict=True):
        sure = np.flatnonzero(acts_P > 1e-3)
        assert set(sure.tolist()) <= set(row["prompts"])
        np.testing.assert_allclose(row["values"], acts_P[row["prompts"]], rtol=1e-3, atol=1e-3)
        assert row["prompts"] == sorted(row["prompts"])


def test_concepts_are_counted_in_the_training_documents(run: RunPaths) -> None:
    completeness.run(fake_recipe(), run)
    table = read_arrow(run.stage("completeness") / CONCEPTS_FILE).to_pylist()
    corpus, tokenizer = TokenizedCorpus(run.stage("tokenize")), Tokenizer.load(run.store.models / "tiny")
    music = tokenizer.encode(" music")[0]
    assert len(tokenizer.encode(" music")) == 1
    upper = sum(
        int((corpus.document_tokens(document) == music).sum()) for document in np.flatnonzero(~corpus.held_out).tolist()
    )
    found = next(row for row in table if row["name"] == "music")
    assert 0 < found["occurrences"] <= upper
    assert [row["name"] for row in table][:2] == ["river", "university"]
    assert table[2]["other_spellings"] == ["oxfords"]


def test_a_recipe_without_lists_measures_nothing_and_says_so(run: RunPaths) -> None:
    counts = CompletenessCounts.from_json(completeness.run(fake_recipe(completeness={"lists": []}), run).counts)
    assert "completeness.lists=[]" in counts.why_none
    assert (counts.num_concepts, counts.saes) == (0, {})
    assert [row["prompts"] for row in rows_of(run, ACTIVITY_FILE)] == [[]] * 64
    assert rows_of(run) == []


def test_another_list_or_another_content_is_measured_anew(run: RunPaths, tmp_path: Path) -> None:
    def key(recipe: Recipe) -> str:
        return completeness.run(recipe, run).key

    path = tmp_path / "own.txt"
    path.write_text("river\nmusic")
    recipe = fake_recipe(completeness={"lists": [str(path)]})
    first = key(recipe)
    assert first == key(recipe) != key(fake_recipe())
    path.write_text("river\nengine")
    assert key(recipe) != first
