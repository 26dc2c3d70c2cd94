"""The sentence encoder against the library's, read plainly: one text at a time, averaged, scaled to norm 1."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertModel

from data.layout import default_store
from pipeline.fetching.encoders import ensure_encoder
from pipeline.models.errors import ModelError
from pipeline.models.sentences import LONGEST, POOLING_FILE, SentenceEncoder, batches_by_length
from pipeline.recipe import SAMPLE_ENCODER, EmbedConfig
from tests.support.sentences import make_encoder

TEXTS = ["bad weather", "", "The river storms of kings.", "a " * 400, "Étude, 日本 x-y", "bad weather"]


def reference(folder: Path, encoder: SentenceEncoder, texts: list[str]) -> np.ndarray:
    model = BertModel.from_pretrained(folder).eval()
    vectors = []
    for ids in encoder.tokenize(texts):
        with torch.no_grad():
            mean_D = model(torch.tensor([ids])).last_hidden_state[0].mean(0)
        vectors.append((mean_D / mean_D.norm()).numpy())
    return np.stack(vectors)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_encoder(tmp_path_factory.mktemp("encoder"))


def test_vectors_are_those_of_the_library(folder: Path) -> None:
    encoder = SentenceEncoder.load(folder)
    found = encoder.encode(TEXTS)
    np.testing.assert_allclose(found, reference(folder, encoder, TEXTS), atol=2e-6)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    assert (found[0] == found[-1]).all()


def test_texts_are_cut_and_not_padded(folder: Path) -> None:
    lengths = [len(ids) for ids in SentenceEncoder.load(folder).tokenize(TEXTS)]
    assert lengths[:2] == [4, 2]
    assert max(lengths) == LONGEST


def test_batches_hold_texts_of_one_length_and_each_text_once() -> None:
    lengths = [3, 500, 3, 300, 7, 3, 300, *[200] * 6]
    batches = list(batches_by_length(lengths))
    assert sorted(n for batch in batches for n in batch) == list(range(len(lengths)))
    assert all(len({lengths[n] for n in batch}) == 1 for batch in batches)
    assert [lengths[batch[0]] for batch in batches] == [500, 300, 300, 200, 200, 200, 7, 3]


@pytest.mark.parametrize("kind", [{"hidden_act": "relu"}, {"model_type": "roberta"}])
def test_another_kind_of_encoder_is_refused(folder: Path, tmp_path: Path, kind: dict[str, str]) -> None:
    config = json.loads((folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, **kind}))
    with pytest.raises(ModelError, match="give a BERT with GELU"):
        SentenceEncoder.load(tmp_path)


def test_an_encoder_that_does_not_average_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    (tmp_path / POOLING_FILE).parent.mkdir()
    (tmp_path / POOLING_FILE).write_text(json.dumps({"pooling_mode_mean_tokens": False}))
    with pytest.raises(ModelError, match="does not average"):
        SentenceEncoder.load(tmp_path)


@pytest.mark.parametrize(
    ("missing", "message"),
    [("config.json", "no sentence encoder"), ("tokenizer.json", "no tokenizer"), ("model.safetensors", "fetch it")],
)
def test_a_folder_that_lacks_something(folder: Path, tmp_path: Path, missing: str, message: str) -> None:
    for name in {"config.json", "tokenizer.json", "model.safetensors"} - {missing}:
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    with pytest.raises(ModelError, match=message):
        SentenceEncoder.load(tmp_path)


@pytest.mark.sample
def test_the_sample_encoder_knows_that_a_storm_is_bad_weather() -> None:
    folder = ensure_encoder(EmbedConfig(source=SAMPLE_ENCODER), default_store())
    assert folder is not None
    encoder = SentenceEncoder.load(folder)
    texts = ["bad weather", "a tropical storm", "the queen of England", "It rained, and it rained."]
    vectors = encoder.encode(texts)
    np.testing.assert_allclose(vectors, reference(folder, encoder, texts), atol=2e-6)
    to_storm, to_queen, _ = (vectors[1:] @ vectors[0]).tolist()
    assert to_storm > 0.4 > to_queen
