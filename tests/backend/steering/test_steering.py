"""Steering over HTTP, on a tiny random Llama: what is written, and that it is the same whoever else asks."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from backend.settings import Settings
from data.layout import StorePaths
from pipeline.models.language_model import LanguageModel
from pipeline.models.sae import SAE
from pipeline.models.tokenizer import Tokenizer
from tests.support.fake_run import DEAD
from tests.support.steering import (
    FEATURE,
    SECONDS,
    Event,
    Server,
    brake,
    copied_database,
    events_of,
    ids,
    steering_server,
    tokens_of,
    waiting,
)
from tests.support.strengths import RISING

DRAW = {"temperature": 1.0, "top_p": 0.9, "seed": 5, "max_new_tokens": 20}
OTHER = "tiny/1-relu-256/9"


@pytest.fixture(scope="module")
def server(published_store: StorePaths, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    url = copied_database(published_store, tmp_path_factory.mktemp("steering"))
    settings = Settings(store=published_store.root, database_url=url, max_prompt_tokens=100, max_new_tokens=24)
    with steering_server(settings) as server:
        yield server


@pytest.fixture(autouse=True)
def _forget(server: Server) -> None:
    server.forget()


@pytest.fixture
def maximum(server: Server) -> float:
    """Of FEATURE."""
    return float(server.http.get(f"/api/v1/features/{FEATURE}").json()["max"])


def activations(events: list[Event], row: int, *, written: bool) -> list[float]:
    """Of the first feature, at the tokens that are not left out."""
    tokens = [data for data in tokens_of(events, row) if (data["probability"] is not None) is written]
    return [data["activations"][0] for data in tokens if not data["left_out"]]


def by_hand(server: Server, store: StorePaths, text: str) -> list[float]:
    """Activations of FEATURE on the tokens of a text but the opening one."""
    sae = SAE.load(server.app.state.library.catalogue().saes["tiny", "1-relu-64"].folder)
    tokens = [0, *Tokenizer.load(store.models / "tiny").encode(text)]
    model = LanguageModel.load(store.models / "tiny", layer=1, dtype="float32")
    return sae.encode(model.residuals(torch.tensor([tokens]))[0, 1:])[:, 3].tolist()


# ---- what is done to a feature


def test_a_clamp_holds_its_value_and_the_baseline_only_measures(
    server: Server, published_store: StorePaths, maximum: float
) -> None:
    events = server.steer()
    baseline, steered = tokens_of(events, 0), tokens_of(events, 1)
    expected = by_hand(server, published_store, "the river")
    np.testing.assert_allclose(activations(events, 0, written=False), expected, rtol=1e-3, atol=1e-3)
    assert [data["left_out"] for data in steered] == [True] + [False] * (len(steered) - 1)
    assert {round(data["activations"][0], 3) for data in steered[1:]} == {round(4 * maximum, 3)}
    assert [number for number, _, _ in events] == list(range(1, len(events) + 1))
    assert (events[0][1], events[-1][1]) == ("run", "done")
    assert events[0][2]["rows"] == ["Plain", "Steered"]
    assert events[-1][2]["num_tokens"] == sum(data["probability"] is not None for data in baseline + steered)


def test_off_equals_the_baseline_token_for_token_and_zero_measures_zero(server: Server) -> None:
    off = server.steer(features=[{"feature": FEATURE, "strength": None}], **DRAW)
    assert ids(off, 0) == ids(off, 1)
    zero = server.steer(features=[{"feature": FEATURE, "strength": 0}], **DRAW)
    assert all(data["activations"] == [0.0] for data in tokens_of(zero, 1))
    assert ids(zero, 0) == ids(off, 0)


def test_adding_adds_and_ablating_takes_out(server: Server, maximum: float) -> None:
    events = server.steer(mode="add")
    own = np.array(activations(events, 0, written=False))
    np.testing.assert_allclose(activations(events, 1, written=False), own + 4 * maximum, rtol=1e-3)
    ablated = server.steer(mode="ablate", features=[{"feature": FEATURE, "strength": 3}])
    assert all(data["activations"] == [0.0] for data in tokens_of(ablated, 1))


def test_only_what_is_written_is_steered_when_asked(server: Server, maximum: float) -> None:
    events = server.steer(scope="written")
    assert activations(events, 1, written=False) == activations(events, 0, written=False)
    assert {round(value, 3) for value in activations(events, 1, written=True)} == {round(4 * maximum, 3)}


def test_a_sweep_writes_what_each_strength_writes_alone(server: Server) -> None:
    strengths = [-2, 0.5, 10]
    sweep = server.steer(sweep=True, strengths=strengths, max_new_tokens=5)
    assert sweep[0][2]["rows"] == ["Plain", "−2×", "0.5×", "10×"]
    for row, strength in enumerate(strengths, start=1):
        alone = server.steer(features=[{"feature": FEATURE, "strength": strength}], max_new_tokens=5)
        assert ids(sweep, row) == ids(alone, 1)
        assert ids(sweep, 0) == ids(alone, 0)


def test_a_sweep_has_the_strengths_that_work_by_default(server: Server) -> None:
    rows = server.steer(sweep=True, max_new_tokens=1)[0][2]["rows"]
    assert rows == ["Plain", "0.5×", "1×", "1.5×", "2×", "3×"]


BROKEN = "Measured: the text breaks from 4× on."
"""Of the curve of RISING, see tests/support/strengths.py."""


def notes_of(events: list[Event]) -> list[str]:
    """What is said below each text."""
    ends = {data["row"]: data["note"] for _, name, data in events if name == "end"}
    return [ends[row] for row in sorted(ends)]


def test_texts_at_which_the_run_measured_that_they_break_say_so_and_so_does_their_result(server: Server) -> None:
    held = f"tiny/1-relu-64/{RISING}"
    features = [{"feature": held, "strength": 4}]
    sweep = server.steer(features=features, sweep=True, strengths=[2, 3.5, 4, 8, -8], max_new_tokens=3)
    assert [BROKEN in note for note in notes_of(sweep)] == [False, False, False, True, True, False]
    alone = server.steer(features=features, max_new_tokens=3)
    assert [BROKEN in note for note in notes_of(alone)] == [False, True]
    page = server.http.get(alone[-1][2]["result"]).text
    assert page.count(BROKEN) == 1
    assert [row["note"] for row in server.http.get(f"{sweep[-1][2]['result']}.json").json()["rows"]].count(BROKEN) == 2
    both = [*features, {"feature": FEATURE, "strength": 8}]
    assert notes_of(server.steer(features=both, max_new_tokens=3))[1].startswith(
        "Measured: the text breaks from 4× on of "
    )


@pytest.mark.parametrize("asked", [{"mode": "add"}, {"mode": "ablate"}, {"scope": "written"}])
def test_curves_say_nothing_of_what_is_steered_otherwise(server: Server, asked: dict[str, str]) -> None:
    features = [{"feature": f"tiny/1-relu-64/{RISING}", "strength": 8}]
    assert not any(BROKEN in note for note in notes_of(server.steer(features=features, max_new_tokens=3, **asked)))


# ---- others at the same time


def test_the_baseline_after_a_steered_request_equals_the_one_before(server: Server) -> None:
    off = {"features": [{"feature": FEATURE, "strength": None}], **DRAW}
    before = server.steer(**off)
    server.steer(features=[{"feature": FEATURE, "strength": 10}, {"feature": OTHER, "strength": -10}], **DRAW)
    server.forget()
    after = server.steer(**off)
    assert after[-1][2]["stored"] is False
    assert [tokens_of(after, row) for row in range(2)] == [tokens_of(before, row) for row in range(2)]


def test_two_people_at_once_get_what_each_gets_alone(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a third one holds the model, two wait; they are written in one batch."""
    asked = [
        {"features": [{"feature": FEATURE, "strength": 3}], "seed": 1, "temperature": 1.0, "max_new_tokens": 9},
        {"features": [{"feature": OTHER, "strength": -2}], "prompt": "University", "max_new_tokens": 9, "mode": "add"},
    ]
    alone = [server.steer(**body) for body in asked]
    server.forget()
    with brake(monkeypatch) as held, server.open("third", seed=77, max_new_tokens=1) as third:
        assert held.reached.wait(SECONDS)
        with waiting(server, "one", **asked[0]) as (one, _), waiting(server, "two", **asked[1]) as (two, _):
            held.let_go.set()
            together = [one.result(), two.result()]
        third.read()
    for i in range(2):
        for row in range(2):
            assert ids(together[i], row) == ids(alone[i], row)
    assert held.reads == 2 + 1 + 9, "the two were not written in one batch"


