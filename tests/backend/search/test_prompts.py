"""Search by prompts against a brute-force check on raw activations; what the model writes for a topic."""

import re
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from starlette.middleware.gzip import GZipMiddleware

from backend.app import create_app
from backend.engine.engine import Engine
from backend.engine.requests import Draw, Prompt
from backend.search.prompts_page import PromptSearchPage
from backend.search.topics import names, other_subjects, sentence_of, shortfall, sort_out
from backend.settings import Settings
from data.layout import StorePaths
from data.published.tables import PublishedRun
from pipeline.models.language_model import LanguageModel
from pipeline.models.sae import SAE
from pipeline.models.tokenizer import Tokenizer
from tests.backend.test_pages import source

NAMES = ["1-relu-64", "1-relu-256", "1-batchtopk-64"]
POSITIVE = ["the river of University", "a river and <script>alert(1)</script>", " was in a river engine music"]
NEGATIVE = ["war and Oxford", "café 😀 music"]
LOOSE = {"at_least": 0.0, "at_most": 1.0}


@pytest.fixture(scope="module")
def live(published_store: StorePaths, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    database = tmp_path_factory.mktemp("search") / "monosema.sqlite"
    database.write_bytes(published_store.database.read_bytes())
    settings = Settings(store=published_store.root, database_url=f"sqlite:///{database}", max_prompt_tokens=100)
    app = create_app(settings)
    app.user_middleware = [layer for layer in app.user_middleware if layer.cls is not GZipMiddleware]
    with TestClient(app) as client:
        yield client


class Naive:
    """Shares [prompts, features of all SAEs] of each feature's highest activation, from the SAEs themselves."""

    def __init__(self, client: TestClient, store: StorePaths) -> None:
        self.saes = [client.app.state.library.catalogue().saes["tiny", name] for name in NAMES]
        self.weights = [SAE.load(sae.folder) for sae in self.saes]
        self.tokenizer = Tokenizer.load(store.models / "tiny")
        self.model = LanguageModel.load(store.models / "tiny", layer=1, dtype="float32")
        rows = [sae.row(f) for sae in self.saes for f in range(sae.num_features)]
        table = self.saes[0].run.tables.take("features", rows, ["sae", "index", "max", "density"])
        self.names = [(row["sae"], row["index"]) for row in table.to_pylist()]
        self.max_F, self.density_F = (table[c].to_numpy().astype(np.float64) for c in ("max", "density"))

    def shares(self, texts: list[str]) -> np.ndarray:
        return np.array([self._share(text) for text in texts]).reshape(-1, len(self.max_F))

    def _share(self, text: str) -> np.ndarray:
        tokens = torch.tensor([[0, *self.tokenizer.encode(text)]])
        x_LD = self.model.residuals(tokens)[0, 1:]
        peak_F = np.concatenate([sae.encode(x_LD).numpy().max(0) for sae in self.weights])
        return np.where(self.max_F > 0, peak_F / np.where(self.max_F > 0, self.max_F, 1), peak_F > 0)

    def find(self, positive: list[str], negative: list[str], at_least: float, at_most: float) -> set[tuple[str, int]]:
        positive_PF, negative_NF = self.shares(positive), self.shares(negative)
        fits_F = ((positive_PF >= at_least) & (positive_PF > 0)).all(0) & (negative_NF <= at_most).all(0)
        return {self.names[f] for f in np.flatnonzero(fits_F)}


@pytest.fixture(scope="module")
def naive(live: TestClient, published_store: StorePaths) -> Naive:
    return Naive(live, published_store)


def search(client: TestClient, positive: list[str], negative: list[str], **body: Any) -> dict[str, Any]:
    asked = {"positive": positive, "negative": negative, "limit": 1000, **body}
    answer = client.post("/api/v1/search", json=asked)
    assert answer.status_code == 200, answer.text
    return answer.json()


def found(answer: dict[str, Any]) -> set[tuple[str, int]]:
    return {(one["feature"]["sae"], one["feature"]["index"]) for one in answer["features"]}


@pytest.mark.parametrize("num_positive", [1, 2, 3])
@pytest.mark.parametrize("num_negative", [0, 1, 2])
@pytest.mark.parametrize(("at_least", "at_most"), [(0.0, 1.0), (0.05, 0.2), (0.3, 0.0)])
def test_what_is_found_is_what_a_check_of_all_features_finds(
    live: TestClient, naive: Naive, num_positive: int, num_negative: int, at_least: float, at_most: float
) -> None:
    positive, negative = POSITIVE[:num_positive], NEGATIVE[:num_negative]
    answer = search(live, positive, negative, at_least=at_least, at_most=at_most)
    assert found(answer) == naive.find(positive, negative, at_least, at_most)
    assert answer["total"] == len(answer["features"])


def test_shares_and_scores_are_those_of_the_definition(live: TestClient, naive: Naive) -> None:
    positive_PF, negative_NF = naive.shares(POSITIVE), naive.shares(NEGATIVE)
    score_F = np.minimum(positive_PF, 1).mean(0) * -np.log(
        np.maximum(naive.density_F, 1 / naive.saes[0].run.num_tokens)
    )
    for order, expected_F in (("rare", score_F), ("weakest", positive_PF.min(0))):
        listed = search(live, POSITIVE, NEGATIVE, order=order, **LOOSE)["features"]
        assert len(listed) > 5
        for one in listed:
            f = naive.names.index((one["feature"]["sae"], one["feature"]["index"]))
            np.testing.assert_allclose(one["positive"], positive_PF[:, f], rtol=1e-4)
            np.testing.assert_allclose(one["negative"], negative_NF[:, f], rtol=1e-4)
            assert one["score"] == pytest.approx(expected_F[f], rel=1e-4)
        scores = [one["score"] for one in listed]
        assert scores == sorted(scores, reverse=True)


def test_more_prompts_and_tighter_thresholds_never_add(live: TestClient) -> None:
    base = found(search(live, POSITIVE[:2], [], at_least=0.05))
    assert base
    for negative in (NEGATIVE[:1], NEGATIVE, [*NEGATIVE, POSITIVE[0]]):
        assert found(search(live, POSITIVE[:2], negative, at_least=0.05)) <= base
    assert found(search(live, POSITIVE, [], at_least=0.05)) <= base
    last = None
    for at_least in (0.0, 0.1, 0.3, 0.6, 1.0):
        now = found(search(live, POSITIVE[:2], NEGATIVE, at_least=at_least, at_most=0.1))
        assert last is None or now <= last
        last = now
    last = set()
    for at_most in (0.0, 0.05, 0.2, 1.0):
        now = found(search(live, POSITIVE[:2], NEGATIVE, at_least=0.1, at_most=at_most))
        assert last <= now
        last = now


def test_a_text_against_itself_leaves_nothing_and_says_what_each_prompt_removed(live: TestClient, naive: Naive) -> None:
    answer = search(live, POSITIVE[:2], [POSITIVE[0]], at_least=0.1, at_most=0.05)
    assert answer["total"] == 0
    first, second, negative = answer["steps"]
    at = {"at_least": 0.1, "at_most": 0.05}
    assert first == {"positive": True, "place": 0, "left": len(naive.find(POSITIVE[:1], [], **at)), "removed": 0,
                     "without": len(naive.find(POSITIVE[1:2], POSITIVE[:1], **at))}  # fmt: skip
    assert second["left"] == len(naive.find(POSITIVE[:2], [], **at))
    assert second["removed"] == first["left"] - second["left"]
    assert (negative["left"], negative["removed"]) == (0, second["left"])
    assert negative["without"] == second["left"]
    assert answer["relaxed"]
    for relaxed in answer["relaxed"]:
        criteria = relaxed["criteria"]
        again = search(live, POSITIVE[:2], [POSITIVE[0]], at_least=criteria["at_least"], at_most=criteria["at_most"])
        assert again["total"] == relaxed["total"] > 0


def test_hidden_features_are_counted(live: TestClient, naive: Naive) -> None:
    answer = search(live, POSITIVE[:1], [], hide_density=0.0501, **LOOSE)
    every = naive.find(POSITIVE[:1], [], 0, 1)
    shown = {name for name in every if naive.density_F[naive.names.index(name)] <= 0.0501}
    assert found(answer) == shown
    assert answer["hidden"] == len(every) - len(shown) > 0
    nothing = search(live, POSITIVE[:1], [], hide_density=0.0, **LOOSE)
    assert nothing["relaxed"] == [{"criteria": {"at_least": 0.0, "at_most": 1.0, "hide": 1.0}, "total": len(every)}]


def test_only_the_saes_asked_for_are_searched_and_the_tables_are_read_once(
    live: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    take, reads = PublishedRun.take, []
    monkeypatch.setattr(PublishedRun, "take", lambda *args: reads.append(args[1]) or take(*args))
    answer = search(live, POSITIVE, NEGATIVE, saes=["tiny/1-relu-256"], **LOOSE)
    assert {one["feature"]["sae"] for one in answer["features"]} == {"1-relu-256"}
    assert reads == ["features"]


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"positive": []}, 422, "positive"),
        ({"positive": [" "]}, 422, "positive prompt 1 cannot be read. The prompt is empty"),
        ({"positive": ["the", "b" * 300]}, 422, "positive prompt 2 cannot be read"),
        ({"positive": ["the"], "negative": ["b" * 300]}, 422, "negative prompt 1"),
        ({"positive": ["a" * 20_001]}, 422, "20000"),
        ({"positive": ["the"] * 17}, 422, "16"),
        ({"positive": ["the"], "saes": ["tiny/none"]}, 404, "no SAE"),
        ({"positive": ["the"], "at_least": 2}, 422, "at_least"),
    ],
)
def test_unfit_searches_are_refused(live: TestClient, body: dict[str, Any], status: int, words: str) -> None:
    answer = live.post("/api/v1/search", json=body)
    assert answer.status_code == status
    assert words in answer.json()["detail"]


