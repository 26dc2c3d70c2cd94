"""The rule, on texts made by hand."""

import math
from dataclasses import replace
from typing import Any

import pytest

from pipeline.influence.candidates import Candidate
from pipeline.influence.evidence import Evidence
from pipeline.influence.responses import FIRST_LOSS, MAX_RATIO, MIN_MOVED, SURPRISE, Baseline, Response, best_of
from pipeline.influence.writing import Opening, Reading, Text, distinct_share, longest_run

CHAT = Opening("Who are you?", True)
KING = Candidate("1-relu-24", 3, "King", "king", 2.0, 1.0, Evidence(("king", "crown"), (5.0, 4.0)))
KNOWN = frozenset({"your", "helpful", "assistant"})
BASELINE = Baseline(Text((1, 2, 3), "I am your helpful assistant", "length"), Reading(2.0, 0.1, {}), KNOWN)
SAID = "I am the king of this island"


def response(**changes: Any) -> Response:
    """One that just responds."""
    text = Text(changes.pop("tokens", tuple(range(7))), changes.pop("text", SAID), changes.pop("ending", "length"))
    perplexity, first_loss = changes.pop("perplexity", 2.0 * MAX_RATIO), changes.pop("first_loss", 0.0)
    word_losses = changes.pop("word_losses", {"king": 900.0})
    reading = None if perplexity is None else Reading(perplexity, first_loss, word_losses)
    values = {
        "moved": MIN_MOVED,
        "closeness": {"king": 1.0, "island": 0.0},
        "reading": reading,
        "strength": 1.0,
        **changes,
    }
    return Response(CHAT, KING, text=text, baseline=BASELINE, **values)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, True),
        ({"moved": MIN_MOVED - 0.01}, False),
        ({"perplexity": 2.0 * MAX_RATIO + 0.1}, False),
        ({"perplexity": None}, False),
        ({"tokens": (1, 2, 3, 3, 3, 4)}, False),
        ({"tokens": (1, 2) * 6}, False),
        ({"text": "king king king crown"}, False),
        ({"ending": "stop"}, True),
        ({"ending": "broken"}, False),
    ],
)
def test_the_rule(changes: dict[str, Any], expected: bool) -> None:
    assert response(**changes).responds is expected


def test_a_text_is_better_the_further_it_moves_the_newer_its_words_and_the_more_probable_it_is() -> None:
    one = response(moved=0.25, perplexity=4.0)
    assert one.fresh == 1.0
    assert one.score == pytest.approx(0.25 / (1 + math.log(2) / math.log(MAX_RATIO)))
    assert response(moved=0.3, perplexity=4.0).score > one.score
    assert response(moved=0.25, perplexity=1.0).score == pytest.approx(0.25)
    assert response(moved=0.25, perplexity=1.0, first_loss=FIRST_LOSS).score == pytest.approx(0.125)
    assert response(moved=0.25, perplexity=4.0, tokens=(1, 2, 3, 1, 2)).score == pytest.approx(one.score * 3 / 4)
    stale = response(moved=0.25, perplexity=4.0, text="I am your helpful king and assistant today")
    assert stale.fresh == pytest.approx(3 / 6)
    assert stale.score == pytest.approx(one.score / 4)
    assert response(moved=0.25, perplexity=90.0).score == 0.0


def test_what_is_close_counts_by_how_unlikely_the_model_by_itself_was_to_say_it() -> None:
    losses = {"king": 3.0, "island": 50.0, "crown": 4.0}
    one = response(moved=0.25, perplexity=1.0, word_losses=losses, closeness={"king": 1.0, "island": 0.0, "crown": 0.5})
    assert one.surprise == pytest.approx(1 - math.exp(-(3 + 0.5 * 4) / SURPRISE))
    assert one.score == pytest.approx(0.25 * one.surprise)
    assert response(word_losses={"king": 0.0}).surprise == 0
    assert response(perplexity=None).surprise == 0


def test_a_label_names_what_a_feature_is_about() -> None:
    assert KING.is_named
    assert replace(KING, label="a Crown of gold").is_named
    assert not replace(KING, label="→ if, form, when").is_named


def test_the_best_responds() -> None:
    texts = [response(moved=0.9, perplexity=90.0), response(moved=0.2), response(moved=0.3, strength=2.0)]
    best = best_of(texts)
    assert best is texts[2]
    assert best.as_text().strength == 2.0
    assert best_of(texts[:1]) is None


def test_runs() -> None:
    assert longest_run([1, 2, 2, 2, 1, 2]) == 3
    assert longest_run([]) == 0


def test_distinct_pairs() -> None:
    assert distinct_share([1, 2, 3]) == 1
    assert distinct_share([7, 7, 7, 7, 7]) == 1 / 4
    assert distinct_share([7]) == distinct_share([]) == 1
