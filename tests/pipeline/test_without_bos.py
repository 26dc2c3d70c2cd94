"""A model without BOS, as Qwen is, from text to pages: nothing opens a text but its own first token."""

import json
import re
from collections.abc import Iterator

import numpy as np
import pytest
from fastapi.testclient import TestClient

from backend.settings import Settings
from data.artifacts.corpus import TokenizedCorpus
from data.layout import RunPaths, StorePaths
from pipeline.doctor.doctor import run_doctor
from pipeline.recipe import ReadRecipe, make_recipe
from pipeline.runs import run_checked
from tests.support.models import byte_tokenizer, tiny_llama
from tests.support.pages import app_with_contexts
from tests.support.text_folder import make_word_folder

SAE = "/q/1-relu-32"


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> RunPaths:
    """A whole run."""
    folder = tmp_path_factory.mktemp("without")
    model, texts, store = folder / "model", folder / "texts", StorePaths(folder / "store")
    tiny_llama().save_pretrained(model)
    tokenizer = byte_tokenizer()
    tokenizer.bos_token, tokenizer.eos_token = None, "<|im_end|>"
    tokenizer.save_pretrained(model)
    make_word_folder(texts, 40, 60)
    recipe = make_recipe(
        {
            "name": "q",
            "corpus": {"source": "text", "path": str(texts), "held_out_fraction": 0.3},
            "model": {"name": "q", "source": str(model), "layer": 1, "dtype": "float32"},
            "tokenize": {"context_length": 64},
            "train": {
                "batch_size": 64,
                "saes": [{"architecture": "relu", "num_features": 32, "l1_coefficient": 0.5}],
            },
            "examples": {"rare_tokens": 5},
            "respond": {"candidates": 0},
            "strengths": {"features": 0},
            "effects": {"features": 16},
        }
    )
    run_checked(ReadRecipe(recipe, [], frozenset()), store.run("q"))
    return store.run("q")


@pytest.fixture(scope="module")
def pages(paths: RunPaths) -> Iterator[TestClient]:
    with TestClient(app_with_contexts(Settings(store=paths.store.root))) as client:
        yield client


def test_every_token_but_a_documents_first_is_read_once(paths: RunPaths) -> None:
    corpus = TokenizedCorpus(paths.stage("tokenize"))
    lengths_D = corpus.documents["num_tokens"].to_numpy()
    counted_D = np.bincount(corpus.sequences["document"], corpus.sequences["length"], minlength=len(lengths_D))
    assert (counted_D == lengths_D - 1).all()
    assert (corpus.sequences["start"] % 63 == 1).all()


def test_what_is_published_comes_out_again(paths: RunPaths) -> None:
    assert run_doctor(paths.store, "q", False)


def test_pages_read_texts_as_the_harvest_did(pages: TestClient) -> None:
    for index in range(3):
        document = pages.get(f"{SAE}/{index}?context=full").context["examples"].document
        assert document.num_known == document.num_tokens
        values = [token.value for stretch in document.stretches for token in stretch.tokens]
        assert values[0] == 0, "the document's first token opens it"
        assert values[document.position] == pytest.approx(document.activation, rel=0.01)
        for rank in range(3):
            examples = f"/api/v1/features{SAE}/{index}/examples/top/{rank}"
            causes, effects = (pages.get(f"{examples}/{kind}").json() for kind in ("causes", "effects"))
            stored = pages.get(f"/api/v1/features{SAE}/{index}/examples").json()[rank]
            assert causes["activation"] == pytest.approx(stored["activation"], rel=0.01)
            assert len(effects["tokens"]) == len(stored["tokens"])


def test_a_prompt_begins_with_its_own_first_token(pages: TestClient) -> None:
    reading = pages.post("/api/v1/activations", json={"text": "the king", "saes": [SAE[1:]]}).json()
    assert "".join(token["text"] for token in reading["tokens"]).replace("␣", " ") == "the king"
    assert [token["left_out"] for token in reading["tokens"]] == [True] + [False] * 7


def test_a_steered_text_is_shown_from_its_first_token_on(pages: TestClient) -> None:
    body = {"features": [{"feature": f"{SAE[1:]}/1", "strength": 2}], "prompt": "the king", "max_new_tokens": 3}
    events = pages.post("/api/v1/steer", json=body).text
    shown = [json.loads(line.removeprefix("data: ")) for line in events.splitlines() if line.startswith("data: {")]
    plain = [one for one in shown if one.get("row") == 0 and "token" in one and one["probability"] is None]
    assert "".join(token["text"] for token in plain) == "the king"
    assert [token["left_out"] for token in plain] == [True] + [False] * 7
    result = next(one["result"] for one in shown if one.get("result"))
    given = re.findall(r'class="given"[^>]*>([^<]*)<', pages.get(result).text)
    assert "".join(given[: len(given) // 2]).split() == ["the", "king"]
