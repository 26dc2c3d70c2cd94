"""The stage, on the fake run: everything is kept, twice is nothing new, and a click writes what was measured."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from backend.settings import Settings
from data.artifacts.responses import RESPONSES_FILE, Responses
from data.layout import RunPaths, StorePaths
from data.published.state import open_published
from data.published.tables import PublishedRun
from pipeline.influence import candidates, evidence, responses
from pipeline.influence.writing import Writer
from pipeline.models.tokenizer import Tokenizer
from pipeline.recipe import Recipe
from pipeline.stages import publish, respond
from tests.support.fake_run import fake_recipe
from tests.support.models import CHAT_TEMPLATE, model_that_cannot_be_steered
from tests.support.steering import steering_server


@pytest.fixture
def run(published_store: StorePaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunPaths:
    """A copy of the fake run before its responses were measured; its features are too dense, and about nothing."""
    for module, limits in {
        candidates: {"MAX_DENSITY": 1.0, "MAX_SHARE": 1.0, "MIN_LIFT": 0.5, "MIN_LETTERS": 2},
        evidence: {"MIN_LOG_ODDS": -9.0, "MAX_SHARE": 1.0},
        responses: {"MIN_MOVED": -1.0, "MIN_DISTINCT": 0.0, "MAX_RUN": 99, "MIN_WORDS": 0, "MAX_RATIO": 1e9},
    }.items():
        for name, value in limits.items():
            monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(candidates.Candidate, "is_named", True)
    shutil.copytree(published_store.root, tmp_path / "store")
    paths = StorePaths(tmp_path / "store").run("fake")
    shutil.rmtree(paths.stage("respond"))
    config = paths.store.models / "tiny" / "tokenizer_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "chat_template": CHAT_TEMPLATE}))
    return paths


def asked(**changes: Any) -> Recipe:
    config = {"candidates": 12, "tried": 4, "tried_tokens": 4, "written": 3, "new_tokens": 8, "strengths": [1.0, 2.0]}
    return fake_recipe(respond={**config, **changes})


def found_in(paths: RunPaths) -> dict[str, Any]:
    return dict(json.loads((paths.stage("respond") / RESPONSES_FILE).read_text()))


def shown_in(paths: RunPaths) -> Responses:
    return Responses.from_json(found_in(paths)["shown"])


def test_everything_that_was_measured_is_kept(run: RunPaths) -> None:
    manifest = respond.run(asked(), run)
    found, config = found_in(run), asked().respond
    assert found["shown"]["why_none"] is None
    assert len(found["probed"]) == found["shown"]["probed"] == manifest.counts["probed"] > 4
    assert [one["gain"] for one in found["probed"]] == sorted((one["gain"] for one in found["probed"]), reverse=True)
    openings = [*config.chats, *config.openings]
    written = [one for one in found["measured"] if one["strength"] in config.strengths]
    features = {(one["sae"], one["index"]) for one in found["measured"]}
    assert len(features) == config.tried
    assert {one["opening"] for one in written} == set(openings)
    assert all(one["chat"] is (one["opening"] in config.chats) for one in written)


def test_the_best_strengths_are_published(run: RunPaths) -> None:
    respond.run(asked(), run)
    publish.run(asked(), run)
    published, best = open_published(run.store, "fake"), found_in(run)["best_strengths"]
    table = PublishedRun(published.folder).list_features("best_strength IS NOT NULL", ["sae", "index", "best_strength"])
    rows = {(row["sae"], str(row["index"])): row["best_strength"] for row in table.to_pylist()}
    assert rows == {(sae, index): s for sae, features in best.items() for index, s in features.items()} != {}
    assert Responses.from_json(published.record.responses) == shown_in(run)


def test_without_a_chat_template_no_chats_are_measured(run: RunPaths, capsys: pytest.CaptureFixture[str]) -> None:
    config = run.store.models / "tiny" / "tokenizer_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "chat_template": None}))
    respond.run(asked(), run)
    assert shown_in(run).chats == ()
    assert shown_in(run).openings != ()
    assert "no chat template" in capsys.readouterr().err


def test_a_second_run_does_nothing_and_a_killed_one_gives_the_same(
    run: RunPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Writer, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            respond.run(asked(), run)
    assert not run.stage("respond").exists()
    manifest = respond.run(asked(), run)
    content = found_in(run)
    with monkeypatch.context() as patch:
        patch.setattr(Writer, "write", killed)
        assert respond.run(asked(), run) == manifest
    shutil.rmtree(run.stage("respond"))
    respond.run(asked(), run)
    assert found_in(run) == content


def test_without_candidates_nothing_is_measured(run: RunPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(respond, "load_language_model", lambda *arguments: pytest.fail("the model is not needed"))
    respond.run(asked(candidates=0), run)
    shown = shown_in(run)
    assert "candidates=0" in str(shown.why_none)
    assert (shown.probed, shown.written, shown.responded, shown.chats, shown.openings) == (0, 0, 0, (), ())


def test_a_model_that_cannot_be_written_with_says_so(run: RunPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(respond, "load_language_model", lambda *arguments: model_that_cannot_be_steered())
    respond.run(asked(), run)
    assert "this model cannot be steered: its rotary embedding ('dynamic')" in str(shown_in(run).why_none)
    publish.run(asked(), run)
    published = Responses.from_json(open_published(run.store, "fake").record.responses)
    assert "cannot be steered" in str(published.why_none)
    assert published.chats == ()


def test_a_click_writes_what_was_measured_and_its_result_outlives_a_republish(run: RunPaths) -> None:
    respond.run(asked(), run)
    publish.run(asked(), run)
    measured = Responses.from_json(open_published(run.store, "fake").record.responses)
    assert measured.chats
    assert measured.openings
    settings = Settings(store=run.store.root, max_new_tokens=48)
    with steering_server(settings) as server:
        page = server.http.get("/steer").text
        for one in (*measured.chats, *measured.openings):
            name = f"tiny/{one.sae}/{one.index}"
            assert f"f={name.replace('/', '%2F')}%3A{one.best_strength:g}" in page
            events = server.steer(
                features=[{"feature": name, "strength": one.best_strength}], prompt=one.opening, chat=one.chat,
                max_new_tokens=one.new_tokens,
            )  # fmt: skip
            for row, text in enumerate((one.baseline.text, one.best.text)):
                tokens = [data["token"] for _, event, data in events if event == "token" and data["row"] == row
                          and data["probability"] is not None]  # fmt: skip
                assert Tokenizer.load(run.store.models / "tiny").decode(tokens) == text
        address = events[0][2]["result"]
        before = server.http.get(address)
        assert before.status_code == 200
        respond.run(asked(candidates=0), run)
        publish.run(asked(candidates=0), run)
        after = server.http.get(address)
        assert after.status_code == 200
        assert one.opening in after.text
        assert "no candidates" in server.http.get("/steer").text
