"""A model of the Hub that is not here yet: its list of files and its small files are looked at, its weights are not."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import huggingface_hub
import pytest
from huggingface_hub import errors

from tests.pipeline.preflight.conftest import Find
from tests.pipeline.preflight.test_model import change_config, only

RESPONSE = httpx2.Response(403, request=httpx2.Request("GET", "https://huggingface.co"))


@pytest.fixture
def taken(model: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are fetched of a repository, whose files are those of the model's folder."""
    names: list[str] = []

    def info(self: object, source: str, **_: Any) -> SimpleNamespace:
        files = [SimpleNamespace(rfilename=file.name, size=file.stat().st_size) for file in model.iterdir()]
        return SimpleNamespace(siblings=files)

    def take(source: str, name: str, *, local_dir: Path, **_: Any) -> None:
        names.append(name)
        shutil.copy(model / name, local_dir / name)

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", info)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", take)
    return names


def test_nothing_is_wrong_and_no_weights_are_fetched(find: Find, taken: list[str]) -> None:
    assert find(model={"source": "some-one/tiny"}) == []
    assert {"config.json", "tokenizer.json"} <= set(taken)
    assert not any(name.endswith(".safetensors") for name in taken)


def test_what_does_not_fit_is_told_by_its_id(find: Find, taken: list[str], model: Path) -> None:
    change_config(model, model_type="bert")
    (model / "model.safetensors").rename(model / "pytorch_model.bin")
    weights, layer, built = find(model={"source": "some-one/tiny", "layer": 7})
    assert "some-one/tiny holds weights as .bin or .pth only" in weights
    assert "choose a repository or revision that has them" in weights
    assert "model.layer=7 is out of range: some-one/tiny has layers 0 to 2" in layer
    assert "BertLMHeadModel has no list of layers in its core" in built


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["adapter_config.json", "adapter_model.safetensors", "tokenizer.json"], "holds an adapter (LoRA) alone"),
        (["x.Q4_1.gguf", "README.md"], "holds GGUF files and no config.json: fetch the one to use, alone"),
        (["README.md"], "holds no language model (no config.json)"),
    ],
)
def test_repositories_of_other_things(
    find: Find, taken: list[str], model: Path, names: list[str], message: str
) -> None:
    for file in model.iterdir():
        file.unlink()
    for name in names:
        (model / name).write_text("{}")
    problems = find(model={"source": "some-one/tiny"})
    assert message in problems[0]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (errors.GatedRepoError("no", response=RESPONSE), "some-one/tiny is gated: accept its licence at"),
        (errors.RepositoryNotFoundError("no", response=RESPONSE), "no folder and no Hub model 'some-one/tiny'"),
        (errors.RevisionNotFoundError("no", response=RESPONSE), "has no revision 'abc'"),
        (
            httpx2.ConnectError("Name or service not known"),
            "cannot be fetched from the Hub (Name or service not known)",
        ),
    ],
)
def test_what_the_hub_refuses(find: Find, monkeypatch: pytest.MonkeyPatch, error: Exception, message: str) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", refuse)
    assert message in only(find(model={"source": "some-one/tiny", "revision": "abc"}))


def test_a_dataset_and_an_encoder_that_are_not_there(find: Find, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise errors.RepositoryNotFoundError("no", response=RESPONSE)

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", refuse)
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", refuse)
    dataset, encoder = find(corpus={"source": "huggingface", "dataset": "some-one/texts"}, embed={"source": "a/b"})
    assert "there is no folder and no Hub dataset 'some-one/texts': check corpus.dataset" in dataset
    assert "there is no folder and no Hub model 'a/b': check embed.source" in encoder


def test_an_encoder_whose_repository_lacks_something(find: Find, monkeypatch: pytest.MonkeyPatch) -> None:
    found = SimpleNamespace(siblings=[SimpleNamespace(rfilename="config.json", size=10)])
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda *_, **__: found)
    assert "a/b has no tokenizer.json and no model.safetensors" in only(find(embed={"source": "a/b"}))