# ---- the page


def test_the_other_search_keeps_its_address(live: TestClient) -> None:
    assert live.get("/search?q=river").template.name == "search/search.html"
    assert live.get("/search?by=words").template.name == "search/search.html"
    assert live.get("/search?by=prompts").template.name == "search/prompt_search.html"
    assert live.get("/search?by=prompts&by=words").template.name == "search/search.html"


@pytest.mark.parametrize("query", [{}, {"pos": POSITIVE, "neg": NEGATIVE}, {"pos": ["the"], "topic": "x", "edit": 1}])
def test_every_field_of_the_context_is_there_and_used(live: TestClient, query: dict[str, Any]) -> None:
    answer = live.get("/search", params={"by": "prompts", **query})
    assert answer.status_code == 200
    assert "<script>alert" not in answer.text
    code = " ".join(re.findall(r"{[{%].*?[%}]}", source("search/prompt_search.html"), re.DOTALL))
    for field in fields(PromptSearchPage):
        assert field.name in answer.context
        assert re.search(rf"\b{field.name}\b", code)


def test_the_form_leads_to_an_address_that_says_it_all(live: TestClient) -> None:
    form = {
        "pos": [*POSITIVE[:2], " "], "neg": ["", "war\r\nand"], "at_least": "0.05", "at_most": "0.2", "hide": "1",
        "order": "weakest", "sae": ["tiny/1-relu-64", "tiny/1-relu-256"],
    }  # fmt: skip
    page = live.post("/search", data=form)
    assert (page.status_code, len(page.history)) == (200, 1)
    assert page.history[0].headers["location"].endswith("#found")
    state = page.context["state"]
    assert [entry.text for entry in state.positive] == POSITIVE[:2]
    assert [entry.text for entry in state.negative] == ["war\nand"]
    assert (state.form.at_least, state.form.at_most, state.form.hide, state.form.order) == (0.05, 0.2, 1, "weakest")
    shown = {(one.match.feature.sae, one.match.feature.index) for one in page.context["result"].matches}
    asked = {"saes": form["sae"], "at_least": 0.05, "at_most": 0.2, "limit": 100}
    assert shown == found(search(live, POSITIVE[:2], ["war\nand"], **asked))


