"""Features that turn a text to their word: a planted one does, random ones do not, and repetition does not count."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from backend.settings import Settings
from data.artifacts.features import RESPONSES_FILE
from data.layout import RunPaths, StorePaths
from data.published.state import open_published
from pipeline.influence import candidates, responses
from pipeline.influence.candidates import Candidate
from pipeline.influence.responses import Case, Response, Writer, count_word, distinct_share, longest_run
from pipeline.models.language_model import LanguageModel
from pipeline.models.tokenizer import Tokenizer
from pipeline.recipe import Recipe
from pipeline.stages import publish, respond
from tests.support.fake_run import fake_recipe
from tests.support.models import byte_tokenizer, tiny_language_model, tiny_sae
from tests.support.steering import steering_server

WORD, OPENING, STRENGTH = "#", "I am a", 2.0
PLANTED, OTHERS = 3, range(4, 12)


@pytest.fixture(scope="module")
def writer() -> Writer:
    """Of a model and an SAE, one of whose features writes along the unembedding of WORD."""
    model, tokenizer, sae = tiny_language_model(), Tokenizer(byte_tokenizer()), tiny_sae()
    scale_D, W_U_VD = model.unembedding()
    direction_D = W_U_VD[tokenizer.encode(WORD)[0]] * scale_D
    sae.W_dec_FD[PLANTED] = direction_D / direction_D.norm()
    return Writer(model, tokenizer, {sae.header.name: sae}, 1e6, 16)


def candidate(index: int) -> Candidate:
    tokens = tuple(Tokenizer(byte_tokenizer()).encode(WORD))
    return Candidate("1-relu-24", index, "a mark", WORD, tokens, max=50.0)


def response(**changes: Any) -> Response:
    values = {
        "sae": "a", "index": 0, "label": "", "word": "x", "opening": "", "probability": 0.0, "strength": 1.0,
        "baseline": "", "steered": "", "baseline_count": 1, "steered_count": 3, "distinct": 0.34, "longest_run": 2,
        "ending": "length",
    }  # fmt: skip
    return Response(**{**values, **changes})


def test_the_probe_finds_the_planted_feature(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(responses, "BATCH_ROWS", 4)
    asked = [candidate(index) for index in (*OTHERS, PLANTED)]
    cases = [case for some in writer.probe(asked, OPENING, STRENGTH) for case in some]
    assert [case.candidate for case in cases] == asked
    assert max(cases, key=lambda case: case.probability).candidate.index == PLANTED
    assert cases[-1].probability > 0.3 > 10 * max(case.probability for case in cases[:-1])


def test_the_probe_is_the_probability_with_which_the_text_begins(writer: Writer) -> None:
    [case] = next(writer.probe([candidate(PLANTED)], OPENING, STRENGTH))
    [first] = next(writer.measure([case], [STRENGTH]))
    model, tokenizer = writer._model, writer._tokenizer
    tokens_BL = torch.tensor([[tokenizer.bos_id, *tokenizer.encode(OPENING)]])
    x_BLD, sae = model.residuals(tokens_BL), writer._saes["1-relu-24"]
    x_BLD[:, 1:] += (STRENGTH * 50 - sae.encode(x_BLD[0, 1:])[:, PLANTED, None]) * sae.W_dec_FD[PLANTED]
    by_hand = torch.softmax(model.logits_from(x_BLD)[0, -1], 0)[case.candidate.tokens[0]]
    assert case.probability == pytest.approx(float(by_hand), rel=1e-3)
    assert first.steered.startswith(WORD)


def test_a_planted_feature_writes_its_word_and_random_ones_do_not(
    writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(responses, "MIN_DISTINCT", 0.0)
    monkeypatch.setattr(responses, "MAX_RUN", 99)
    cases = [Case(candidate(index), OPENING, 0.0) for index in (PLANTED, *OTHERS)]
    found = [one for some in writer.measure(cases, [STRENGTH]) for one in some]
    assert [one.index for one in found if one.responds] == [PLANTED]
    assert found[0].steered_count == found[0].steered.count(WORD) >= 2
    assert {one.baseline for one in found} == {found[0].baseline}
    assert writer.confirm(cases[0], STRENGTH) == found[0]


def test_nothing_but_the_word_is_no_response(writer: Writer) -> None:
    [found] = next(writer.measure([Case(candidate(PLANTED), OPENING, 0.0)], [10.0]))
    assert set(found.steered) == {WORD}
    assert not found.responds


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, True),
        ({"steered_count": 2}, False),
        ({"baseline_count": 2}, False),
        ({"distinct": 0.33}, False),
        ({"longest_run": 3}, False),
        ({"ending": "stop"}, True),
        ({"ending": "broken"}, False),
    ],
)
def test_the_rule(changes: dict[str, Any], expected: bool) -> None:
    assert response(**changes).responds is expected


def test_words_count_where_they_stand_whole() -> None:
    assert count_word("king", "A King, the king. kings Viking king-size king") == 4
    assert count_word("c++", "C++ and c+++") == 2
    assert count_word("a.b", "axb") == 0


def test_runs() -> None:
    assert longest_run([1, 2, 2, 2, 1, 2]) == 3
    assert longest_run([]) == 0


def test_distinct_pairs() -> None:
    assert distinct_share([1, 2, 3]) == 1
    assert distinct_share([7, 7, 7, 7, 7]) == 1 / 4
    assert distinct_share([7]) == distinct_share([]) == 1


# ---- the stage, on the fake run


@pytest.fixture
def run(published_store: StorePaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunPaths:
    """A copy of the fake run before its responses were measured; its features are too dense for candidates."""
    monkeypatch.setattr(candidates, "MAX_DENSITY", 1.0)
    monkeypatch.setattr(candidates, "MAX_WORD_SHARE", 1.0)
    monkeypatch.setattr(candidates, "MIN_AGREEMENT", 0.2)
    shutil.copytree(published_store.root, tmp_path / "store")
    paths = StorePaths(tmp_path / "store").run("fake")
    shutil.rmtree(paths.stage("respond"))
    return paths


def asked(**changes: Any) -> Recipe:
    return fake_recipe(respond={"candidates": 12, "written": 2, "new_tokens": 8, **changes})


def found_in(paths: RunPaths) -> dict[str, Any]:
    return dict(json.loads((paths.stage("respond") / RESPONSES_FILE).read_text()))


def test_everything_that_was_measured_is_kept(run: RunPaths) -> None:
    manifest = respond.run(asked(), run)
    found, openings = found_in(run), asked().respond.openings
    assert found["why_none"] == ""
    names = {(one["sae"], one["index"]) for one in found["probed"]}
    assert len(found["probed"]) == len(names) * len(openings) == manifest.counts["probed"] > 3
    assert len(found["written"]) == 2 * len(openings) * 2
    for opening in openings:
        probed = sorted((one["probability"] for one in found["probed"] if one["opening"] == opening), reverse=True)
        written = [one["probability"] for one in found["written"] if one["opening"] == opening]
        assert sorted(set(written), reverse=True) == sorted(set(probed[:2]), reverse=True)


def test_candidates_are_about_the_word_of_their_top_examples(run: RunPaths, published_store: StorePaths) -> None:
    respond.run(asked(), run)
    tables = open_published(published_store, "fake")
    assert {one["sae"] for one in found_in(run)["probed"]} <= {sae.name for sae in tables.record.saes}
    words = [one["word"].casefold() for one in found_in(run)["probed"]]
    assert len(set(words)) * len(asked().respond.openings) == len(words), "each has another word"
    assert all(sum(letter.isalpha() for letter in word) >= 4 for word in words)


def test_a_second_run_does_nothing_and_a_killed_one_gives_the_same(
    run: RunPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Writer, "measure", killed)
        with pytest.raises(KeyboardInterrupt):
            respond.run(asked(), run)
    assert not run.stage("respond").exists()
    manifest = respond.run(asked(), run)
    content = found_in(run)
    with monkeypatch.context() as patch:
        patch.setattr(Writer, "measure", killed)
        assert respond.run(asked(), run) == manifest
    shutil.rmtree(run.stage("respond"))
    respond.run(asked(), run)
    assert found_in(run) == content


def test_without_candidates_nothing_is_measured(run: RunPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(respond, "load_language_model", lambda *arguments: pytest.fail("the model is not needed"))
    respond.run(asked(candidates=0), run)
    found = found_in(run)
    assert "candidates=0" in found["why_none"]
    assert found["probed"] == found["written"] == found["best"] == []


def test_a_model_that_cannot_be_written_with_says_so(run: RunPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=300, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2,
    )  # fmt: skip
    other = LanguageModel(Qwen2ForCausalLM(config), layer=1)
    monkeypatch.setattr(respond, "load_language_model", lambda *arguments: other)
    respond.run(asked(), run)
    assert "Qwen2ForCausalLM cannot be steered" in found_in(run)["why_none"]
    publish.run(asked(), run)
    published = open_published(run.store, "fake").record.responses
    assert "Qwen2ForCausalLM" in published["why_none"]
    assert published["best"] == []


def test_a_click_writes_what_was_measured_and_its_result_outlives_a_republish(
    run: RunPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(responses, "MIN_MORE", 0)
    monkeypatch.setattr(responses, "MIN_DISTINCT", 0.0)
    monkeypatch.setattr(responses, "MAX_RUN", 99)
    respond.run(asked(written=5), run)
    publish.run(asked(written=5), run)
    measured = open_published(run.store, "fake").record.responses
    assert len({one["opening"] for one in measured["best"]}) == 3
    settings = Settings(store=run.store.root, max_new_tokens=24)
    with steering_server(settings) as server:
        page = server.http.get("/steer").text
        for one in measured["best"]:
            name = f"tiny/{one['sae']}/{one['index']}"
            assert f"f={name.replace('/', '%2F')}%3A{one['strength']:g}" in page
            events = server.steer(
                features=[{"feature": name, "strength": one["strength"]}], prompt=one["opening"], max_new_tokens=8
            )
            for row, text in enumerate((one["baseline"], one["steered"])):
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
        assert one["opening"] in after.text
        assert "no candidates" in server.http.get("/steer").text
