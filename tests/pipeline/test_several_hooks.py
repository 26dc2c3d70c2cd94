"""A recipe of several layers and hooks, from a corpus to pages: each hook is a run, and the corpus is read once."""

from pathlib import Path
from typing import Any

import pytest
import torch
from fastapi.testclient import TestClient
from transformers import AutoModelForCausalLM, Qwen3Config

from backend.app import create_app
from backend.settings import Settings
from data.layout import RunPaths, StorePaths
from data.manifests import find_stage, load_manifest
from pipeline.commands import removing
from pipeline.doctor.doctor import run_doctor
from pipeline.models.language_model import LanguageModel
from pipeline.models.sae import load_header
from pipeline.recipe import ReadRecipe, Recipe, make_recipe
from pipeline.runs import is_complete, parts_of, run_checked
from tests.pipeline.test_architectures_end_to_end import ENDS, GROUPED, SIZES
from tests.support.models import byte_tokenizer
from tests.support.pages import Page, app_with_contexts
from tests.support.passes import count_passes
from tests.support.steering import copied_database, events_of, tokens_of
from tests.support.text_folder import make_word_folder

SAES = [
    {"architecture": "topk", "num_features": 32, "k": 4},
    {"architecture": "topk", "num_features": 16, "k": 4},
    {"architecture": "topk", "num_features": 32, "k": 4, "hook": "mlp"},
    {"architecture": "relu", "num_features": 16, "layer": 0},
]
RUNS = {"two": ["1-topk-32", "1-topk-16"], "two-1-mlp": ["1-mlp-topk-32"], "two-0": ["0-relu-16"]}
PLACES = {"two": "layer 1", "two-1-mlp": "the MLP of layer 1", "two-0": "layer 0"}


