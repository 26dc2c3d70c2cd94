"""Prompts that the model writes for a topic."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from backend.engine.engine import Engine
from backend.engine.messages import Draw, Prompt
from backend.search.topics import filter_answers, mentions, missing_prompts, other_subjects, sentence_of
from tests.support.prompt_search import POSITIVE


def test_a_batch_of_prompts_is_continued_as_each_is_alone(live: TestClient) -> None:
    run = live.app.state.library.catalogue().runs[0]
    asked = [(Prompt(text), Draw(0.9, 0.9, 6 + place, place)) for place, text in enumerate(POSITIVE * 7)]
    together = live.portal.call(live.app.state.engine.write, run, asked)
    assert len(together) == len(asked) > live.app.state.settings.live_rows
    assert [live.portal.call(live.app.state.engine.write, run, [one])[0] for one in asked[::5]] == together[::5]
    assert len(set(together)) > len(together) // 2


ANSWERS = [
    'Sure, here is a sentence:\n\n"The university was founded in 1842." I hope that helps!',
    "1. Universities teach many students",
    "The university was founded in 1842",
    "Here's one: no",
    "",
    "Too short.",
]


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (ANSWERS[0], "The university was founded in 1842."),
        ("- **The river flows north.**", "The river flows north."),
        ("The river flows north through the val", "The river flows north through the"),
        ("As an AI, I cannot do that.\nThe river flows to the sea! Then it ends.", "The river flows to the sea!"),
        ("It costs 3.5 million dollars. More text.", "It costs 3.5 million dollars."),
        ("A patient visited Dr. J. Smith in May. She was well.", "A patient visited Dr. J. Smith in May."),
        ("In the past year, a patient visited Dr.", "In the past year, a patient visited"),
        ('They wrote "the river is deep. And it is.', "They wrote the river is deep."),
        ("Too short.", ""),
        ("word " * 60 + ".", ""),
        ("\n\n", ""),
    ],
)
def test_one_sentence_is_taken_from_an_answer(answer: str, sentence: str) -> None:
    assert sentence_of(answer) == sentence


def test_answers_are_sorted_out_and_what_is_missing_is_said() -> None:
    about = [
        ANSWERS[0],
        "I like long walks on the beach.",
        "The university was founded, in 1842!",
        ANSWERS[1] + " now.",
    ]
    others = ["The weather was fine all day.", "She went to the University of Oxford.", "Yes."]
    prompts = filter_answers("university", about, others, 3)
    assert prompts.positive[0].startswith("The university was founded")
    assert prompts.positive[1:] == ["Universities teach many students now."]
    assert prompts.negative == ["The weather was fine all day."]
    assert "1 of 3 about the topic and 2 of 3 about other things" in prompts.note
    assert missing_prompts(3, 3, 3) == ""


@pytest.mark.parametrize(
    ("text", "topic", "named"),
    [
        ("The river flows to the sea.", "the French Revolution", False),
        ("Many revolutions began there.", "the French Revolution", True),
        ("He gardens all day.", "gardening", True),
        ("It is what it is.", "it", True),
        ("A dog barks.", "dogs", True),
        ("The city sleeps.", "old cities", True),
        ("Two foxes ran.", "fox", True),
        ("A fox ran.", "foxes", True),
        ("The glass broke.", "glass", True),
        ("They spoke of it.", "sports", False),
        ("\u9ed2\u3044\u732b\u304c\u3044\u308b", "\u732b", True),
        ("They met at the sea.", "the", True),
    ],
)
def test_a_text_names_a_topic_by_its_own_words(text: str, topic: str, named: bool) -> None:
    assert mentions(text, topic) == named


def test_subjects_for_contrast_never_name_the_topic() -> None:
    for topic in ("football", "Gardens", "a song"):
        subjects = other_subjects(topic, 11, 3)
        assert len(set(subjects)) == 11
        assert not any(mentions(subject, topic) for subject in subjects)
    assert other_subjects("x", 5, 1) != other_subjects("x", 5, 2)
    assert other_subjects("x", 5, 1) != other_subjects("y", 5, 1)


@pytest.mark.parametrize("enough", [True, False])
def test_prompts_for_a_topic_are_shown_for_editing_then_searched(
    live: TestClient, monkeypatch: pytest.MonkeyPatch, enough: bool
) -> None:
    """The model's own words are replaced, for those of a random one are none."""
    sentences = [f"the river of University number {n} was in Oxford." for n in range(20)]

    async def write(self: Engine, run: Any, asked: list[tuple[Prompt, Draw]]) -> list[str]:
        assert sum("University {x}" in prompt.text for prompt, _ in asked) == len(asked) // 2
        assert len({draw.seed for _, draw in asked}) == len(asked)
        half = len(asked) // 2
        return [*sentences[:half], *(["The war was lost in a river."] if not enough else
                [f"The war was lost in a river {n}." for n in range(half)])]  # fmt: skip

    monkeypatch.setattr(Engine, "write", write)
    page = live.post("/search/topic", data={"topic": "University {x}", "k": "3", "seed": "0"})
    assert page.status_code == 200
    assert page.history[0].headers["location"].endswith("#written")
    state = page.context["state"]
    assert [entry.text for entry in state.positive] == sentences[:3]
    assert len(state.negative) == (3 if enough else 1)
    assert page.context["result"] is None
    assert ("2 of 3 about other things" in page.context["note"]) == (not enough)
    assert page.context["next_seed"] == 1
    data = {"pos": [e.text for e in state.positive], "neg": [e.text for e in state.negative], "topic": state.form.topic}
    assert live.post("/search", data=data).context["result"].found.steps[0].left > 0


def test_a_topic_that_is_none_is_refused_on_the_page_and_by_the_api(live: TestClient) -> None:
    page = live.post("/search/topic", data={"topic": " ", "pos": ["kept text"]})
    assert page.status_code == 422
    assert "The topic is empty" in page.text
    assert "kept text" in page.text
    assert live.post("/api/v1/prompts/for-topic", json={"topic": " "}).status_code == 422
    assert live.post("/api/v1/prompts/for-topic", json={"topic": "a" * 101}).status_code == 422


def test_the_model_itself_is_asked(live: TestClient) -> None:
    answer = live.post("/api/v1/prompts/for-topic", json={"topic": "rivers", "k": 2}).json()
    assert answer["topic"] == "rivers"
    assert len(answer["positive"]) <= 2
    short = 4 - len(answer["positive"]) - len(answer["negative"])
    assert bool(answer["note"]) == (short > 0)
