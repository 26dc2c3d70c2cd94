import numpy as np
import pytest
import torch

from pipeline.activations.batches import MAX_PADDING, pad, plan_batches, rows_of
from pipeline.models.left_out import own_of_batch


def padding_share(lengths_S, batches) -> float:
    positions = sum((lengths_S[batch].max() + 1) * len(batch) for batch in batches)
    return 1 - (lengths_S + 1).sum() / positions


def wikitext_like(rng: np.random.Generator) -> np.ndarray:
    """Articles of lognormal length, cut into sequences of at most 511 tokens, as tokenize cuts them."""
    articles = np.exp(rng.normal(7.9, 0.7, 600)).astype(int)
    return np.array([min(511, article - start) for article in articles for start in range(0, article, 511)])


@pytest.mark.parametrize("seed", range(3))
def test_padding_stays_small_on_a_real_mixture(seed):
    lengths_S = wikitext_like(np.random.default_rng(seed))
    batches = plan_batches(lengths_S, 2048)
    assert padding_share(lengths_S, batches) < 0.01
    assert len(batches) < 1.1 * (lengths_S + 1).sum() / 2048


@pytest.mark.parametrize("batch_tokens", [1, 50, 2048])
def test_every_sequence_comes_once_within_the_budget(batch_tokens):
    lengths_S = np.random.default_rng(1).integers(1, 300, 500)
    batches = plan_batches(lengths_S, batch_tokens)
    assert sorted(np.concatenate(batches)) == list(range(500))
    for batch in batches:
        positions = (lengths_S[batch].max() + 1) * len(batch)
        assert positions <= batch_tokens or len(batch) == 1
        assert padding_share(lengths_S[batch], [np.arange(len(batch))]) <= MAX_PADDING + 1e-9


def test_batches_are_the_same_every_time_and_do_not_follow_length():
    lengths_S = np.random.default_rng(2).integers(1, 300, 2000)
    first, second = plan_batches(lengths_S, 512), plan_batches(lengths_S, 512)
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    longest = np.array([lengths_S[batch].max() for batch in first])
    assert abs(np.corrcoef(longest, np.arange(len(longest)))[0, 1]) < 0.1


def test_no_sequences_no_batches():
    assert plan_batches(np.empty(0, np.int64), 512) == []


def test_padding_is_the_opening_token_of_each_sequence():
    assert pad([np.array([1, 5, 6]), [2, 7]]).tolist() == [[1, 5, 6], [2, 7, 2]]


def test_rows_leave_out_bos_and_padding():
    x_BLD = torch.arange(2 * 4 * 1).reshape(2, 4, 1)
    assert rows_of(x_BLD, own_of_batch(np.array([3, 1]), 4)).flatten().tolist() == [1, 2, 3, 5]
