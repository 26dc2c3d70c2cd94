"""The prompt page and its ranking, against dense arrays worked out naively; stored prompts."""

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from sqlalchemy import create_engine

from backend.app import create_app
from backend.exceptions import BusyError, StoreFullError, TooManyError
from backend.prompts.ranking import Activity, gather, rank
from backend.prompts.store import MAX_ADDRESS_CHARACTERS, StoredPrompts, is_long
from backend.settings import Settings
from backend.texts import normalise
from backend.web.clients import Client, ClientQuota
from data.layout import StorePaths
from data.published.tables import PublishedRun
from data.sql.database import connect
from pipeline.models.language_model import LanguageModel
from pipeline.models.sae import SAE
from pipeline.models.tokenizer import Tokenizer
from tests.support.fake_run import MARKED
from tests.support.pages import app_with_contexts

TEXT = "the river of <script>alert(1)</script> University\ncafé 😀"
FEATURE = "tiny/1-relu-64/3"
NAMES = ["1-relu-64", "1-relu-256", "1-batchtopk-64"]


ASKED: dict[str, dict[str, object]] = {
    "/api/v1/search": {"positive": ["the"]},
    "/api/v1/prompts/for-topic": {"topic": "the"},
    "/api/v1/attribution": {"text": "the", "target": "#5"},
    f"/api/v1/features/{FEATURE}/activations": {"text": "the"},
}
"""What the model is asked for, each of which takes a place of its client."""


@pytest.fixture(scope="module")
def live(chat_store: StorePaths) -> Iterator[TestClient]:
    app = app_with_contexts(Settings(store=chat_store.root, max_prompt_tokens=100))
    with TestClient(app) as client:
        yield client


@pytest.fixture(scope="module")
def dense(live: TestClient, chat_store: StorePaths) -> dict[str, np.ndarray]:
    """By SAE: activations [L, F] of TEXT, zeros where nothing is counted, by the SAE itself."""
    tokens = [0, *Tokenizer.load(chat_store.models / "tiny").encode(TEXT)]
    x_LD = LanguageModel.load(chat_store.models / "tiny", layer=1, dtype="float32").residuals(torch.tensor([tokens]))[0]
    found = {}
    for name in NAMES:
        acts_LF = SAE.load(live.app.state.library.catalogue().saes["tiny", name].folder).encode(x_LD).numpy()
        acts_LF[0] = 0
        found[name] = acts_LF
    return found


def naive_scores(client: TestClient, name: str, acts_LF: np.ndarray, by: str) -> np.ndarray:
    """Score [F] of each feature, from the definition."""
    sae = client.app.state.library.catalogue().saes["tiny", name]
    rows = sae.run.tables.take("features", [sae.row(f) for f in range(sae.num_features)], ["max", "density"])
    max_F, density_F = (rows[column].to_numpy().astype(np.float64) for column in ("max", "density"))
    if by == "mean":
        return acts_LF[1:].mean(0)
    if by == "last":
        return acts_LF[-1]
    if by == "rare":
        share_LF = np.where(max_F > 0, acts_LF / np.where(max_F > 0, max_F, 1), acts_LF > 0)
        return (share_LF * -np.log(np.maximum(density_F, 1 / sae.run.num_tokens))).max(0)
    return acts_LF.max(0)


@pytest.mark.parametrize("by", ["max", "mean", "last", "rare"])
def test_every_ranking_is_the_naive_one(live: TestClient, dense: dict[str, np.ndarray], by: str) -> None:
    body = {"text": TEXT, "saes": [f"tiny/{name}" for name in NAMES], "rank": by, "limit": 1000}
    for found in live.post("/api/v1/activations", json=body).json()["saes"]:
        name = found["sae"].removeprefix("tiny/")
        score_F = naive_scores(live, name, dense[name], by)
        listed = {one["feature"]["index"]: one["score"] for one in found["overall"]}
        assert set(listed) == set(np.flatnonzero(score_F > 0).tolist())
        np.testing.assert_allclose(list(listed.values()), score_F[list(listed)], rtol=1e-4)
        assert list(listed.values()) == sorted(listed.values(), reverse=True)
        for one in found["overall"]:
            row = dense[name][one["token"], one["feature"]["index"]]
            assert one["activation"] == pytest.approx(row, rel=1e-4)