def recipe_in(folder: Path, saes: list[dict[str, Any]] = SAES) -> Recipe:
    return make_recipe(
        {
            "name": "two",
            "corpus": {"source": "text", "path": str(folder / "texts"), "held_out_fraction": 0.3},
            "model": {"name": "tiny", "source": str(folder / "model"), "layer": 1, "dtype": "float32"},
            "tokenize": {"context_length": 64},
            "train": {"batch_size": 64, "saes": saes},
            "harvest": {"keep_fraction": 0.8},
            "examples": {"rare_tokens": 5},
            "respond": {"candidates": 2, "chats": [], "openings": ["the"], "tried_tokens": 4, "new_tokens": 4},
            "effects": {"features": 8},
            "score": {"features": 0, "unlabelled": 0},
            "neurons": {"features": 8},
            "compare": {"n": 0},
            "completeness": {"lists": []},
            "strengths": {"features": 2, "strengths": [1, 2], "text_strengths": [], "positions": 2},
            "project": {"num_epochs": 10},
        }
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, texts, and the store of a whole run of the recipe."""
    folder = tmp_path_factory.mktemp("several")
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(Qwen3Config(**SIZES, **ENDS, **GROUPED)).save_pretrained(folder / "model")
    byte_tokenizer().save_pretrained(folder / "model")
    make_word_folder(folder / "texts", 30, 40)
    run(recipe_in(folder), folder)
    return folder


def run(recipe: Recipe, folder: Path) -> None:
    run_checked(ReadRecipe(recipe, [], frozenset()), paths_in(folder))


def paths_in(folder: Path, name: str = "two") -> RunPaths:
    return StorePaths(folder / "store").run(name)


def test_each_hook_has_a_run_of_its_own_from_one_reading(folder: Path) -> None:
    parts = parts_of(recipe_in(folder), paths_in(folder))
    assert {one.name: one.sae_names for one, _ in parts} == RUNS
    assert all(is_complete(*part) for part in parts)
    tokens = [load_manifest(paths.stage("tokenize")) for _, paths in parts]
    assert tokens[0] == tokens[1] == tokens[2]
    assert all(find_stage(paths, "harvest").counts["together_with"] == list(RUNS) for _, paths in parts)  # type: ignore[union-attr]
    headers = [load_header(paths_in(folder, name).stage("train") / sae) for name, saes in RUNS.items() for sae in saes]
    assert [(one.layer, one.hook) for one in headers] == [
        *[(1, "resid_post")] * 2, (1, "mlp"), (0, "resid_post"),
    ]  # fmt: skip
    assert all(run_doctor(paths.store, paths.run, False) for _, paths in parts)


def test_every_page_says_its_hook_and_acts_at_it(folder: Path) -> None:
    with TestClient(app_with_contexts(Settings(store=folder / "store"))) as pages:
        home = pages.get("/").context["comparisons"]
        assert {one.run.name: one.run.place for one in home} == PLACES
        newest = home[0].run.name
        for name, saes in RUNS.items():
            for sae in saes:
                page = pages.get(f"/tiny/{sae}")
                assert f", {PLACES[name]}." in page.text
                assert [link.text for link in page.context["siblings"]] == saes
                others = {other for run, of_run in RUNS.items() if run != name for other in of_run}
                assert {link.text for link in page.context["elsewhere"]} == others
                feature = f"tiny/{sae}/1"
                assert pages.get(f"/{feature}").status_code == 200
                assert {f"/explore?run={name}", f"/random?run={name}&sae={sae}"} <= Page(page.text).links()
                assert pages.get(f"/random?run={name}&sae={sae}").url.path.startswith(f"/tiny/{sae}/")
                focused = pages.get(f"/explore?f={feature}").context["asked"]
                assert (focused.f, focused.run) == (feature, "" if name == newest else name)
                read = pages.post("/api/v1/activations", json={"text": "the king", "saes": [f"tiny/{sae}"]})
                assert read.status_code == 200, read.text
                body = {"features": [{"feature": feature, "strength": 8}], "prompt": "the king", "max_new_tokens": 2}
                assert '"probability"' in pages.post("/api/v1/steer", json=body).text


def test_one_model_in_memory_serves_all_hooks(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Going from one hook to another and back loads nothing, and gives what a server of its own gives."""
    loads: list[int] = []
    load = LanguageModel.load

    def counted(*given: Any, **named: Any) -> LanguageModel:
        loads.append(1)
        return load(*given, **named)

    monkeypatch.setattr(LanguageModel, "load", counted)
    saes = ["1-topk-32", "1-mlp-topk-32", "0-relu-16"]
    asked = [(sae, text) for text in ("the king", "a river") for sae in saes]
    alone = {}
    for one in asked:
        with server_of(folder, tmp_path / f"{len(alone)}") as client:
            alone[one] = answers_of(client, *one)
    assert len(loads) == len(asked)
    with server_of(folder, tmp_path / "together") as client:
        assert {one: answers_of(client, *one) for one in asked} == alone
    assert len(loads) == len(asked) + 1


def server_of(folder: Path, own: Path) -> TestClient:
    """A server with a database of its own, so that no text is there already."""
    own.mkdir()
    url = copied_database(StorePaths(folder / "store"), own)
    return TestClient(create_app(Settings(store=folder / "store", database_url=url)))


def answers_of(client: TestClient, sae: str, text: str) -> tuple[Any, ...]:
    """What the model reads in a text, and every token that it writes behind it, with its probability."""
    read = client.post("/api/v1/activations", json={"text": text, "saes": [f"tiny/{sae}"]}).json()
    body = {"features": [{"feature": f"tiny/{sae}/1", "strength": 8}], "prompt": text, "max_new_tokens": 4}
    events = list(events_of(client.post("/api/v1/steer", json=body).text.split("\n")))
    return read, [tokens_of(events, row) for row in (0, 1)]


def test_a_hook_that_is_added_is_harvested_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {name: load_manifest(paths_in(folder, name).stage("publish")).key for name in RUNS}
    passes = count_passes(monkeypatch)
    run(recipe_in(folder), folder)
    assert passes == []
    run(recipe_in(folder, [*SAES, {"architecture": "relu", "num_features": 8, "hook": "attn"}]), folder)
    assert {name: load_manifest(paths_in(folder, name).stage("publish")).key for name in RUNS} == before
    assert passes
    assert "together_with" not in load_manifest(paths_in(folder, "two-1-attn").stage("harvest")).counts


def test_a_hook_that_is_taken_out_is_told_with_the_way_to_remove_its_run(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, fewer = StorePaths(folder / "store"), recipe_in(folder, SAES[:2])
    run(recipe_in(folder), folder)
    assert "unpublish two-" not in capsys.readouterr().err.replace("unpublish two-1-attn", "")
    run(fewer, folder)
    said = capsys.readouterr().err
    for name, place in (("two-1-mlp", "the MLP of layer 1"), ("two-0", "layer 0")):
        assert (
            f"run '{name}' is published, and no autoencoder of recipe 'two' reads its hook ({place}) any more" in said
        )
        assert f"`monosema unpublish {name}`" in said
    removing.unpublish(store, "two-0")
    assert not (store.published / "two-0").exists()
    with TestClient(app_with_contexts(Settings(store=store.root))) as pages:
        assert {one.run.name for one in pages.get("/").context["comparisons"]} >= {"two", "two-1-mlp"}
        assert pages.get("/tiny/0-relu-16").status_code == 404
        assert pages.get("/random?sae=1-topk-16").url.path.startswith("/tiny/1-topk-16/")
        assert pages.get("/random?sae=1-mlp-topk-32").url.path.startswith("/tiny/1-mlp-topk-32/")
        assert "There is no SAE" in pages.get("/random?sae=0-relu-16").text
    capsys.readouterr()
    run(fewer, folder)
    assert "two-0" not in capsys.readouterr().err
    run(recipe_in(folder), folder)
    with TestClient(app_with_contexts(Settings(store=store.root))) as pages:
        assert pages.get("/tiny/0-relu-16").status_code == 200