def test_long_prompts_are_stored_and_found_again(live: TestClient) -> None:
    long = [("a" * 40 + "\n") * 30 + text for text in ("river", "war")]
    page = live.post("/search", data={"pos": [*long, "the river"], "neg": []})
    assert page.status_code == 200
    assert len(str(page.url)) < 300
    state = page.context["state"]
    assert {entry.text for entry in state.positive} == {*long, "the river"}
    again = live.post("/search", data={"pos": [entry.text for entry in state.positive], "neg": []})
    assert again.url == page.url
    refused = live.post("/search", data={"pos": ["a" * 20_001, "b" * 3000]})
    assert refused.status_code == 422
    assert "at most 20,000" in refused.text


def test_when_nothing_is_left_every_way_on_keeps_its_promise(live: TestClient) -> None:
    asked = {"by": "prompts", "pos": POSITIVE[:2], "neg": [POSITIVE[0]], "at_least": 0.1, "at_most": 0.05, "hide": 1}
    page = live.get("/search", params=asked)
    result = page.context["result"]
    assert result.found.total == 0
    assert len(result.next_steps) >= 2
    for way in result.next_steps:
        promised = int(way.text.rpartition(" ")[2].replace(",", ""))
        assert live.get(way.href).context["result"].found.total == promised > 0
    for step in result.steps:
        if step.without:
            assert live.get(step.without).context["result"].found.total == step.step.without


def test_see_leads_to_the_prompt_page_with_the_feature(live: TestClient) -> None:
    match = live.get("/search", params={"by": "prompts", "pos": POSITIVE, **LOOSE}).context["result"].matches[0]
    page = live.get(match.see)
    assert page.context["focus"].name == match.match.feature.name
    assert page.context["state"].text == POSITIVE[0]


def test_a_refused_prompt_is_named_on_the_page_and_nothing_is_lost(live: TestClient) -> None:
    page = live.get("/search", params={"by": "prompts", "pos": ["the river", "b" * 300], "neg": ["war"]})
    assert page.status_code == 422
    assert "The positive prompt 2 cannot be read" in page.text
    assert "b" * 300 in page.text
    assert live.get("/search?by=prompts&neg=war").status_code == 422
    assert live.get("/search?by=prompts&pos_p=none").status_code == 404


# ---- topics


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
    prompts = sort_out("university", about, others, 3)
    assert prompts.positive[0].startswith("The university was founded")
    assert prompts.positive[1:] == ["Universities teach many students now."]
    assert prompts.negative == ["The weather was fine all day."]
    assert "1 of 3 about the topic and 2 of 3 about other things" in prompts.note
    assert shortfall(3, 3, 3) == ""


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
    assert names(text, topic) == named


def test_subjects_for_contrast_never_name_the_topic() -> None:
    for topic in ("football", "Gardens", "a song"):
        subjects = other_subjects(topic, 11, 3)
        assert len(set(subjects)) == 11
        assert not any(names(subject, topic) for subject in subjects)
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
