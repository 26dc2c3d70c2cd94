"""The funnel: a planted feature comes through it, and random ones do not."""

from dataclasses import replace

import pytest

from pipeline.influence import measuring, responses
from pipeline.influence.candidates import Candidate
from pipeline.influence.closeness import MIN_WORDS, Closeness
from pipeline.influence.measuring import Funnel, Measured
from pipeline.influence.writing import Writer
from pipeline.recipe.influence import RespondConfig
from tests.pipeline.influence.test_writing import CHAT, OTHERS, PLAIN, PLANTED, TOKENIZER, candidate, writer

CONFIG = RespondConfig(
    candidates=9, tried=4, tried_strengths=(1.0,), tried_tokens=8, written=2, strengths=(1.0, 2.0), new_tokens=12
)
__all__ = ["writer"]


class Marks(Closeness):
    """Counts marks, of which the tiny model's texts are made."""

    def by_word(self, text: str, evidence: object) -> dict[str, float]:
        return {"#": MIN_WORDS * min(text.count("#"), 3) / 10}


@pytest.fixture(autouse=True)
def lenient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rule asks for words and sense, which a random model does not have."""
    for name, value in {"MIN_WORDS": 0, "MAX_RUN": 99, "MIN_DISTINCT": 0.0, "MAX_RATIO": 1e9}.items():
        monkeypatch.setattr(responses, name, value)
    for name in ("fresh", "surprise"):
        monkeypatch.setattr(responses.Response, name, 1.0)


@pytest.fixture
def funnel(writer: Writer) -> Funnel:
    closeness = Marks(writer._model.unembedding()[1], TOKENIZER)
    return Funnel(writer, closeness, [CHAT, PLAIN], CONFIG)


def candidates() -> list[Candidate]:
    """The planted one about marks, the others each about something else."""
    others = [replace(candidate(i), evidence=replace(candidate(i).evidence, words=(f"word {i}",))) for i in OTHERS]
    return [*others, candidate(PLANTED)]


def test_the_planted_feature_alone_responds(funnel: Funnel) -> None:
    measured = funnel.measure(candidates())
    assert len(measured.probed) == len(candidates())
    assert len(measured.written) == (2 + 1) * len(CONFIG.strengths)
    assert {one.candidate.index for one in measured.written if one.responds} == {PLANTED}
    assert [one.index for one in (*measured.chats, *measured.openings)] == [PLANTED, PLANTED]


def test_what_is_shown_has_every_strength_and_its_best(funnel: Funnel) -> None:
    measured = funnel.measure(candidates())
    [chat], [plain] = measured.chats, measured.openings
    assert (chat.opening, chat.chat) == (CHAT.text, True)
    assert (plain.opening, plain.chat) == (PLAIN.text, False)
    assert [text.strength for text in chat.texts] == [1.0, 2.0]
    assert chat.best.responds
    assert chat.best.moved == max(text.moved for text in chat.texts)
    assert chat.baseline.perplexity >= 1


def test_no_two_are_about_the_same() -> None:
    twins = [candidate(PLANTED), replace(candidate(PLANTED), sae="1-relu-24", index=PLANTED)]
    assert measuring._all_different(twins) == twins[:1]
    other = replace(twins[0], evidence=replace(twins[0].evidence, words=("king", "mark"), weights=(1.0, 1.0)))
    assert measuring._all_different([twins[0], other]) == twins[:1]


def test_the_json_counts_features(funnel: Funnel) -> None:
    found = funnel.measure(candidates()).as_json(None)
    shown = found["shown"]
    assert (shown["probed"], shown["written"], shown["responded"]) == (9, CONFIG.tried, 1)
    [best] = found["best_strengths"]["1-relu-24"].items()
    assert best[0] == str(PLANTED)
    assert best[1] in CONFIG.strengths
    assert len(found["measured"]) == CONFIG.tried + (2 + 1) * len(CONFIG.strengths)
    assert shown["rule"]


def test_nothing_measured_says_why() -> None:
    shown = Measured().as_json("It rained.")["shown"]
    assert (shown["why_none"], shown["rule"], shown["chats"]) == ("It rained.", "", ())