def test_a_failure_in_mid_stream_tells_everybody_in_the_batch(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The third one has had its text by then."""
    with brake(monkeypatch) as held, server.open("third", seed=77, max_new_tokens=1) as third:
        assert held.reached.wait(SECONDS)
        with waiting(server, "one", seed=1) as (one, _), waiting(server, "two", seed=2) as (two, _):
            held.broken = True
            held.let_go.set()
            for events in (one.result(), two.result()):
                assert events[-1][1] == "error"
                assert events[-1][2]["status"] == 500
        assert list(events_of(third))[-1][1] == "done"
    assert held.reads == 2 + 1, "the two were not in one batch"
    again = server.steer(seed=1)
    assert (again[-1][1], again[-1][2]["stored"]) == ("done", False)


# ---- refusals


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"features": []}, "1 to 8 features"),
        ({"features": [{"feature": f"tiny/1-relu-64/{i}", "strength": 1} for i in range(10, 19)]}, "1 to 8 features"),
        ({"features": [{"feature": FEATURE, "strength": 11}]}, "-10 to 10"),
        ({"features": [{"feature": FEATURE, "strength": float("nan")}]}, "-10 to 10"),
        ({"features": [{"feature": FEATURE, "strength": float("inf")}]}, "-10 to 10"),
        ({"features": [{"feature": FEATURE, "strength": 1}] * 2}, "twice"),
        ({"features": [{"feature": f"tiny/1-relu-64/{DEAD}", "strength": 1}]}, "never active"),
        ({"features": [{"feature": "tiny/1-relu-64/64", "strength": 1}]}, "0 to 63"),
        ({"features": [{"feature": "nonsense", "strength": 1}]}, "model/sae/index"),
        ({"features": [{"feature": FEATURE, "strength": None}], "sweep": True}, "off"),
        ({"sweep": True, "strengths": []}, "1 to 7 strengths"),
        ({"sweep": True, "strengths": [1, 2, 3, 4, 5, 6, 7, 8]}, "1 to 7 strengths"),
        ({"sweep": True, "strengths": [1, 1]}, "named twice"),
        ({"sweep": True, "strengths": [11]}, "-10 to 10"),
        ({"history": [{"message": "a", "baseline": "b", "steered": "c"}]}, "Only a chat has turns"),
        ({"chat": True}, "no chat template"),
        ({"sweep": True, "mode": "ablate"}, "taken out"),
        ({"mode": "multiply"}, "mode"),
        ({"prompt": ""}, "empty"),
        ({"prompt": "a" * 105}, "shorten"),
        ({"prompt": "a" * 20_001}, "prompt"),
        ({"max_new_tokens": 25}, "24"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": float("nan")}, "temperature must be a finite number"),
        ({"top_p": 0}, "top_p"),
        ({"seed": -1}, "seed"),
    ],
)
def test_unfit_requests_are_refused_before_anything_is_written(
    server: Server, body: dict[str, Any], words: str
) -> None:
    content = json.dumps(server.body(**body))  # NaN and Infinity as Python's JSON writes them
    answer = server.http.post("/api/v1/steer", content=content, headers={"content-type": "application/json"})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert words in answer.json()["detail"]


def test_a_body_that_is_no_json_says_where(server: Server) -> None:
    answer = server.http.post("/api/v1/steer", content='{"prompt": }', headers={"content-type": "application/json"})
    assert answer.status_code == 422
    assert answer.json()["detail"] == "The body is not valid JSON: Expecting value (character 11)."
