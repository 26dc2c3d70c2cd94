"""The order of a search, on planted features, against sums worked out by hand."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from backend.published.relevance import BESIDE, EVIDENCE, FOUND, LABEL, MEANING, MEANT, SAME, label_fit, rank

PLAIN: dict[str, Any] = {"label": "", "label_score": None, "peak_words": [], "beside_words": [], "prior": 1.0}


def run_of(*features: dict[str, Any]) -> Any:
    """A run whose feature at row n is the n-th."""
    records = [{**PLAIN, **feature} for feature in features]

    def take(table: str, rows: list[int], columns: list[str]) -> pa.Table:
        return pa.Table.from_pylist([{name: records[row][name] for name in columns} for row in rows])

    return SimpleNamespace(tables=SimpleNamespace(take=take))


def rows_of(*features: dict[str, Any], words: tuple[str, ...] = ("storm",)) -> list[int]:
    """Rows in their order, of features that all have the words."""
    return [one.row for one in rank(run_of(*features), words, range(len(features)), {})]


def test_words_at_the_peak_rank_above_words_beside_it_and_those_above_words_around_it() -> None:
    around = {"peak_words": ["rain", "rain"], "beside_words": ["the of", "the of"]}
    beside = {"peak_words": ["rain", "rain"], "beside_words": ["the storm", "storm of"]}
    half = {"peak_words": ["storm", "rain"], "beside_words": ["the of", "the of"]}
    whole = {"peak_words": ["storm", "storm"], "beside_words": ["the of", "the of"]}
    assert rows_of(around, beside, half, whole) == [3, 2, 1, 0]


def test_a_rare_and_weak_feature_ranks_below_a_live_one_that_fits_less() -> None:
    weak = {"label": "storm", "peak_words": ["storm"], "beside_words": [" "], "prior": 0.01}
    strong = {"label": "rain, storm, gale", "peak_words": ["rain", "storm"], "beside_words": [" ", " "], "prior": 0.8}
    assert rows_of(weak, strong) == [1, 0]


def test_the_typed_part_of_a_word_counts_and_long_words_count_more() -> None:
    assert rows_of(
        {"peak_words": ["stormier"], "beside_words": [" "]}, {"peak_words": ["storms"], "beside_words": [" "]}
    ) == [1, 0]
    of, year = ({"peak_words": [word], "beside_words": [" "]} for word in ("of", "year"))
    assert rows_of(of, year, words=("of", "year")) == [1, 0]


def test_the_score_is_the_sum_that_is_written() -> None:
    feature = {
        "label": "storm, rain",
        "label_score": 0.8,
        "peak_words": ["storms", "rain"],
        "beside_words": ["a storm", "no one"],
        "prior": 0.5,
    }
    cosine = MEANT + (SAME - MEANT) / 4
    (found,) = rank(run_of(feature), ("storm",), [0], {0: cosine})
    expected = LABEL * 0.8 * 3 / 4 + EVIDENCE * (5 / 6) / 2 + BESIDE / 2 + MEANING / 4 + FOUND
    assert found == (0, pytest.approx(0.5 * expected), cosine)


def test_a_label_that_holds_ranks_above_one_that_does_not() -> None:
    doubtful = {"label": "storm", "label_score": 0.4, "peak_words": ["storm"], "beside_words": [" "]}
    assert rows_of(doubtful, {**doubtful, "label_score": 0.9}, {**doubtful, "label_score": None}) == [2, 1, 0]


def test_several_words_are_a_description_whose_meaning_counts_more() -> None:
    worded, meant = ({"peak_words": [word], "beside_words": [" "]} for word in ("weather", "storm"))
    run, cosines = run_of(worded, meant), {1: SAME}
    assert [one.row for one in rank(run, ["weather"], [0], cosines)] == [0, 1]
    assert [one.row for one in rank(run, ["bad", "weather"], [0], cosines)] == [1, 0]


def test_what_means_the_same_is_found_without_the_words_and_ties_come_by_row() -> None:
    plain = {"peak_words": ["rain"], "beside_words": ["the of"]}
    ranked = rank(run_of(plain, plain, plain, plain), ("storm",), [2, 0], {1: 0.5, 3: SAME + 0.1})
    assert [(one.row, one.cosine) for one in ranked] == [(3, SAME + 0.1), (1, 0.5), (0, None), (2, None)]
    assert rank(run_of(), ("storm",), [], {}) == []


@pytest.mark.parametrize(
    ("label", "words", "fit"),
    [("storm", ("storm",), 1), ("Storm, rain", ("storm",), 3 / 4), ("storms", ("storm",), 5 / 6),
     ("rain", ("storm",), 0), ("", ("storm",), 0),
     ("bad storm", ("storm", "bad"), 1)],
)  # fmt: skip
def test_a_label_fits_by_its_best_word_and_by_how_much_of_it_that_is(
    label: str, words: tuple[str, ...], fit: float
) -> None:
    weight_W = np.array([len(word) ** 2 for word in words], float)
    assert label_fit(label, words, weight_W / weight_W.sum()) == pytest.approx(fit)
