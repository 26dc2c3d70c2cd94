"""Attribution over HTTP and on pages, on a tiny random Llama, against plain forward passes."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from fastapi import HTTPException, Request
from fastapi.testclient import TestClient
from starlette.middleware.gzip import GZipMiddleware

from backend.app import create_app
from backend.attribution.examples import find_example, signed_step
from backend.attribution.ranking import correlate
from backend.engine.worker import Call, Stepwise, Worker
from backend.exceptions import StoppedError
from backend.published.features import get_feature
from backend.published.selection import Selection, list_features
from backend.settings import Settings
from backend.web.clients import while_connected
from data.artifacts.features import EXAMPLE_KINDS
from data.layout import StorePaths
from pipeline.models.language_model import LanguageModel
from pipeline.models.sae import SAE
from pipeline.models.tokenizer import Tokenizer
from tests.support.fake_run import DEAD

TEXT = "the river of <script>alert(1)</script> University\ncafé 😀"
API = "/api/v1/attribution"


@pytest.fixture(scope="module")
def live(published_store: StorePaths) -> Iterator[TestClient]:
    app = create_app(Settings(store=published_store.root, max_prompt_tokens=120, max_new_tokens=24))
    app.user_middleware = [layer for layer in app.user_middleware if layer.cls is not GZipMiddleware]
    with TestClient(app) as client:
        yield client


@pytest.fixture(scope="module")
def plain(published_store: StorePaths) -> LanguageModel:
    return LanguageModel.load(published_store.models / "tiny", layer=1, dtype="float32", fused=False)


@pytest.fixture(scope="module")
def tokenizer(published_store: StorePaths) -> Tokenizer:
    return Tokenizer.load(published_store.models / "tiny")


def sae_of(client: TestClient, name: str = "1-relu-64") -> SAE:
    return SAE.load(client.app.state.library.catalogue().saes["tiny", name].folder)


def ablated_logits(plain: LanguageModel, sae: SAE, feature: int | None, tokens: list[int]) -> torch.Tensor:
    """Logits [L, V] with a feature taken out at every token but the opening one, by a hook."""

    def hook(module: object, inputs: object, output: torch.Tensor) -> torch.Tensor:
        if feature is None:
            return output
        changed = output.clone()
        changed[0, 1:] -= sae.encode(output[0, 1:])[:, [feature]] * sae.W_dec_FD[feature]
        return changed

    handle = plain.layers[1].register_forward_hook(hook)
    logits = plain.logits(torch.tensor([tokens]))[0]
    handle.remove()
    return logits


# ---- which features caused an output


def test_effects_are_those_of_ablation_by_hand(live: TestClient, plain: LanguageModel, tokenizer: Tokenizer) -> None:
    body = {"text": TEXT, "target": " the", "minus": "#70", "k": 20}
    found = live.post(API, json=body).json()
    sae, tokens = sae_of(live), [0, *tokenizer.encode(TEXT)]
    (target,) = tokenizer.encode(" the")
    assert (found["target"]["token"], found["minus"]["token"]) == (target, 70)
    assert [one["token"] for one in found["tokens"]] == tokens
    assert found["position"] == len(tokens) - 1

    def value(feature: int | None) -> float:
        logits = ablated_logits(plain, sae, feature, tokens)[-1]
        return float(logits[target] - logits[70])

    assert found["value"] == pytest.approx(value(None), abs=1e-4)
    listed = found["saes"][0]
    assert listed["ablated"] == 20
    effects = {one["feature"]["index"]: one["effect"] for one in listed["features"] if one["effect"] is not None}
    assert len(effects) == 20
    for index, effect in effects.items():
        assert effect == pytest.approx(value(None) - value(index), abs=2e-4)
    assert max(map(abs, effects.values())) > 1e-3


def test_ranks_and_correlation_are_those_of_the_columns(live: TestClient) -> None:
    listed = live.post(API, json={"text": TEXT, "target": "#70", "k": 300}).json()["saes"][0]
    features = listed["features"]
    assert listed["ablated"] == listed["total"] == len(features)
    for column in ("activation", "attribution", "effect"):
        sizes = [abs(one[column]) for one in sorted(features, key=lambda one: one[f"{column}_rank"])]
        assert sizes == sorted(sizes, reverse=True)
        assert sorted(one[f"{column}_rank"] for one in features) == list(range(1, len(features) + 1))
    assert [one["attribution_rank"] for one in features] == list(range(1, len(features) + 1))
    pairs = np.array([(one["attribution"], one["effect"]) for one in features])
    assert listed["correlation"] == pytest.approx(np.corrcoef(pairs.T)[0, 1], abs=1e-6)


def test_attribution_chooses_what_is_ablated_and_the_most_active_are_listed_too(live: TestClient) -> None:
    everything = live.post(API, json={"text": TEXT, "target": "#70", "k": 300}).json()["saes"][0]["features"]
    few = live.post(API, json={"text": TEXT, "target": "#70", "k": 5}).json()["saes"][0]
    ablated = [one for one in few["features"] if one["effect"] is not None]
    assert [one["feature"]["index"] for one in ablated] == [one["feature"]["index"] for one in everything[:5]]
    active = {one["feature"]["index"] for one in everything if one["activation_rank"] <= 5}
    assert active <= {one["feature"]["index"] for one in few["features"]}
    assert all(one["effect_rank"] is None for one in few["features"] if one["effect"] is None)
    none = live.post(API, json={"text": TEXT, "target": "#70", "k": 0}).json()["saes"][0]
    assert (none["ablated"], none["correlation"], none["features"]) == (0, None, [])


def test_every_sae_asked_for_answers(live: TestClient) -> None:
    names = ["tiny/1-batchtopk-64", "tiny/1-relu-256"]
    found = live.post(API, json={"text": TEXT, "target": "#70", "saes": names, "k": 4, "position": 3}).json()
    assert [one["sae"] for one in found["saes"]] == names
    assert all(one["token"] <= 3 for listed in found["saes"] for one in listed["features"])


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"target": ""}, 422, "no single token"),
        ({"target": "no such word at all"}, 422, "no single token"),
        ({"target": "#99999999"}, 422, "There is no token"),
        ({"target": "#70", "minus": "#70"}, 422, "minus itself"),
        ({"position": 4000}, 422, "there is no token 4000"),
        ({"position": -1}, 422, "position"),
        ({"text": " "}, 422, "empty"),
        ({"saes": ["tiny/none"]}, 404, "no SAE"),
        ({"k": 100_000}, 422, "k"),
    ],
)
def test_unfit_questions_are_refused(live: TestClient, change: dict[str, Any], status: int, words: str) -> None:
    answer = live.post(API, json={"text": TEXT, "target": "#70", **change})
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert words in answer.json()["detail"]


def test_without_a_model_it_is_off(client: TestClient) -> None:
    assert client.post(API, json={"text": TEXT, "target": "#70"}).status_code == 503


def test_a_correlation_needs_three_and_something_that_varies() -> None:
    three = np.array([1, 2, 4], np.float32)
    assert correlate(three, 2 * three) == pytest.approx(1)
    assert correlate(three[:2], three[:2]) is None
    assert correlate(three, np.ones(3, np.float32)) is None


# ---- which tokens made a feature fire, and which next tokens it changes


def alive_index(client: TestClient) -> int:
    """A feature with examples of every kind."""
    opened = client.app.state.library.catalogue().saes["tiny", "1-relu-64"]
    return list_features(opened, Selection(sort="density")).features[0].index


def test_causes_are_those_of_finite_differences(live: TestClient, plain: LanguageModel) -> None:
    index, sae = alive_index(live), sae_of(live)
    opened = live.app.state.library.catalogue().saes["tiny", "1-relu-64"]
    _, example = find_example(opened, index, "top", 2, 120)
    found = live.get(f"/api/v1/features/tiny/1-relu-64/{index}/examples/top/2/causes").json()
    assert found["activation"] == pytest.approx(example.activation, rel=1e-3)
    tokens = torch.tensor([[0, *example.upto]])
    embedding = plain.model.model.embed_tokens(tokens)

    def activation(place: int, factor: float) -> float:
        changed = embedding.clone()
        changed[0, place] *= factor
        x = plain._until(inputs_embeds=changed, use_cache=False).last_hidden_state[0, -1]
        return float(sae.W_enc_FD[index] @ x)

    with torch.no_grad():
        slopes = [(activation(p, 1.01) - activation(p, 0.99)) / 0.02 for p in range(tokens.shape[1])]
    assert found["opening"] == pytest.approx(slopes[0], abs=0.02)
    shown = [token["value"] for token in found["tokens"]]
    begin = 1 + len(example.before)
    assert shown[: example.place + 1] == pytest.approx(slopes[begin:], abs=0.02)
    assert shown[example.place + 1 :] == [None] * (len(shown) - example.place - 1)
    assert found["before"] == pytest.approx(sum(slopes[1:begin]), abs=0.05)
    assert found["scale"] == pytest.approx(max(map(abs, shown[: example.place + 1])))


def test_effects_are_changes_of_log_probabilities(live: TestClient, plain: LanguageModel) -> None:
    index, sae = alive_index(live), sae_of(live)
    opened = live.app.state.library.catalogue().saes["tiny", "1-relu-64"]
    _, example = find_example(opened, index, "top", 0, 120)
    found = live.get(f"/api/v1/features/tiny/1-relu-64/{index}/examples/top/0/effects").json()
    tokens = [0, *example.all]
    with_it, without = (ablated_logits(plain, sae, f, tokens).log_softmax(1) for f in (None, index))
    change = (with_it - without)[torch.arange(len(tokens) - 1), torch.tensor(tokens[1:])]
    shown = [token["value"] for token in found["tokens"]]
    assert shown == pytest.approx(change[len(example.before) :].tolist(), abs=2e-4)
    place = 1 + len(example.before) + example.place
    assert found["kl"] == pytest.approx(float((with_it.exp() * (with_it - without)).sum(1)[place]), abs=1e-5)
    for one in [*found["raised"], *found["lowered"]]:
        assert one["probability"] == pytest.approx(float(with_it[place, one["token"]].exp()), abs=1e-4)
        assert one["without"] == pytest.approx(float(without[place, one["token"]].exp()), abs=1e-4)
    assert [one["change"] for one in found["raised"]] == sorted(
        (one["change"] for one in found["raised"]), reverse=True
    )
    assert found["raised"][0]["change"] > 0 > found["lowered"][0]["change"]


def test_a_long_sequence_is_read_from_the_end_and_that_is_said(live: TestClient) -> None:
    opened = live.app.state.library.catalogue().saes["tiny", "1-relu-64"]
    for index in range(64):
        feature = get_feature(opened, index)
        for rank in range(feature.num_examples["top"]):
            _, whole = find_example(opened, feature.index, "top", rank, 120)
            if whole.before:
                least = len(whole.stretch) + 2
                _, cut = find_example(opened, feature.index, "top", rank, least)
                assert len(cut.all) + 1 == least
                assert cut.all == whole.all[-len(cut.all) :]
                assert cut.num_unread == len(whole.all) - len(cut.all)
                assert (cut.stretch, cut.place, whole.num_unread) == (whole.stretch, whole.place, 0)
                return
    pytest.fail("no example lies within its sequence")


@pytest.mark.parametrize("reading", ["causes", "effects"])
@pytest.mark.parametrize("kind", EXAMPLE_KINDS)
def test_every_kind_of_example_has_its_page(live: TestClient, reading: str, kind: str) -> None:
    index = alive_index(live)
    page = live.get(f"/tiny/1-relu-64/{index}/example", params={"kind": kind, "reading": reading})
    context = page.context
    if page.status_code == 422:  # lowest by pre-activation: the feature is silent there
        assert (kind, reading) == ("contrast", "causes")
        assert "silent" in context["problem"]
        assert context["problem"] in page.text
        return
    assert page.status_code == 200
    found = context[reading]
    assert [t.text for t in found.tokens if t.centre] == [found.tokens[context["example"].place].text]
    assert "<script>alert" not in page.text
    assert [link.current for link in context["readings"]] == [reading == "causes", reading == "effects"]


@pytest.mark.parametrize("rank", ["20", "-1", "x"])
def test_an_example_that_is_not_there_is_said(live: TestClient, rank: str) -> None:
    answer = live.get(f"/api/v1/features/tiny/1-relu-64/{DEAD}/examples/top/{rank}/causes")
    assert answer.status_code == (404 if rank == "20" else 422)
    assert answer.headers["content-type"] == "application/problem+json"


def test_without_a_model_the_page_says_why(pages: TestClient) -> None:
    page = pages.get("/tiny/1-relu-64/3/example")
    assert page.status_code == 200
    assert page.context["off"] in page.text.replace("&#39;", "'")


@pytest.mark.parametrize(("value", "step"), [(2, 6), (-2, -6), (0, 0), (1, 3), (-0.9, -3), (0.1, 0), (9, 6)])
def test_steps_of_colour_have_a_sign(value: float, step: int) -> None:
    assert signed_step(value, 2.0) == step
    assert signed_step(value, 0.0) == 0


# ---- longer work on the worker's thread


def test_short_calls_pass_between_steps() -> None:
    worker, order, entered = Worker(4), list[str](), threading.Event()
    go_on = threading.Event()

    def work() -> Iterator[int | None]:
        entered.set()
        assert go_on.wait(10)
        yield None
        order.append("long")
        yield 3

    job = Stepwise(worker, work)
    worker.submit(job)
    assert entered.wait(10)
    short = Call(lambda: order.append("short"))
    worker.submit(short)
    go_on.set()
    assert job.future.result(10) == 3
    assert order == ["short", "long"]
    worker.stop()


@pytest.mark.parametrize("end", [lambda worker, job: job.cancel(), lambda worker, job: worker.stop()])
def test_work_ends_at_the_step_where_it_is_cancelled(end: Callable[[Worker, Stepwise[int]], None]) -> None:
    worker, entered, go_on, steps = Worker(4), threading.Event(), threading.Event(), list[int]()

    def work() -> Iterator[int | None]:
        for step in range(100):
            steps.append(step)
            entered.set()
            assert go_on.wait(10)
            yield None
        yield 1

    job = Stepwise(worker, work)
    worker.submit(job)
    assert entered.wait(10)
    ending = threading.Thread(target=end, args=(worker, job))
    ending.start()
    assert job._cancelled.wait(10)
    go_on.set()
    ending.join(10)
    with pytest.raises(StoppedError):
        job.future.result(10)
    assert len(steps) < 100
    worker.stop()


def test_an_error_goes_to_who_asked() -> None:
    worker = Worker(4)

    def work() -> Iterator[int | None]:
        yield None
        raise ValueError("broken")

    job = Stepwise(worker, work)
    worker.submit(job)
    with pytest.raises(ValueError, match="broken"):
        job.future.result(10)
    worker.stop()


def test_a_closed_connection_cancels_the_work() -> None:
    async def run() -> bool:
        messages = [{"type": "http.request"}, {"type": "http.disconnect"}]
        ended = asyncio.Event()

        async def receive() -> dict[str, str]:
            return messages.pop(0)

        async def work() -> int:
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()
            return 1

        with pytest.raises(HTTPException, match="closed"):
            await while_connected(Request({"type": "http"}, receive), work())
        await asyncio.wait_for(ended.wait(), 10)
        return True

    assert asyncio.run(run())


def test_an_open_connection_waits_for_the_work() -> None:
    async def run() -> int:
        async def receive() -> dict[str, str]:
            await asyncio.Event().wait()
            return {}

        async def work() -> int:
            return 7

        return await while_connected(Request({"type": "http"}, receive), work())

    assert asyncio.run(run()) == 7


# ---- on the prompt page


def test_the_prompt_page_offers_likely_tokens_and_explains_one(
    live: TestClient, plain: LanguageModel, tokenizer: Tokenizer
) -> None:
    closed = live.get("/prompt", params={"text": TEXT}).context["attribution"]
    assert not closed.open
    offered = live.get(closed.open_href.partition("#")[0]).context["attribution"]
    expected = plain.logits(torch.tensor([[0, *tokenizer.encode(TEXT)]]))[0, -1].softmax(0).topk(8)
    assert [one.probability for one in offered.likely] == pytest.approx(expected.values.tolist(), rel=1e-3)
    page = live.get(offered.likely[2].href.partition("#")[0])
    section = page.context["attribution"]
    assert page.status_code == 200
    assert [one.current for one in section.likely] == [place == 2 for place in range(8)]
    (table,) = section.tables
    body = {"text": TEXT, "target": f"#{int(expected.indices[2])}"}
    answer = live.post(API, json=body).json()
    assert section.value == pytest.approx(answer["value"])
    listed = answer["saes"][0]["features"][: len(table.rows)]
    assert [row.feature.index for row in table.rows] == [one["feature"]["index"] for one in listed]
    assert "<script>alert" not in page.text


@pytest.mark.parametrize("by", ["effect", "activation"])
def test_the_table_sorts_by_each_column(live: TestClient, by: str) -> None:
    asked = {"text": TEXT, "target": "#70", "k": 20, "by": by, "sae": ["tiny/1-relu-64", "tiny/1-relu-256"]}
    section = live.get("/prompt", params=asked).context["attribution"]
    assert [table.sae for table in section.tables] == ["1-relu-64", "1-relu-256"]
    for table in section.tables:
        ranks = [getattr(row, f"{by}_rank") or 10**6 for row in table.rows]
        assert ranks == sorted(ranks)
        assert ranks[0] == 1
    assert [link.current for link in section.sorts] == [by == name for name in ("attribution", "effect", "activation")]
    assert ("target", "#70") not in section.hidden
    assert ("text", TEXT) in section.hidden


def test_all_that_was_worked_out_is_listed_when_asked(live: TestClient) -> None:
    page = live.get("/prompt", params={"text": TEXT, "target": "#70", "k": 50, "by": "effect", "sae": "tiny/1-relu-64"})
    (table,) = page.context["attribution"].tables
    assert len(table.rows) == 25 < table.listed
    assert f"The first 25 of {table.listed} are shown" in page.text
    href = page.context["attribution"].all_href.partition("#")[0]
    whole = live.get(href)
    (every,) = whole.context["attribution"].tables
    assert every.rows[:25] == table.rows
    assert len(every.rows) == every.listed == table.listed
    assert "Show all" not in whole.text
    assert f"1-relu-64 / {table.rows[0].feature.index}<" in page.text


@pytest.mark.parametrize(
    ("change", "words"),
    [({"target": "no such word"}, "no single token"), ({"target": "#70", "position": 900}, "there is no token 900")],
)
def test_what_is_wrong_with_a_target_is_said_beside_the_reading(
    live: TestClient, change: dict[str, Any], words: str
) -> None:
    page = live.get("/prompt", params={"text": TEXT, **change})
    assert page.status_code == 422
    assert words in page.context["attribution"].problem
    assert page.context["result"] is not None
    assert page.text.count('role="alert"') == 1


def test_an_empty_choice_of_the_form_is_the_last_token(live: TestClient) -> None:
    asked = {"text": TEXT, "target": "#70", "minus": "", "position": "", "k": "20"}
    section = live.get("/prompt", params=asked).context["attribution"]
    assert section.after == live.get("/prompt", params={"text": TEXT}).context["result"].tokens[-1].text
    assert [link.text for link in section.positions if link.current] == ["the last"]
    early = live.get("/prompt", params={**asked, "position": "2"}).context["attribution"]
    assert early.after == early.positions[3].text.partition(" ")[2]
    assert early.value != section.value
