"""Prompts and steering over HTTP, on a tiny random Llama, against the SAE itself."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from starlette.middleware.gzip import GZipMiddleware

from backend.app import create_app
from backend.settings import Settings
from data.layout import StorePaths
from pipeline.models.language_model import LanguageModel
from pipeline.models.sae import SAE
from pipeline.models.tokenizer import Tokenizer
from tests.fake_run import DEAD
from tests.serving import serving

TEXT = "the river of <script>alert(1)</script> University\ncafé 😀"
FEATURE = "tiny/1-relu-64/3"


@pytest.fixture(scope="module")
def live(published_store: StorePaths) -> Iterator[TestClient]:
    app = create_app(Settings(store=published_store.root, max_prompt_tokens=100, max_new_tokens=24))
    app.user_middleware = [layer for layer in app.user_middleware if layer.cls is not GZipMiddleware]
    with TestClient(app) as client:
        yield client


def sae_of(client: TestClient, name: str = "1-relu-64") -> SAE:
    return SAE.load(client.app.state.library.catalogue().saes["tiny", name].folder)


def read_by_hand(store: StorePaths, sae: SAE, text: str) -> tuple[list[int], np.ndarray]:
    """Tokens with one BOS, and dense activations [L, F] of all but it."""
    tokens = [0, *Tokenizer.load(store.models / "tiny").encode(text)]
    model = LanguageModel.load(store.models / "tiny", layer=1, dtype="float32")
    return tokens, sae.encode(model.residuals(torch.tensor([tokens]))[0, 1:]).numpy()


def steer(client: TestClient, **body: Any) -> list[tuple[str, dict[str, Any]]]:
    """Events of a request that must succeed."""
    asked = {"features": [{"feature": FEATURE, "strength": 4}], "prompt": "the river", "max_new_tokens": 6, **body}
    answer = client.post("/api/v1/steer", json=asked)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/event-stream")
    blocks = [block.split("\n") for block in answer.text.strip().split("\n\n")]
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in blocks]


def tokens_of(events: list[tuple[str, dict[str, Any]]], row: int) -> list[dict[str, Any]]:
    return [data for name, data in events if name == "token" and data["row"] == row]


# ---- prompts


def test_activations_are_those_of_the_sae_strongest_first(live: TestClient, published_store: StorePaths) -> None:
    found = live.post("/api/v1/activations", json={"text": TEXT}).json()
    tokens, acts_LF = read_by_hand(published_store, sae_of(live), TEXT)
    assert [token["token"] for token in found["tokens"]] == tokens
    assert [token["left_out"] for token in found["tokens"]] == [True, *[False] * len(acts_LF)]
    listed = found["saes"][0]
    assert listed["total"] == int((acts_LF.max(0) > 0).sum())
    assert listed["by_token"][0] == []
    for row_F, features in zip(acts_LF, listed["by_token"][1:], strict=True):
        expected = [int(f) for f in np.argsort(-row_F, kind="stable") if row_F[f] > 0][:12]
        assert [one["feature"]["index"] for one in features] == expected
        np.testing.assert_allclose([one["activation"] for one in features], row_F[expected], rtol=1e-4)
    strongest = np.argsort(-acts_LF.max(0), kind="stable")[: len(listed["overall"])]
    assert [one["feature"]["index"] for one in listed["overall"]] == strongest.tolist()
    first = listed["overall"][0]
    assert first["token"] == 1 + int(acts_LF[:, strongest[0]].argmax())
    assert first["share"] == pytest.approx(first["activation"] / first["feature"]["max"])


def test_several_saes_are_read_at_once_and_frequent_features_hidden(live: TestClient) -> None:
    names = ["tiny/1-relu-64", "tiny/1-batchtopk-64"]
    found = live.post("/api/v1/activations", json={"text": TEXT, "saes": names, "hide_density": 0.0501}).json()["saes"]
    assert [one["sae"] for one in found] == names
    assert found[0]["hidden"] > 0
    assert all(one["feature"]["density"] <= 0.0501 for one in found[0]["overall"])


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"text": " "}, 422, "empty"),
        ({"text": "a" * 300}, 422, "100"),
        ({"text": "a" * 30_000}, 422, "20000"),
        ({"text": "a", "saes": ["tiny/none"]}, 404, "no SAE"),
        ({"text": "a", "chat": True}, 422, "chat"),
        ({}, 422, "text"),
    ],
)
def test_unfit_texts_are_refused(live: TestClient, body: dict[str, Any], status: int, words: str) -> None:
    answer = live.post("/api/v1/activations", json=body)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert words in answer.json()["detail"]


# ---- steering


def test_a_clamp_holds_its_value_and_the_baseline_only_measures(live: TestClient, published_store: StorePaths) -> None:
    events = steer(live)
    maximum = live.get("/api/v1/features/tiny/1-relu-64/3").json()["max"]
    baseline, steered = tokens_of(events, 0), tokens_of(events, 1)
    _, acts_LF = read_by_hand(published_store, sae_of(live), "the river")
    prompt = [data["activations"][0] for data in baseline if data["probability"] is None]
    np.testing.assert_allclose(prompt, [0, *acts_LF[:, 3]], rtol=1e-3, atol=1e-3)
    assert [data["left_out"] for data in steered] == [True] + [False] * (len(steered) - 1)
    assert {round(data["activations"][0], 3) for data in steered[1:]} == {round(4 * maximum, 3)}
    assert (events[0][0], events[-1][0]) == ("queued", "done")
    assert events[-1][1]["num_tokens"] == sum(data["probability"] is not None for data in baseline + steered)


def test_off_equals_the_baseline_token_for_token_and_zero_ablates(live: TestClient) -> None:
    draw = {"temperature": 1.0, "top_p": 0.9, "seed": 5, "max_new_tokens": 20}
    off = steer(live, features=[{"feature": FEATURE, "strength": None}], **draw)
    assert [d["token"] for d in tokens_of(off, 0)] == [d["token"] for d in tokens_of(off, 1)]
    ablated = steer(live, features=[{"feature": FEATURE, "strength": 0}], **draw)
    assert all(data["activations"] == [0.0] for data in tokens_of(ablated, 1))
    assert [d["token"] for d in tokens_of(ablated, 0)] == [d["token"] for d in tokens_of(off, 0)]


def test_two_people_at_once_get_what_each_gets_alone(live: TestClient) -> None:
    asked = [
        {"features": [{"feature": FEATURE, "strength": 3}], "seed": 1, "temperature": 1.0},
        {"features": [{"feature": "tiny/1-relu-256/9", "strength": -2}], "prompt": "University", "max_new_tokens": 11},
    ]
    alone = [steer(live, **body) for body in asked]
    together: dict[int, list[tuple[str, dict[str, Any]]]] = {}
    threads = [threading.Thread(target=lambda i=i: together.update({i: steer(live, **asked[i])})) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i in range(2):
        for row in range(2):
            found, expected = tokens_of(together[i], row), tokens_of(alone[i], row)
            assert [d["token"] for d in found] == [d["token"] for d in expected]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"features": []}, "1 to 8 features"),
        ({"features": [{"feature": f"tiny/1-relu-64/{i}", "strength": 1} for i in range(10, 19)]}, "1 to 8 features"),
        ({"features": [{"feature": FEATURE, "strength": 11}]}, "-10 to 10"),
        ({"features": [{"feature": FEATURE, "strength": 1}] * 2}, "twice"),
        ({"features": [{"feature": f"tiny/1-relu-64/{DEAD}", "strength": 1}]}, "never active"),
        ({"features": [{"feature": "tiny/1-relu-64/64", "strength": 1}]}, "0 to 63"),
        ({"features": [{"feature": "nonsense", "strength": 1}]}, "model/sae/index"),
        ({"prompt": ""}, "empty"),
        ({"prompt": "a" * 105}, "shorten"),
        ({"max_new_tokens": 25}, "24"),
        ({"temperature": -1}, "temperature"),
    ],
)
def test_unfit_requests_are_refused_before_anything_is_written(
    live: TestClient, body: dict[str, Any], words: str
) -> None:
    asked = {"features": [{"feature": FEATURE, "strength": 4}], "prompt": "the", "max_new_tokens": 4, **body}
    answer = live.post("/api/v1/steer", json=asked)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert words in answer.json()["detail"]


def test_the_form_steers_without_javascript(live: TestClient) -> None:
    form = {"f": [f"{FEATURE}:4", ""], "s": ["3"], "prompt": "the river", "new_tokens": "5", "temperature": "0"}
    page = live.post("/steer", data=form)
    assert page.status_code == 200
    outcome = page.context["outcome"]
    events = steer(live, features=[{"feature": FEATURE, "strength": 3}], max_new_tokens=5)
    for row, column in enumerate(outcome.columns):
        expected = [d["text"] for d in tokens_of(events, row) if d["probability"] is not None]
        assert [token.text for token in column.written] == expected


def test_the_form_keeps_what_was_typed_and_says_what_is_wrong(live: TestClient) -> None:
    form = {"f": [f"{FEATURE}:4"], "s": ["12"], "prompt": "</textarea><b>river", "new_tokens": "5"}
    page = live.post("/steer", data=form)
    assert page.status_code == 422
    assert "-10 to 10" in page.text
    assert "&lt;/textarea&gt;&lt;b&gt;river" in page.text
    page = live.get("/steer", params={"f": ["http://somewhere:8000/tiny/1-relu-64/3", "tiny/none/1"], "prompt": "x"})
    assert [chip.argument for chip in page.context["outcome"].chips] == [f"{FEATURE}:2"]
    assert "names no feature" in page.text


# ---- the engine's limits


def test_a_full_queue_answers_503_with_what_to_do(live: TestClient) -> None:
    worker = live.app.state.engine.worker
    capacity, worker._capacity = worker._capacity, 0
    try:
        answer = live.post("/api/v1/activations", json={"text": "the"})
    finally:
        worker._capacity = capacity
    assert answer.status_code == 503
    assert "try again" in answer.json()["detail"]


def test_an_sae_beyond_the_memory_limit_is_refused(published_store: StorePaths) -> None:
    settings = Settings(store=published_store.root, live_sae_gb=2e-5)  # one of 64 features fits, one of 256 does not
    with TestClient(create_app(settings)) as client:
        for name, status in {"1-relu-64": 200, "1-batchtopk-64": 200, "1-relu-256": 503}.items():
            answer = client.post("/api/v1/activations", json={"text": "the", "saes": [f"tiny/{name}"]})
            assert answer.status_code == status
        assert "MONOSEMA_LIVE_SAE_GB" in answer.json()["detail"]
        assert len(client.app.state.engine.models.sae_sizes()) == 1


def test_without_the_model_pages_say_why_and_the_api_refuses(published_store: StorePaths, tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.mkdir()
    for path in published_store.root.iterdir():
        if path.name != "models":
            (store / path.name).symlink_to(path)
    for settings, words in (
        (Settings(store=store), "not on this machine"),
        (Settings(store=store, live=False), "LIVE=0"),
    ):
        with TestClient(create_app(settings)) as client:
            for path in ("/prompt?text=the", f"/steer?f={FEATURE}"):
                page = client.get(path)
                assert page.status_code == 200
                assert words in page.text
            answer = client.post("/api/v1/activations", json={"text": "the"})
            assert answer.status_code == 503
            assert words in answer.json()["detail"]
            body = {"features": [{"feature": FEATURE, "strength": 1}], "prompt": "the"}
            assert client.post("/api/v1/steer", json=body).status_code == 503


def test_a_failure_in_mid_stream_ends_with_an_error_event(live: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.models.decoder import Decoder

    read, calls = Decoder.read, []

    def fail(self: Decoder, *arguments: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) > 2:
            raise RuntimeError("broken on purpose")
        return read(self, *arguments, **options)

    monkeypatch.setattr(Decoder, "read", fail)
    events = steer(live)
    assert events[-1][0] == "error"
    assert events[-1][1]["status"] == 500
    monkeypatch.undo()
    assert steer(live)[-1][0] == "done"


def test_every_request_of_a_batch_is_told_when_it_fails(live: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first request waits for the second before it looks for companions, so that both are in one batch."""
    from backend.engine_steer import Writer
    from pipeline.models.decoder import Decoder

    write, worker, reads = Writer.write, live.app.state.engine._worker, []

    def write_when_two_wait(self: Writer, first: Any) -> None:
        while not any(isinstance(job, type(first)) for job in worker._waiting):
            with worker._changed:
                assert worker._changed.wait_for(lambda: worker._waiting, 20)
            worker.run_short()
        write(self, first)

    def fail(self: Decoder, *arguments: Any, **options: Any) -> Any:
        reads.append(1)
        raise RuntimeError("broken on purpose")

    monkeypatch.setattr(Writer, "write", write_when_two_wait)
    monkeypatch.setattr(Decoder, "read", fail)
    told: dict[int, list[tuple[str, dict[str, Any]]]] = {}

    def ask(seed: int) -> None:
        told[seed] = steer(live, seed=seed)

    threads = [threading.Thread(target=ask, args=(seed,), daemon=True) for seed in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [told[i][-1][0] for i in range(2)] == ["error", "error"]
    assert len(reads) == 1, "the two were not in one batch"
    monkeypatch.undo()
    assert steer(live)[-1][0] == "done"


def test_a_closed_connection_frees_the_worker(live: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real server; the model waits before its second step until the server has seen that the listener is gone."""
    from pipeline.models.decoder import Decoder

    read, jobs = Decoder.read, []
    worker = live.app.state.engine.worker

    def wait(self: Decoder, *arguments: Any, **options: Any) -> Any:
        jobs.append(worker._current)
        if len(jobs) > 1:
            jobs[0]._cancelled.wait(20)
        return read(self, *arguments, **options)

    monkeypatch.setattr(Decoder, "read", wait)
    asked = {"features": [{"feature": FEATURE, "strength": 4}], "prompt": "the river", "max_new_tokens": 24}
    with serving(live.app, lifespan="off") as address:
        with httpx.stream("POST", f"{address}/api/v1/steer", json=asked, timeout=20) as answer:
            assert any(line == "event: token" for line in answer.iter_lines())
        assert jobs[0]._cancelled.wait(20)
        assert httpx.post(f"{address}/api/v1/activations", json={"text": "the"}, timeout=20).status_code == 200
    assert len(jobs) <= 2
