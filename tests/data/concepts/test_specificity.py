"""Whether features are about concepts, against a naive reference and planted truth.

Shapes: P prompts, F features.
"""

import numpy as np
import pytest

from data.concepts import specificity
from data.concepts.specificity import (
    THRESHOLDS,
    Activations,
    Candidates,
    Fired,
    Prompts,
    Verdicts,
    choose,
    compare,
    decide,
    means_of,
    shared_by,
    worth_reading,
)

Judged = tuple[Candidates, Fired, Verdicts]
COUNTS = [4, 3, 4, 4, 2, 4]
PROMPTS = Prompts.of(COUNTS)


def sparse(value_PF: np.ndarray) -> Activations:
    prompt_K, feature_K = np.nonzero(value_PF)
    return Activations.sorted(prompt_K, feature_K, value_PF[prompt_K, feature_K].astype(np.float32))


def judge(value_PF: np.ndarray, prompts: Prompts = PROMPTS, kin: list[tuple[int, int]] | None = None) -> Judged:
    found = sparse(value_PF)
    candidates = choose(means_of(found, prompts))
    fired = compare(candidates, found, prompts, kin or [])
    nothing = np.zeros(len(candidates.concept_C), np.int64)
    return candidates, fired, decide(candidates, fired, prompts, (nothing, nothing))


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("at_once", [1, 40, specificity.PAIRS_AT_ONCE])
def test_figures_are_those_of_a_naive_reference(seed: int, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(specificity, "PAIRS_AT_ONCE", at_once)
    monkeypatch.setattr(specificity, "RIVALS_KEPT", 2)
    rng = np.random.default_rng(seed)
    value_PF = np.round(rng.random((sum(COUNTS), 12)) * (rng.random((sum(COUNTS), 12)) < 0.4), 3).astype(np.float32)
    kin = [(0, 2), (2, 0)]
    candidates, fired, verdicts = judge(value_PF, kin=kin)
    for concept in range(len(COUNTS)):
        own_P = PROMPTS.concept_P == concept
        mean_F = value_PF[own_P].sum(0, dtype=np.float64) / own_P.sum()
        best = [f for f in np.lexsort((np.arange(12), -mean_F)) if mean_F[f] > 0][: THRESHOLDS.candidates]
        mine = np.flatnonzero(candidates.concept_C == concept)
        assert candidates.feature_C[mine].tolist() == best
        assert candidates.rank_C[mine].tolist() == list(range(len(best)))
        expected = []
        for place, f in zip(mine.tolist(), best, strict=True):
            fires_P = value_PF[:, f] >= np.float32(0.5 * np.float32(mean_F[f]))
            other_P = ~own_P & ~np.isin(PROMPTS.concept_P, [other for one, other in kin if one == concept])
            own, others = int((fires_P & own_P).sum()), int((fires_P & other_P).sum())
            assert (fired.own_C[place], fired.others_C[place]) == (own, others)
            rivals = {c: value_PF[fires_P & other_P & (PROMPTS.concept_P == c), f].sum(dtype=np.float64)
                      for c in PROMPTS.concept_P[fires_P & other_P]}  # fmt: skip
            assert fired.rivals(place).tolist() == sorted(rivals, key=lambda c: (-rivals[c], c))[:2]
            assert fired.num_rivals_C[place] == len(rivals)
            recall, precision = own / own_P.sum(), own / (own + others)
            assert fired.precision_C[place] == precision
            assert verdicts.specific_C[place] == (recall >= 0.75 and precision >= 0.5)
            expected.append((not verdicts.specific_C[place], -min(recall, precision), f in best and best.index(f)))
        nearest = mine[min(range(len(best)), key=expected.__getitem__)] if best else -1
        assert verdicts.nearest_N[concept] == nearest


def planted(num_concepts: int, num_prompts: int, represented: set[int], seed: int) -> np.ndarray:
    """A feature of its own for each represented concept, and others that fire on many."""
    rng = np.random.default_rng(seed)
    concept_P = np.repeat(np.arange(num_concepts), num_prompts)
    own_PF = np.where(concept_P[:, None] == np.array(sorted(represented)), 1.0 + rng.random(len(concept_P))[:, None], 0)
    shared_PF = 3 * rng.random((len(concept_P), 8)) * (rng.random((len(concept_P), 8)) < 0.7)
    return np.concatenate([shared_PF, own_PF], 1)


def represented_by(verdicts: Verdicts, candidates: Candidates) -> set[int]:
    return set(candidates.concept_C[verdicts.specific_C].tolist())


@pytest.mark.parametrize("seed", range(5))
def test_planted_concepts_are_found_and_no_others(seed: int) -> None:
    truth = set(range(0, 60, 3))
    candidates, _, verdicts = judge(planted(60, 4, truth, seed), Prompts.of([4] * 60))
    assert represented_by(verdicts, candidates) <= truth
    # One may be missed where five shared features are stronger.
    assert len(represented_by(verdicts, candidates)) > 0.8 * len(truth)


def test_shuffled_concepts_are_not_represented() -> None:
    value_PF = planted(60, 4, set(range(60)), 0)
    right, shuffled = (
        represented_by(verdicts, candidates)
        for candidates, _, verdicts in (
            judge(value_PF, Prompts.of([4] * 60)),
            judge(np.random.default_rng(1).permutation(value_PF), Prompts.of([4] * 60)),
        )
    )
    assert len(right) > 50
    assert len(shuffled) < 3


def test_kin_are_no_evidence_against_each_other() -> None:
    value_PF = np.zeros((8, 1))
    value_PF[:8] = 1
    prompts = Prompts.of([2, 6])
    for kin, own in (([], False), ([(0, 1), (1, 0)], True)):
        candidates, _, verdicts = judge(value_PF, prompts, kin)
        assert (0 in represented_by(verdicts, candidates)) == own


def test_ordinary_text_decides_where_there_is_some() -> None:
    value_PF = np.eye(2).repeat(4, axis=0)
    found, prompts = sparse(value_PF), Prompts.of([4, 4])
    candidates = choose(means_of(found, prompts))
    fired = compare(candidates, found, prompts, [])
    for on, num, own in ((0, 0, True), (4, 12, True), (3, 10, False)):
        text = np.array([on, 1]), np.array([num, 1])
        assert decide(candidates, fired, prompts, text).specific_C.tolist() == [own, True]
    assert worth_reading(candidates, fired, prompts).all()


def test_nothing_active_is_nothing_found() -> None:
    candidates, fired, verdicts = judge(np.zeros((sum(COUNTS), 3)))
    assert len(candidates.concept_C) == len(fired.own_C) == 0
    assert verdicts.nearest_N.tolist() == [-1] * len(COUNTS)


@pytest.mark.parametrize("seed", range(5))
def test_the_shared_feature_is_that_of_a_naive_search(seed: int) -> None:
    rng = np.random.default_rng(seed)
    value_PF = rng.random((sum(COUNTS), 9)) * (rng.random((sum(COUNTS), 9)) < 0.5)
    list_N, means = np.array([0, 0, 1, 1, 1, 2]), means_of(sparse(value_PF), PROMPTS)
    mean_NF = np.stack([value_PF[PROMPTS.concept_P == n].mean(0) for n in range(len(COUNTS))])
    for number in range(3):
        inside_N = list_N == number
        fires_NF = (mean_NF >= 0.5 * mean_NF[inside_N].mean(0)) & (mean_NF > 0)
        hits_F, fired_F = fires_NF[inside_N].sum(0), fires_NF.sum(0)
        score_F = 2 * hits_F / (fired_F + inside_N.sum())
        found = shared_by(means, list_N, number)
        assert score_F[found.feature] == pytest.approx(score_F.max())
        assert (found.inside, found.outside) == (hits_F[found.feature], fired_F[found.feature] - hits_F[found.feature])
    assert shared_by(means, list_N, 3) is None


def test_a_feature_that_all_concepts_of_a_list_share_alone_is_found() -> None:
    value_PF = np.zeros((sum(COUNTS), 3))
    value_PF[np.isin(PROMPTS.concept_P, (2, 3, 4)), 1] = 1
    value_PF[:, 2] = 5
    means = means_of(sparse(value_PF), PROMPTS)
    assert shared_by(means, np.array([0, 0, 1, 1, 1, 2]), 1) == (1, 3, 0)
