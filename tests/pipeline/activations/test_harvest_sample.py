"""The harvest of the sample model, on real text."""

import numpy as np
import pytest
import torch

from data.artifacts.corpus import TokenizedCorpus
from data.layout import StorePaths
from pipeline.activations.residuals import load_language_model
from pipeline.activations.rows import as_tensor, harvested_rows
from pipeline.recipe import load_recipe
from pipeline.stages import fetch, harvest, tokenize

LIMITS = [
    "name=harvest-test",
    "corpus.max_document_characters=6000",
    "tokenize.max_tokens=2000",
    "tokenize.max_held_out_tokens=1",
    "harvest.num_shards=3",
]


@pytest.mark.sample
def test_rows_of_the_sample_lead_back_to_their_token(sample_store: StorePaths):
    """A thousand random rows, each recomputed in its own sequence alone by transformers' layers in bfloat16."""
    recipe = load_recipe("sample", LIMITS)
    paths = sample_store.run(recipe.name)
    fetch.run(recipe, paths)
    bos_id = tokenize.run(recipe, paths).counts["bos_id"]
    counts = harvest.run(recipe, paths).counts
    assert counts["padding_share"] < 0.05
    assert counts["num_left_out"] < counts["num_tokens"] / 100

    corpus, model = TokenizedCorpus(paths.stage("tokenize")), load_language_model(recipe, paths)
    parts = list(harvested_rows(paths).shuffled(seed=0))
    index_N = np.concatenate([rows.index_N for rows in parts])[:1000]
    x_ND = torch.cat([as_tensor(rows.values_ND) for rows in parts])[:1000].float()
    assert len(index_N) == 1000
    for sequence in np.unique(index_N["sequence"]):
        tokens_L = torch.from_numpy(corpus.sequence_tokens(sequence).astype(np.int64))
        alone_LD = model.model(
            torch.cat([torch.tensor([bos_id]), tokens_L])[None], output_hidden_states=True, use_cache=False
        ).hidden_states[recipe.model.layer + 1][0]
        chosen = np.flatnonzero(index_N["sequence"] == sequence)
        place = index_N["position"][chosen] - corpus.sequences["start"][sequence] + 1
        expected_ND = alone_LD[place].float()
        error_N = (x_ND[chosen] - expected_ND).norm(dim=1) / expected_ND.norm(dim=1)
        assert error_N.mean() < 0.03
        assert error_N.max() < 0.3  # a batch of another shape rounds otherwise in bfloat16
