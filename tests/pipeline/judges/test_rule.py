"""The rule as a judge: what it says is what the words of the text say."""

from pathlib import Path

import pytest

from data.artifacts.corpus import TokenizedCorpus
from pipeline.judges import rule as rule_module
from pipeline.judges.protocol import Answer, Place, Question, Task
from pipeline.judges.rule import RuleJudge
from pipeline.judges.tasks import DETECTION, FUZZING, SPECIFICITY
from pipeline.labels.rule import Condition, Rule
from pipeline.labels.words import Words
from tests.support.fakes import make_corpus

PIECES = [b" the", b" river", b" May", b" Th", b"ames", b"."]
THE, RIVER, MAY, TH, AMES, STOP = range(6)
DOCUMENTS = [[THE, RIVER, TH, AMES, STOP], [MAY, THE, RIVER, RIVER, STOP, MAY], [STOP, MAY]]


@pytest.fixture
def corpus(tmp_path: Path) -> TokenizedCorpus:
    return make_corpus(tmp_path, DOCUMENTS, 5, [])


def ask(corpus: TokenizedCorpus, questions: list[Question]) -> list[Answer]:
    found: dict[int, Answer] = {}
    RuleJudge(corpus, Words(PIECES)).ask(questions, lambda at, answers: found.update(zip(at, answers, strict=True)))
    return [found[place] for place in range(len(questions))]


def about(word: str, at: str = "here") -> str:
    return Rule((Condition(at, "word", (word,)),)).to_json()  # type: ignore[arg-type]


def every_place(corpus: TokenizedCorpus) -> list[tuple[Place, int]]:
    found = []
    for number, (document, start, length) in enumerate(corpus.sequences.tolist()):
        found += [(Place(number, at), DOCUMENTS[document][at]) for at in range(start, start + length)]
    return found


@pytest.mark.parametrize("limit", [2_000_000, 4])
def test_it_holds_exactly_where_the_word_is(
    corpus: TokenizedCorpus, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rule_module, "TEXT_TOKENS", limit)
    places = every_place(corpus)
    for word, tokens in (("river", {RIVER}), ("may", {MAY}), ("thames", {TH, AMES})):
        answers = ask(corpus, [Question(SPECIFICITY, word, "", about(word), (place,)) for place, _ in places])
        assert [answer.value for answer in answers] == [3.0 * (token in tokens) for _, token in places]


@pytest.mark.parametrize(("task", "value"), [(DETECTION, 1.0), (FUZZING, 0.0)])
def test_a_text_needs_one_token_and_marks_need_all(corpus: TokenizedCorpus, task: Task, value: float) -> None:
    places = (Place(0, 0), Place(0, 1))
    assert ask(corpus, [Question(task, "river", "", about("river"), places)]) == [Answer(value)]
    assert ask(corpus, [Question(task, "may", "", about("may"), places)]) == [Answer(0.0)]


def test_a_label_without_a_rule_has_no_answer(corpus: TokenizedCorpus) -> None:
    assert ask(corpus, [Question(SPECIFICITY, "river", "the<< river>>", "", (Place(0, 1),))]) == [Answer(None)]
