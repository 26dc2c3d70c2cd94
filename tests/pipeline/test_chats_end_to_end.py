"""Conversations from a file of JSON lines to pages: only the assistant's tokens are learnt from, counted and shown."""

import re
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient

from backend.settings import Settings
from data.artifacts.corpus import COUNTED, TokenizedCorpus
from data.artifacts.shards import ROW
from data.layout import RunPaths, StorePaths
from data.manifests import load_manifest
from data.published.state import SAES_FOLDER, open_published
from data.published.tables import PublishedRun
from pipeline.activations.rows import harvested_rows
from pipeline.doctor.doctor import run_doctor
from pipeline.fetching.local import model_folder
from pipeline.models.language_model import LanguageModel
from pipeline.models.sae import SAE
from pipeline.recipe import ReadRecipe, make_recipe
from pipeline.runs import run_checked
from tests.support.chats import ASSISTANT, make_talking_model, write_talks
from tests.support.pages import app_with_contexts

NAME = "1-relu-32"


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> RunPaths:
    """A whole run. Not all rows are kept, so that examples come from the model in float32."""
    folder = tmp_path_factory.mktemp("chats")
    model, store = make_talking_model(folder / "model"), StorePaths(folder / "store")
    recipe = make_recipe(
        {
            "name": "talks",
            "corpus": {
                "source": "jsonl", "path": str(write_talks(folder / "talks.jsonl")), "held_out_fraction": 0.3,
                "turns": "assistant",
            },
            "model": {"name": "talks", "source": str(model), "layer": 1, "dtype": "float32"},
            "tokenize": {"context_length": 96},
            "harvest": {"keep_fraction": 0.9},
            "train": {"batch_size": 64, "saes": [{"architecture": "relu", "num_features": 32, "l1_coefficient": 0.5}]},
            "examples": {"rare_tokens": 5},
            "respond": {"candidates": 0},
            "strengths": {"features": 0},
            "effects": {"features": 16},
        }
    )  # fmt: skip
    run_checked(ReadRecipe(recipe, [], frozenset()), store.run("talks"))
    return store.run("talks")


@pytest.fixture(scope="module")
def naive_acts(paths: RunPaths) -> torch.Tensor:
    """Activations of all features on every token of the assistant in training conversations, one by one [N, F]."""
    corpus, counts = TokenizedCorpus(paths.stage("tokenize")), load_manifest(paths.stage("tokenize")).counts
    folder = model_folder(load_manifest(paths.stage("fetch")), paths)
    model = LanguageModel.load(folder, layer=1, dtype="float32", device="cpu", only_until_layer=True)
    sae, found = SAE.load(paths.stage("train") / NAME), []
    for document, start, length in corpus.sequences.tolist():
        if not corpus.held_out[document]:
            tokens = corpus.stretch(document, start, length).tolist()
            x_LD = model.residuals(torch.tensor([[counts["bos_id"], *tokens]]))[0, 1:]
            roles = corpus.roles[corpus.offsets[document] + start :][:length] % COUNTED
            found.append(sae.encode(x_LD[torch.from_numpy(roles == ASSISTANT)]))
    return torch.cat(found)


def test_statistics_are_those_of_the_tokens_that_count(paths: RunPaths, naive_acts: torch.Tensor) -> None:
    published = open_published(paths.store, "talks")
    run = PublishedRun(published.folder)
    features = run.take("features", range(32), ["max", "num_active"])
    assert np.allclose(features["max"].to_numpy(), naive_acts.amax(0).numpy(), rtol=1e-4, atol=1e-5)
    assert np.abs(features["num_active"].to_numpy() - (naive_acts > 0).sum(0).numpy()).max() <= 1
    counts = load_manifest(paths.stage("examples")).counts
    assert (
        counts["num_tokens"] == len(naive_acts) == load_manifest(paths.stage("tokenize")).counts["num_counted_tokens"]
    )
    assert (features["max"].to_numpy() > 0).any()
    assert (published.folder / SAES_FOLDER / NAME).is_dir()


def test_training_rows_and_examples_are_of_the_assistant_alone(paths: RunPaths) -> None:
    corpus = TokenizedCorpus(paths.stage("tokenize"))
    assert corpus.roles is not None
    row_of = {int(one): row for row, one in enumerate(corpus.document_ids)}
    rows = np.concatenate([rows.index_N for rows in harvested_rows(paths).shuffled(0)])
    assert rows.dtype == ROW
    for one in rows:
        assert corpus.roles[corpus.offsets[row_of[int(one["document_id"])]] + one["position"]] >= COUNTED
    run = PublishedRun(open_published(paths.store, "talks").folder)
    examples = run.take("examples", range(run.count("examples"))).to_pylist()
    assert len(examples) > 100
    for example in examples:
        roles = run.roles([example["document"]], [example["start"]], [example["length"]])[0]
        assert (roles[example["offsets"]] >= COUNTED).all()
        assert roles[example["position"] - example["start"]] >= COUNTED
    assert any((run.roles([e["document"]], [e["start"]], [e["length"]])[0] < COUNTED).any() for e in examples), (
        "what does not count is in their windows all the same"
    )


def test_the_doctor_agrees(paths: RunPaths, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_doctor(paths.store, "talks", deep=True), capsys.readouterr().out


@pytest.fixture(scope="module")
def client(paths: RunPaths) -> Iterator[TestClient]:
    with TestClient(app_with_contexts(Settings(store=paths.store.root))) as client:
        yield client


def test_pages_mute_what_does_not_count(client: TestClient, paths: RunPaths) -> None:
    run = PublishedRun(open_published(paths.store, "talks").folder)
    active = run.take("features", range(32), ["num_active"])["num_active"].to_numpy()
    index = int(active.argmax())
    answer = client.get(f"/talks/{NAME}/{index}")
    assert answer.status_code == 200
    assert 'class="uncounted" title="of the chat template, not counted"' in answer.text
    assert re.search(r'class="[^"]*uncounted" title="of the user, not counted', answer.text)
    assert not re.search(r'class="a\d+[^"]*uncounted', answer.text)
    document = client.get(f"/talks/{NAME}/{index}?kind=top&example=0")
    assert document.status_code == 200
    assert "uncounted" in document.text
    assert not re.search(r'class="a\d+[^"]*uncounted', document.text)


def test_other_pages_open_and_home_says_what_counts(client: TestClient) -> None:
    assert "the tokens of the assistant&#39;s messages count" in client.get("/").text
    for address in ("/", "/talks", f"/talks/{NAME}", "/neurons", "/method", "/search?q=know"):
        answer = client.get(address)
        assert answer.status_code in (200, 307, 308), address