def test_the_page_ranks_several_saes_together(live: TestClient, dense: dict[str, np.ndarray]) -> None:
    page = live.get("/prompt", params={"text": TEXT, "sae": [f"tiny/{name}" for name in NAMES], "mixed": 1, "token": 3})
    result = page.context["result"]
    best = sorted(((acts.max(0)[f], name, f) for name, acts in dense.items() for f in range(acts.shape[1])))[::-1]
    listed = [(one.feature.sae, one.feature.index) for one in result.overall]
    assert listed == [(name, f) for _, name, f in best[: len(listed)]]
    assert result.token_total == sum(int((acts[3] > 0).sum()) for acts in dense.values())
    assert {one.feature.sae for one in result.token_features} == set(NAMES)
    assert all(series in page.text for series in ("series s0", "series s1", "series s2"))


def test_what_is_on_too_often_is_hidden_from_tokens_and_overall(live: TestClient) -> None:
    body = {"text": TEXT, "saes": ["tiny/1-relu-64"], "limit": 1000, "per_token": 100}
    every = live.post("/api/v1/activations", json=body).json()["saes"][0]
    cut = sorted(one["feature"]["density"] for one in every["overall"])[len(every["overall"]) // 2]
    kept = live.post("/api/v1/activations", json={**body, "hide_density": cut}).json()["saes"][0]
    assert kept["overall"] == [one for one in every["overall"] if one["feature"]["density"] <= cut]
    assert kept["by_token"] == [[one for one in t if one["feature"]["density"] <= cut] for t in every["by_token"]]
    assert (kept["total"], kept["hidden"]) == (len(kept["overall"]), every["total"] - kept["total"])


def test_one_read_of_the_tables_for_any_prompt_and_number_of_saes(
    live: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    take, reads = PublishedRun.take, []
    monkeypatch.setattr(PublishedRun, "take", lambda *args: reads.append(args[1:3]) or take(*args))
    for text, saes in (("the", NAMES[:1]), (TEXT, NAMES)):
        reads.clear()
        assert live.get("/prompt", params={"text": text, "sae": [f"tiny/{n}" for n in saes]}).status_code == 200
        assert len(reads) == 1


def test_left_out_positions_are_shown_and_not_counted(live: TestClient) -> None:
    page = live.get("/prompt", params={"text": TEXT, "token": 0})
    result = page.context["result"]
    assert result.tokens[0].left_out
    assert result.tokens[0].about.endswith("left out")
    assert result.num_counted == len(result.tokens) - 1
    assert "This token is left out" in page.text
    assert all(one.token != 0 for one in result.overall)


def test_a_prompt_of_left_out_tokens_alone_has_no_features(live: TestClient) -> None:
    sae = live.app.state.library.catalogue().saes["tiny", "1-relu-64"]
    reading = live.portal.call(live.app.state.engine.activations, [sae], _prompt("the"))
    empty = replace(
        reading,
        left_out=[True] * len(reading.tokens),
        active={sae.name: replace(reading.active[sae.name], **{c: np.zeros(0, t) for c, t in COLUMNS.items()})},
    )
    for by in ("max", "mean", "last", "rare"):
        ranking = rank(gather([sae], empty), by, 1.0, common_last=True)
        assert ranking.overall(10) == []
        assert ranking.by_token(5) == [[]] * len(empty.tokens)


COLUMNS = {"token_K": np.int64, "feature_K": np.int64, "value_K": np.float32}


def _prompt(text: str) -> Any:
    from backend.engine.messages import Prompt

    return Prompt(text)


def test_a_feature_never_seen_in_the_corpus_counts_as_if_seen_on_one_token(live: TestClient) -> None:
    sae = live.app.state.library.catalogue().saes["tiny", "1-relu-64"]
    reading = live.portal.call(live.app.state.engine.activations, [sae], _prompt(TEXT))
    activity = gather([sae], reading)
    names = activity.records_U.schema.names
    unseen = activity.records_U.set_column(names.index("max"), "max", [np.zeros(len(activity.row_U), np.float32)])
    unseen = unseen.set_column(names.index("density"), "density", [np.zeros(len(activity.row_U), np.float32)])
    ranking = rank(Activity(**{**_shallow(activity), "records_U": unseen}), "rare", 1.0, common_last=False)
    np.testing.assert_allclose([one.score for one in ranking.overall(5)], np.log(sae.run.num_tokens))
    assert {one.share for one in ranking.overall(5)} == {1.0}


def _shallow(activity: Activity) -> dict[str, Any]:
    return {field.name: getattr(activity, field.name) for field in fields(activity)}


@pytest.mark.parametrize("chat", [False, True])
@pytest.mark.parametrize("text", ["the river", "<s>the <s> river</s>", "<s>"])
def test_exactly_one_bos_also_when_the_text_names_it(live: TestClient, text: str, chat: bool) -> None:
    tokens = live.post("/api/v1/activations", json={"text": text, "chat": chat}).json()["tokens"]
    ids = [token["token"] for token in tokens]
    assert (ids[0], ids.count(0)) == (0, 1)
    shown = "".join(token["text"] for token in tokens[1:]).replace("␣", " ")
    assert shown == text + ("</s>" if chat else "")
    assert (1 in ids) == chat  # only the template itself ends a turn


def test_what_the_chat_template_says_is_shown_but_not_counted(live: TestClient) -> None:
    found = live.post("/api/v1/activations", json={"text": "the river", "chat": True, "limit": 1000}).json()
    counted = [token["text"] for token in found["tokens"] if not token["left_out"]]
    assert "".join(counted) == "the river"
    assert len(counted) < len(found["tokens"]) - 1
    (sae,) = found["saes"]
    for token, active in zip(found["tokens"], sae["by_token"], strict=True):
        assert not (token["left_out"] and active)


MARK = "<|turn|>"
FILLED = f"{MARK}user\nthe river{MARK}\n"
TURNS = f"{{% for m in messages %}}{MARK}{{{{ m.role }}}}\n{{{{ m.content }}}}{MARK}\n{{% endfor %}}"


@pytest.fixture(scope="module")
def marked(chat_store: StorePaths, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A server whose model has the token MARK, which its chat template writes."""
    root = tmp_path_factory.mktemp("marked") / "store"
    shutil.copytree(chat_store.root, root, symlinks=True)
    folder = StorePaths(root).models / "tiny"
    settings = json.loads((folder / "tokenizer.json").read_text())
    number = settings["model"]["vocab"].pop("Ā")
    settings["model"]["vocab"][MARK] = number
    settings["added_tokens"].append({**settings["added_tokens"][0], "id": number, "content": MARK})
    (folder / "tokenizer.json").write_text(json.dumps(settings))
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "chat_template": TURNS}))
    with TestClient(app_with_contexts(Settings(store=root))) as client:
        yield client


def texts_of(page: Any, *, left_out: bool) -> str:
    tokens = [token for token in page.context["result"].tokens if token.left_out == left_out]
    return "".join(token.text for token in tokens).replace("␣", " ").replace("↵", "\n")


@pytest.mark.parametrize("query", [{"text": FILLED}, {"text": "the river", "chat": 1}])
def test_the_tokens_of_a_chat_template_are_faint_and_count_where_asked_for(
    marked: TestClient, query: dict[str, Any]
) -> None:
    page = marked.get("/prompt", params=query)
    result = page.context["result"]
    assert texts_of(page, left_out=False) == "the river"
    assert {token.whose for token in result.tokens if token.left_out} == {"template"}
    assert page.text.count('class="cell uncounted"') == result.template.num == len(result.tokens) - result.num_counted
    assert "left-out" not in page.text
    assert result.template.is_text == ("chat" not in query)
    assert result.overall
    assert not any(result.tokens[one.token].left_out for one in result.overall)
    assert marked.get(result.tokens[0].href).context["result"].token_total == 0
    counting = marked.get(result.template.switch)
    shown = counting.context["result"]
    assert [token.text for token in shown.tokens] == [token.text for token in result.tokens]
    assert texts_of(counting, left_out=False) == f"{MARK}user\nthe river{MARK}\n"
    assert 'id="template" name="template" value="1" checked' in counting.text
    assert shown.total >= result.total
    opening = shown.tokens[0]
    assert (opening.left_out, opening.whose, opening.about.endswith(": left out")) == (True, "", True)
    assert 'class="cell uncounted"' not in counting.text
    assert shown.template.num == result.template.num - 1 == sum(token.whose != "" for token in result.tokens[1:])
    assert "This token is left out" in marked.get(opening.href).text
    assert marked.get(shown.template.switch).context["result"].overall == result.overall


def test_a_filled_template_is_the_chat_that_filled_it_or_plain_text(marked: TestClient) -> None:
    filled = marked.get("/prompt", params={"text": FILLED}).context["result"]
    chat = marked.get("/prompt", params={"text": "the river", "chat": 1}).context["result"]
    assert [(one.feature, one.score) for one in filled.overall] == [(one.feature, one.score) for one in chat.overall]
    plain = marked.get(filled.template.plain)
    assert plain.context["result"].template is None
    assert len(plain.context["result"].tokens) > len(filled.tokens)
    assert 'id="plain" name="plain" value="1" checked' in plain.text
    body = {"text": FILLED, "limit": 1000}
    assert [one["whose"] for one in marked.post("/api/v1/activations", json=body).json()["tokens"]] == [""] * len(
        plain.context["result"].tokens
    )
    read = marked.post("/api/v1/activations", json={**body, "special_tokens": True}).json()
    assert "".join(one["text"] for one in read["tokens"] if not one["whose"]).replace("␣", " ") == "the river"
    every = marked.post("/api/v1/activations", json={**body, "special_tokens": True, "template_tokens": True}).json()
    assert sum(one["left_out"] for one in every["tokens"]) == 1, "the opening one"
    assert sum(map(len, every["saes"][0]["by_token"])) > sum(map(len, read["saes"][0]["by_token"]))


def test_outputs_of_a_filled_template_are_attributed_to_its_own_tokens(marked: TestClient) -> None:
    page = marked.get("/prompt", params={"text": FILLED, "target": "#70", "k": 0})
    assert page.status_code == 200
    names = {row.where for table in page.context["attribution"].tables for row in table.rows}
    assert names
    assert names <= {"t", "h", "e", "␣river"}


def test_the_tokens_shown_are_the_models_own_with_their_ids(live: TestClient, chat_store: StorePaths) -> None:
    page = live.get("/prompt", params={"text": TEXT})
    ids = [0, *Tokenizer.load(chat_store.models / "tiny").encode(TEXT)]
    assert [int(re.search(r"id (\d+)", token.about)[1]) for token in page.context["result"].tokens] == ids


# ---- what says little


@pytest.fixture
def common(live: TestClient) -> tuple[Activity, np.ndarray]:
    """What TEXT activates: a third of the features on a tenth of all tokens, a third at the start of texts."""
    sae = live.app.state.library.catalogue().saes["tiny", "1-relu-64"]
    activity = gather([sae], live.portal.call(live.app.state.engine.activations, [sae], _prompt(TEXT)))
    names, places = activity.records_U.schema.names, np.arange(len(activity.row_U)) % 3
    for name, high in (("density", places == 0), ("at_start", places == 1)):
        column = np.where(high, 0.1 if name == "density" else 0.9, 0.01).astype(np.float32)
        records = activity.records_U.set_column(names.index(name), name, [column])
        activity = Activity(**{**_shallow(activity), "records_U": records})
    return activity, places


@pytest.mark.parametrize("by", ["max", "mean", "last", "rare"])
def test_what_says_little_comes_last_in_its_own_order(common: tuple[Activity, np.ndarray], by: Any) -> None:
    activity, places = common
    plain, pushed = (rank(activity, by, 1.0, common_last=last) for last in (False, True))
    for one, other in ((plain.overall(1000), pushed.overall(1000)), (plain.by_token(99)[5], pushed.by_token(99)[5])):
        assert [a for a in other if not a.common] == [a for a in one if not a.common]
        assert [a for a in other if a.common] == [a for a in one if a.common]
        assert other == sorted(other, key=lambda a: bool(a.common))
    reasons = {int(row): ("frequent", "start", "")[place] for row, place in zip(activity.row_U, places, strict=True)}
    assert all(a.common == reasons[a.feature.index] for a in pushed.overall(1000))
    assert pushed.num_common == int((places < 2).sum())


def test_the_page_says_what_comes_last_and_offers_the_other_order(live: TestClient) -> None:
    page = live.get("/prompt", params={"text": TEXT})
    result = page.context["result"]
    assert result.num_common > 0
    assert "come last" in page.text
    listed = [bool(one.common) for one in result.overall]
    assert listed == sorted(listed)
    mixed = live.get(result.switch)
    assert mixed.context["state"].mixed
    scores = [one.score for one in mixed.context["result"].overall]
    assert scores == sorted(scores, reverse=True)
    assert not live.get(mixed.context["result"].switch).context["state"].mixed


# ---- the page


def test_without_a_choice_the_sae_that_explains_most_variance_reads(live: TestClient) -> None:
    saes = live.app.state.library.catalogue().runs[0].saes
    best = max(saes, key=lambda sae: sae.record.metrics["explained_variance"])
    for query in ({}, {"text": "the"}):
        page = live.get("/prompt", params=query)
        assert page.context["state"].sae == [best.href[1:]]
        assert [choice.name for choice in page.context["saes"] if choice.best] == [best.name]
        assert "reads best" in page.text
    for sae in saes:
        assert live.get("/prompt", params={"sae": sae.href[1:]}).context["state"].sae == [sae.href[1:]]
    feature = f"{saes[-1].href[1:]}/3"
    assert live.get("/prompt", params={"f": feature}).context["state"].sae == [saes[-1].href[1:]]
    answer = live.post("/api/v1/activations", json={"text": "the"}).json()
    assert [one["sae"] for one in answer["saes"]] == [best.href[1:]]


@pytest.mark.parametrize(("chat", "token"), [(False, None), (True, None), (False, 999)])
def test_the_last_token_that_counts_is_chosen_from_the_start(live: TestClient, chat: bool, token: int | None) -> None:
    query = {"text": "the river", "chat": int(chat)} | ({} if token is None else {"token": token})
    result = live.get("/prompt", params=query).context["result"]
    counted = [one for one in result.tokens if not one.left_out]
    assert result.token == counted[-1]
    assert [one.number for one in result.tokens if one.current] == [counted[-1].number]
    assert (counted[-1] is result.tokens[-1]) == (not chat)


def test_attribution_leads_to_its_answer(live: TestClient) -> None:
    closed = live.get("/prompt", params={"text": TEXT}).context["attribution"]
    opened = live.get("/prompt", params={"text": TEXT, "target": ""})
    assert closed.open_href.endswith("#attribution")
    assert all(one.href.endswith("#answer") for one in opened.context["attribution"].likely)
    answered = live.get("/prompt", params={"text": TEXT, "target": "#70"})
    assert all(link.href.endswith("#answer") for link in answered.context["attribution"].sorts)
    assert 'action="/prompt#answer"' in answered.text
    assert 'id="answer" tabindex="-1"' in answered.text


def test_the_prompt_page_shows_hostile_text_literally_and_every_field_of_its_context(live: TestClient) -> None:
    page = live.get("/prompt", params={"text": TEXT, "token": 5, "mixed": 1})
    assert page.status_code == 200
    assert "<script>alert" not in page.text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page.text
    result = page.context["result"]
    assert result.token.number == 5
    activations = [one.activation for one in result.token_features]
    assert activations == sorted(activations, reverse=True)
    assert {one.token for one in result.token_features} == {5}


def test_the_prompt_page_colours_tokens_by_a_chosen_feature(live: TestClient, dense: dict[str, np.ndarray]) -> None:
    page = live.get("/prompt", params={"text": TEXT, "f": f"tiny/1-relu-64/{MARKED}", "sae": "tiny/1-relu-64"})
    values = [float(token.caption or 0) for token in page.context["result"].tokens]
    np.testing.assert_allclose(values, dense["1-relu-64"][:, MARKED], rtol=5e-3)
    assert "<svg onload" not in page.text


@pytest.mark.parametrize("query", [{}, {"f": FEATURE}, {"text": ""}])
def test_without_a_text_the_prompt_page_offers_some(live: TestClient, query: dict[str, str]) -> None:
    page = live.get("/prompt", params=query)
    assert page.status_code == 200
    assert page.context["result"] is None
    assert page.context["examples"][0].text in page.text


@pytest.mark.parametrize("text", ["  ", "\n"])
def test_a_prompt_of_blanks_is_read(live: TestClient, text: str) -> None:
    page = live.get("/prompt", params={"text": text})
    assert page.status_code == 200
    assert page.context["problem"] is None
    assert len(page.context["result"].tokens) > 1
    assert live.post("/prompt", data={"text": text}).context["state"].text == text


def test_a_prompt_that_is_refused_is_answered_on_the_page(live: TestClient) -> None:
    page = live.get("/prompt", params={"text": "a" * 300})
    assert page.status_code == 422
    assert "at most 100" in page.text
    assert 'id="reading"' in page.text


@pytest.mark.parametrize("rank", ["max", "mean", "last", "rare"])
def test_links_of_the_page_keep_what_was_chosen(live: TestClient, rank: str) -> None:
    asked = {"text": TEXT, "sae": ["tiny/1-relu-64", "tiny/1-relu-256"], "rank": rank, "hide": 0.05, "token": 2}
    result = live.get("/prompt", params=asked).context["result"]
    again = live.get(result.tokens[4].href).context["state"]
    assert (again.text, again.sae, again.rank, again.hide, again.token) == (TEXT, asked["sae"], rank, 0.05, 4)
    assert live.get(result.tokens[2].href).context["result"].token.number == 2


def test_saes_of_several_runs_or_unknown_ones_are_refused_inline_or_not_found(live: TestClient) -> None:
    assert live.get("/prompt", params={"text": "the", "sae": "tiny/none"}).status_code == 404
    assert live.get("/prompt", params={"text": "the", "f": "tiny/none/3"}).status_code == 422


def test_a_busy_server_says_so_on_the_page_with_a_way_on(live: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(job: object) -> None:
        raise BusyError("the queue is full (16 requests): try again in a few seconds")

    monkeypatch.setattr(live.app.state.engine.worker, "submit", busy)
    page = live.get("/prompt", params={"text": "never read before"})
    assert page.status_code == 503
    assert "try again in a few seconds" in page.text
    assert [step.text for step in page.context["problem"].next_steps] == ["Try again"]


def test_one_client_has_one_reading_and_one_that_waits(live: TestClient) -> None:
    quota, me, neighbour = live.app.state.quota, Client("testclient", "me"), Client("testclient", "other")
    live.cookies.clear()  # of what pages gave it before
    live.cookies.set("visitor", "me")
    with quota.take(me), quota.take(me):
        answer = live.post("/api/v1/activations", json={"text": "the"})
        assert answer.status_code == 429
        assert "one waiting" in answer.json()["detail"]
        assert answer.headers["retry-after"] == "5"
        for path in ("/prompt?text=the", "/search?by=prompts&pos=the"):
            page = live.get(path)
            assert page.status_code == 429
            assert page.headers["retry-after"] == "5"
            assert [step.text for step in page.context["problem"].next_steps] == ["Try again"]
        for path, body in ASKED.items():
            refused = live.post(path, json=body)
            assert (refused.status_code, refused.headers["retry-after"]) == (429, "5"), path
        for path in (f"/api/v1/features/{FEATURE}/examples/top/0/{what}" for what in ("causes", "effects")):
            assert live.get(path).status_code == 429, path
        page = live.get(f"/{FEATURE}/example")
        assert (page.status_code, page.headers["retry-after"]) == (429, "5")
        with quota.take(neighbour):  # somebody else at the same address is not kept from it
            pass
    assert live.post("/api/v1/activations", json={"text": "the"}).status_code == 200
    live.cookies.clear()
    few = ClientQuota(3)
    with few.take(me), few.take(me), few.take(neighbour), pytest.raises(TooManyError, match="your network"):
        few.take(Client("testclient", "third")).__enter__()


def test_a_model_without_a_chat_template_offers_plain_text(published_store: StorePaths) -> None:
    with TestClient(create_app(Settings(store=published_store.root))) as client:
        page = client.get("/prompt", params={"text": "the", "chat": 1})
        assert page.status_code == 422
        assert "chat template" in page.text
        assert "Read it as plain text" in page.text


# ---- stored prompts


def test_the_form_leads_to_the_address_of_what_was_typed(live: TestClient) -> None:
    form = {"text": "the\r\nriver", "sae": ["tiny/1-relu-64", "tiny/1-relu-256"], "rank": "mean", "hide": "0.05"}
    page = live.post("/prompt", data=form)
    assert (page.status_code, len(page.history)) == (200, 1)
    state = page.context["state"]
    assert (state.text, state.sae, state.rank, state.hide) == ("the\nriver", form["sae"], "mean", 0.05)
    assert "text=the%0Ariver" in str(page.url)


def test_a_long_text_is_stored_once_under_an_address_of_its_content(live: TestClient) -> None:
    text = "a" * 60 + "é 😀" * 300
    first, second = (live.post("/prompt", data={"text": text}, follow_redirects=False) for _ in range(2))
    assert first.status_code == 303
    assert first.headers["location"] == second.headers["location"]
    name = re.search(r"p=([0-9a-f]{24})", first.headers["location"])[1]
    stored = live.get(f"/api/v1/prompts/{name}").json()
    assert stored == {"id": name, "text": text, "href": f"/prompt?p={name}&hide=1"}
    page = live.get(first.headers["location"])
    assert page.status_code == 422  # stored and shown, though it has more tokens than this server reads
    assert page.context["state"].text == text
    assert f"p={name}" in page.context["state"].href(rank="rare")


def test_a_stored_text_is_read_as_the_same_text_in_the_address(live: TestClient) -> None:
    stored = live.post("/api/v1/prompts", json={"text": TEXT})
    assert stored.status_code == 201
    page, plain = live.get(stored.json()["href"]), live.get("/prompt", params={"text": TEXT})
    assert page.context["result"].overall == plain.context["result"].overall
    assert page.context["result"].tokens[1].href.startswith(f"/prompt?p={stored.json()['id']}&")


def test_an_address_with_a_long_text_offers_a_short_one(live: TestClient) -> None:
    page = live.get("/prompt", params={"text": ("a" * 40 + "\n") * 49})
    assert page.status_code == 200
    assert "Store it under a short address" in page.text


def test_texts_beyond_the_limits_are_refused_with_the_limit(live: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    page = live.post("/prompt", data={"text": "a" * 20_001})
    assert page.status_code == 422
    assert "at most 20,000" in page.text
    answer = live.post("/api/v1/prompts", json={"text": "a" * 20_001})
    assert answer.status_code == 422
    assert "20000" in answer.json()["detail"]
    assert live.get("/prompt?p=none").status_code == 404
    monkeypatch.setattr(live.app.state.prompts._store, "_engine", None)  # not every database takes every text
    for none in ("none", "a%00b"):
        assert live.get(f"/api/v1/prompts/{none}").status_code == 404


@pytest.mark.parametrize("text", ["plain", "a\x00b", "\ud83d\ude00 \ud83d", "\u202e<b>", ""])
def test_any_text_comes_back_as_it_was(sql_url: str, text: str) -> None:
    engine = connect(sql_url)
    prompts = StoredPrompts(engine, 10)
    name = prompts.save(text)
    assert prompts.load(name) == normalise(text)
    assert prompts.save(text) == name
    assert prompts.load("0" * 24) is None
    engine.dispose()


def test_when_all_places_are_taken_old_prompts_stay_and_new_ones_are_refused(sql_url: str) -> None:
    engine = connect(sql_url)
    prompts = StoredPrompts(engine, 1)
    name = prompts.save("first")
    assert prompts.save("first") == name
    with pytest.raises(StoreFullError, match="MAX_STORED_PROMPTS"):
        prompts.save("second")
    engine.dispose()
    again = create_engine(engine.url)
    assert StoredPrompts(again, 1).load(name) == "first"
    again.dispose()


def test_a_server_that_keeps_no_prompts_says_so_on_the_page(chat_store: StorePaths) -> None:
    with TestClient(create_app(Settings(store=chat_store.root, max_stored_prompts=0))) as client:
        page = client.post("/prompt", data={"text": "the " * MAX_ADDRESS_CHARACTERS})
        assert page.status_code == 503
        assert "the limit is reached" in page.text


def test_texts_are_long_together_as_they_stand_in_an_address() -> None:
    assert not is_long("word " * 280)
    assert is_long("word " * 280, "word " * 80)
    assert is_long("é" * 400)
    assert not is_long("\ud800")
