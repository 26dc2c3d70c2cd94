"""Search by meaning: a run whose features at MEANING mean MEANT, and runs that cannot be searched so."""

import shutil
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from backend.published.catalogue import OpenRun
from backend.settings import Settings
from data.layout import StorePaths
from tests.support.fake_run import MEANING, MEANT, FakeRun, fake_recipe
from tests.support.pages import app_with_contexts
from tests.support.sentences import make_encoder

SAES = ["1-relu-64", "1-relu-256", "1-batchtopk-64"]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> StorePaths:
    store = StorePaths(tmp_path_factory.mktemp("meaning") / "store")
    encoder = make_encoder(store.models / "encoder")
    FakeRun(fake_recipe(embed={"source": str(encoder)}), store.run("fake")).publish()
    return store


@pytest.fixture
def meaning(store: StorePaths) -> Iterator[TestClient]:
    with TestClient(app_with_contexts(Settings(store=store.root, live=False))) as client:
        yield client


def found(client: TestClient, **asked: object) -> list[dict[str, object]]:
    answer = client.get("/api/v1/search", params={"per_page": 100, **asked})
    assert answer.status_code == 200, answer.text
    return answer.json()["hits"]


def test_what_means_the_same_is_found_without_its_words(meaning: TestClient) -> None:
    hits = found(meaning, q=MEANT)
    by_meaning = [hit for hit in hits if hit["found_in"] == ["meaning"]]
    assert {(hit["feature"]["sae"], hit["feature"]["index"]) for hit in by_meaning} == {(sae, MEANING) for sae in SAES}
    assert all(hit["cosine"] == pytest.approx(1, abs=1e-5) for hit in by_meaning)
    assert by_meaning == found(meaning, q=MEANT, **{"in": "meaning"})
    page = meaning.get("/search", params={"q": MEANT})
    assert page.context["hits"][0].by_meaning == "means nearly this (1.00)"
    assert page.context["meaning_off"] == ""
    assert "means nearly this" in page.text


@pytest.mark.parametrize("asked", [{"in": "label"}, {"alive": "false"}, {"alive": "all"}, {"min_density": 0.9}])
def test_other_searches_find_nothing_by_meaning(meaning: TestClient, asked: dict[str, object]) -> None:
    assert not any("meaning" in hit["found_in"] for hit in found(meaning, q=MEANT, **asked))


def test_it_keeps_to_an_sae_and_the_map_marks_the_same(meaning: TestClient) -> None:
    assert [hit["feature"]["sae"] for hit in found(meaning, q=MEANT, sae=SAES[1], **{"in": "meaning"})] == [SAES[1]]
    hits = meaning.get("/explore", params={"q": MEANT, "hide": SAES[1]}).context["hits"].hits
    assert {(hit.feature.sae, hit.feature.index) for hit in hits} >= {(sae, MEANING) for sae in (SAES[0], SAES[2])}


def test_a_word_that_is_begun_says_too_little(meaning: TestClient) -> None:
    assert found(meaning, q="b", **{"in": "meaning"}) == []


def test_a_run_whose_recipe_turns_it_off_says_so(pages: TestClient) -> None:
    answer = pages.get("/search", params={"q": "river"})
    assert "turns search by meaning off" in answer.context["meaning_off"]
    assert "turns search by meaning off" in answer.text
    assert all("meaning" not in view.hit.found_in for view in answer.context["hits"])
    assert found(pages, q="river", **{"in": "meaning"}) == []


def test_an_encoder_that_is_gone_or_another_is_said_and_words_are_found(store: StorePaths, meaning: TestClient) -> None:
    folder, aside = store.models / "encoder", store.models / "aside"
    folder.rename(aside)
    try:
        answer = meaning.get("/search", params={"q": "river"})
        assert answer.context["hits"]
        assert f"needs the sentence encoder of this run in {folder}" in answer.context["meaning_off"]
        make_encoder(folder, hidden_size=12)
        answer = meaning.get("/search", params={"q": "river"})
        assert answer.context["hits"]
        assert "another than that of this run" in answer.context["meaning_off"]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        aside.rename(folder)


def test_vectors_of_what_was_typed_are_kept(meaning: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    sentences = meaning.app.state.engine.sentences
    run: OpenRun = meaning.app.state.library.catalogue().runs[0]
    first = sentences.vector(run, MEANT)
    monkeypatch.setattr(type(sentences._loaded[1]), "encode", lambda *_: pytest.fail("encoded again"))
    assert (sentences.vector(run, f" {MEANT.replace(' ', '  ')} ") == first).all()
