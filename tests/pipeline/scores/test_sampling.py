"""Samples over the range of activations: uniform in every band, right windows, and windows without a feature."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import chi2
from torch import Tensor

from data.artifacts.corpus import TokenizedCorpus
from pipeline.arrays import Ints, pack_tokens, unpack_tokens
from pipeline.examples.bands import bands_of
from pipeline.models.sae import SAE, SAEHeader
from pipeline.scores import sampling
from pipeline.scores.sampling import BandSampler, FeatureRows, Samples, draw_windows
from tests.support.fakes import make_corpus

WIDTH, FEATURES, BANDS, CONTEXT = 6, 5, 4, 3
CHOSEN = np.array([1, 3, 4])


@pytest.fixture
def corpus(tmp_path: Path) -> TokenizedCorpus:
    rng = np.random.default_rng(3)
    return make_corpus(tmp_path, [rng.integers(50, size=n).tolist() for n in (40, 7, 1, 90, 33)], 17, [1])


class World:
    """The residual stream of the training sequences, and dense activations."""

    def __init__(self, corpus: TokenizedCorpus, nonlinearity: str = "relu") -> None:
        self.corpus = corpus
        self.sae = make_sae(nonlinearity)
        generator = torch.Generator().manual_seed(1)
        numbers = np.random.default_rng(0).permutation(corpus.sequence_numbers(held_out=False))
        self.sequences = [(int(n), *corpus.sequences[n].tolist()[1:]) for n in numbers]
        self.x = {n: torch.randn(length, WIDTH, generator=generator) for n, _, length in self.sequences}
        self.acts = {n: self.sae.encode(x).numpy() for n, x in self.x.items()}
        self.max_F = np.max([a.max(0) for a in self.acts.values()], 0)

    def blocks(self, size: int) -> list[tuple[Tensor, Ints]]:
        found = []
        for start in range(0, len(self.sequences), size):
            some = self.sequences[start : start + size]
            token = [pack_tokens(np.full(length, n), np.arange(s, s + length)) for n, s, length in some]
            found.append((torch.cat([self.x[n] for n, _, _ in some]), np.concatenate(token)))
        return found

    def sample(self, per_band: int, seed: int = 0, size: int = 3) -> tuple[Samples, BandSampler]:
        absent = draw_windows(self.corpus, 30, CONTEXT, seed)
        sampler = BandSampler(
            self.sae, CHOSEN, self.max_F[CHOSEN], bands=BANDS, per_band=per_band, context=CONTEXT, absent=absent,
            seed=seed,
        )  # fmt: skip
        for x_ND, token_N in self.blocks(size):
            sampler.add(x_ND, token_N)
        return sampler.finish(self.corpus), sampler

    def active(self) -> dict[tuple[int, int], list[tuple[int, int, float]]]:
        """Sequence, position and activation of all active tokens, by place among CHOSEN and band."""
        found: dict[tuple[int, int], list[tuple[int, int, float]]] = {}
        for n, start, length in self.sequences:
            for row in range(length):
                for place, feature in enumerate(CHOSEN.tolist()):
                    value = self.acts[n][row, feature]
                    if value > 0:
                        band = int(bands_of(np.array([value]), self.max_F[[feature]], BANDS)[0])
                        found.setdefault((place, band), []).append((n, start + row, float(value)))
        return found


def make_sae(nonlinearity: str) -> SAE:
    generator = torch.Generator().manual_seed(0)
    W_FD = torch.nn.functional.normalize(torch.randn(FEATURES, WIDTH, generator=generator))
    k = 2 if nonlinearity == "topk" else None
    header = SAEHeader("made", "topk" if k else "relu", nonlinearity, FEATURES, WIDTH, "tiny", 0, k=k)
    return SAE(header, W_FD.clone(), torch.full((FEATURES,), -0.6), W_FD, torch.zeros(WIDTH), torch.zeros(FEATURES))


@pytest.mark.parametrize("nonlinearity", ["relu", "topk"])
def test_all_activations_of_a_band_are_taken_where_there_are_few(corpus: TokenizedCorpus, nonlinearity: str) -> None:
    world = World(corpus, nonlinearity)
    samples, _ = world.sample(per_band=1000)
    found: dict[tuple[int, int], list[tuple[int, int, float]]] = {}
    sequence, position = unpack_tokens(samples.windows.token_P)
    for m in range(len(samples.value_M)):
        key = int(samples.feature_M[m]), int(samples.band_M[m])
        found.setdefault(key, []).append((int(sequence[m]), int(position[m]), float(samples.value_M[m])))
    expected = world.active()
    assert found.keys() == expected.keys()
    for key, tokens in expected.items():
        assert sorted((n, p) for n, p, _ in found[key]) == sorted((n, p) for n, p, _ in tokens)
        np.testing.assert_allclose([v for *_, v in sorted(found[key])], [v for *_, v in sorted(tokens)], rtol=1e-5)


def test_windows_hold_every_activation_around_a_sample(corpus: TokenizedCorpus) -> None:
    world = World(corpus)
    samples, _ = world.sample(per_band=4)
    starts = {n: start for n, start, _ in world.sequences}
    sequence, position = unpack_tokens(samples.windows.token_P)
    for m in range(len(samples.value_M)):
        n, start, stop = int(sequence[m]), int(samples.windows.start_P[m]), int(samples.windows.stop_P[m])
        acts = world.acts[n][start - starts[n] : stop - starts[n], CHOSEN[samples.feature_M[m]]]
        assert start == max(starts[n], position[m] - CONTEXT)
        assert len(acts) == stop - start
        offsets, values = samples.active(m)
        dense = np.zeros(stop - start)
        dense[offsets] = values
        np.testing.assert_allclose(dense, acts, rtol=1e-5, atol=1e-6)


def test_the_sample_does_not_depend_on_blocks_or_on_when_it_is_compacted(
    corpus: TokenizedCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(corpus)
    one, _ = world.sample(per_band=3, size=1)
    monkeypatch.setattr(sampling, "COMPACT_FROM", 0)
    for size in (1, 2, 50):
        other, _ = world.sample(per_band=3, size=size)
        np.testing.assert_array_equal(one.windows.token_P, other.windows.token_P)
        np.testing.assert_array_equal(one.feature_M, other.feature_M)


def test_every_activation_of_a_band_is_as_likely_and_pairs_are_too(corpus: TokenizedCorpus) -> None:
    """Over 400 seeds: counts of single tokens and of pairs in a sample of two, against a uniform law."""
    world = World(corpus)
    key, tokens = max(world.active().items(), key=lambda item: len(item[1]))
    singles: Counter[int] = Counter()
    pairs: Counter[tuple[int, ...]] = Counter()
    seeds = 400
    for seed in range(seeds):
        samples, _ = world.sample(per_band=2, seed=seed, size=50)
        mine = (samples.feature_M == key[0]) & (samples.band_M == key[1])
        drawn = samples.windows.token_P[mine].tolist()
        assert len(set(drawn)) == 2
        singles.update(drawn)
        pairs[tuple(sorted(drawn))] += 1
    n = len(tokens)
    assert len(singles) == n
    expected = 2 * seeds / n
    statistic = sum((count - expected) ** 2 / (expected * (1 - 2 / n)) for count in singles.values()) * (n - 1) / n
    assert statistic < chi2.ppf(0.999, n - 1)
    possible = n * (n - 1) / 2
    distinct = possible * (1 - (1 - 1 / possible) ** seeds)
    assert len(pairs) == pytest.approx(distinct, rel=0.1)


def test_windows_without_a_feature_are_those_where_it_is_nowhere_active(corpus: TokenizedCorpus) -> None:
    world = World(corpus)
    _, sampler = world.sample(per_band=3)
    absent = draw_windows(corpus, 30, CONTEXT, 0)
    starts = {n: start for n, start, _ in world.sequences}
    sequence, _ = unpack_tokens(absent.token_P)
    assert sampler.seen_P.all()
    assert len(absent.token_P) > 20
    for p in range(len(absent.token_P)):
        n = int(sequence[p])
        acts = world.acts[n][int(absent.start_P[p]) - starts[n] : int(absent.stop_P[p]) - starts[n]]
        np.testing.assert_array_equal(sampler.active_PC[p], (acts[:, CHOSEN] > 0).any(0))


@pytest.mark.parametrize("order", [[2, 0, 5, 1], [], [3]])
def test_the_samples_of_a_feature_are_found_in_whatever_order_features_are(order: list[int]) -> None:
    feature_M = np.repeat(np.array(order, np.int64), [3 + place for place in range(len(order))])
    rows = FeatureRows(feature_M)
    for feature in range(7):
        mine = rows.of(feature)
        assert np.arange(mine.start, mine.stop).tolist() == np.flatnonzero(feature_M == feature).tolist()
