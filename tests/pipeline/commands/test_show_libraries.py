"""SAEs that sae-lens, sparsify and dictionary-learning train on the sample model, by `monosema show` to their pages.

They run in an environment of their own, as tests/pipeline/formats/test_libraries.py does.
"""

import subprocess
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from fastapi.testclient import TestClient
from safetensors.torch import load_file, save_file

from backend.app import create_app
from backend.settings import Settings
from data.artifacts.features import TOP
from data.layout import StorePaths
from data.published.state import open_published
from data.published.tables import PublishedRun
from pipeline.corpus import open_source
from pipeline.fetching.local import sample_corpus_folder
from pipeline.models.tokenizer import Tokenizer
from pipeline.recipe.corpus import CorpusConfig
from tests.support.libraries import run_script

LAYER, LENGTH, ARTICLES, CHARACTERS = 14, 64, 24, 4000
FOLDERS = {"saelens": "", "sparsify": f"layers.{LAYER}", "dictionary_learning": "trainer_0"}
"""Where each trainer leaves an SAE."""
FEATURES, EXAMPLES = 16, 3
# Examples come from the model in float32, as in test_show.py; what is measured beside them is kept small.
SETTINGS = ("model.dtype=float32", "harvest.keep_fraction=0.9", "embed.source=none", "corpus.held_out_fraction=0.2",
            "project.num_epochs=10", "respond.candidates=0", "effects.features=0", "score.features=0",
            "neurons.features=0", "examples.rare_tokens=5", "compare.n=0", "completeness.lists=[]",
            "strengths.features=0", "evaluate.max_cross_entropy_tokens=500")  # fmt: skip


@pytest.fixture(scope="module")
def texts(sample_files: StorePaths, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of beginnings of articles of the sample corpus."""
    folder = tmp_path_factory.mktemp("texts")
    source = open_source(CorpusConfig(source="sample"), sample_corpus_folder(sample_files))
    for number, document in enumerate(islice(source.documents(), ARTICLES)):
        (folder / f"{number:02}.txt").write_text(document.text[:CHARACTERS], encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def model(sample_files: StorePaths) -> Path:
    """The sample model, a local folder as the Hub has them."""
    return sample_files.models / "smollm2-135m"


@pytest.mark.sample
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("library", FOLDERS)
def test_an_sae_that_a_library_trained_ends_in_pages_with_its_activations(
    library: str, model: Path, texts: Path, store: StorePaths, tmp_path: Path
) -> None:
    run_script("library_training", library, "train", library, model, texts, tmp_path / "trained")
    sae = tmp_path / "trained" / FOLDERS[library]
    said = show(sae, model, texts, store)
    assert f"{library}, topk, k 16, 512 features of width 576" in said
    assert f"it fits layer {LAYER}: explained variance" in said
    shown = list(shown_activations(store, model))
    assert len(shown) > FEATURES
    sequences = {str(number): torch.tensor(tokens) for number, (_, tokens, _) in enumerate(shown)}
    save_file(sequences, tmp_path / "tokens.safetensors")
    out = tmp_path / "out.safetensors"
    run_script("library_training", library, "read", library, model, sae, tmp_path / "tokens.safetensors", out)
    theirs = load_file(out)
    for number, (index, _, activation) in enumerate(shown):
        expected = float(theirs["acts"][number, index] * theirs["norms"][index])
        assert activation == pytest.approx(expected, rel=1e-4, abs=0)


def show(sae: Path, model: Path, texts: Path, store: StorePaths) -> str:
    """What the command says. Model, layer and hook are those that the library wrote down, where it did."""
    settings = [part for setting in SETTINGS for part in ("--set", setting)]
    command = [
        sys.executable, "-m", "pipeline.cli", "show", str(sae), "--model", str(model), "--corpus", str(texts),
        "--tokens", "8000", "--context-length", str(LENGTH), "--no-serve", "--name", "mine", "--store", str(store.root),
        *settings,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stderr


def shown_activations(store: StorePaths, model: Path) -> Iterator[tuple[int, list[int], float]]:
    """Features with the tokens up to one of their strongest examples, and the activation that pages have there."""
    published = open_published(store, "mine")
    tables, record = PublishedRun(published.folder), published.record.saes[0]
    opening = Tokenizer.load(model).opening
    with TestClient(create_app(Settings(store=store.root, live=False))) as client:
        address = f"{published.record.model}/{record.name}"
        assert record.name == f"{LAYER}-topk-512"
        listed = client.get(f"/api/v1/features/{address}").json()
        for index in [feature["index"] for feature in listed["features"][:FEATURES]]:
            assert client.get(f"/{address}/{index}").status_code == 200
            pages = client.get(f"/api/v1/features/{address}/{index}/examples?limit={EXAMPLES}").json()
            for page, example in zip(pages, stored_examples(tables, record.first_row + index), strict=False):
                position = example["position"]
                assert page["position"] == position
                start = position // (LENGTH - 1) * (LENGTH - 1)
                tokens = tables.windows([example["document"]], [start], [position - start + 1])[0]
                yield index, [*opening, *tokens], page["activation"]


def stored_examples(tables: PublishedRun, row: int) -> list[dict[str, Any]]:
    feature = tables.take("features", [row], ["first_example", "num_examples"]).to_pylist()[0]
    found: list[dict[str, Any]] = tables.examples(feature["first_example"], feature["num_examples"], TOP).to_pylist()
    return found
