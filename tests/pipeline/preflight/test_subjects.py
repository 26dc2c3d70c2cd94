"""Corpus, encoder, disk and addresses: each mistake is one sentence before any work."""

import json
import shutil
from pathlib import Path

import pytest

from data.layout import OWN_ADDRESSES, StorePaths
from pipeline.preflight import disk
from pipeline.preflight.check import find_problems
from pipeline.preflight.model import look_at_model
from pipeline.recipe import read_recipe
from tests.pipeline.preflight.conftest import Find
from tests.pipeline.preflight.test_model import only
from tests.support.fake_run import fake_recipe
from tests.support.sentences import make_encoder


def test_a_corpus_that_is_not_there(find: Find) -> None:
    assert "/no/such does not exist: set corpus.path" in only(find(corpus={"path": "/no/such"}))


def test_a_corpus_without_text(find: Find, texts: Path) -> None:
    for file in texts.iterdir():
        file.write_text(" \n")
    assert "is empty: 20 documents without text" in only(find())


def test_a_wrong_field_hides_nothing_else(texts: Path, store: StorePaths, model: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "wrong.toml"
    recipe.write_text(
        f'''name = "test"
        corpus = {{source = "text", path = "{texts / "none"}", held_out_fraction = 3}}
        model = {{name = "tiny", source = "{model}", layer = -1, device = "mps"}}
        tokenize = {{context_length = 1}}
        train = {{batch_size = 0, saes = [{{architecture = "relu", num_features = 8}}]}}'''
    )
    read, paths = read_recipe(str(recipe)), store.run("test")
    with look_at_model(read, store) as looked:
        problems = find_problems(read, paths, looked)
    fields = ["corpus.held_out_fraction", "model.layer", "tokenize.context_length", "train.batch_size"]
    assert [problem.partition(":")[0] for problem in problems[:4]] == fields
    assert ["does not exist" in problems[4], "device 'mps'" in problems[5], len(problems)] == [True, True, 6]


def test_a_corpus_smaller_than_a_batch(find: Find) -> None:
    assert "fewer than one training batch of 4,096" in only(find(train={"batch_size": 4096}))


def test_a_corpus_of_which_nothing_is_held_out(find: Find) -> None:
    assert "fell into the held-out share of 0.0001" in only(find(corpus={"held_out_fraction": 0.0001}))


def test_a_first_line_that_is_none(find: Find, tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl"
    file.write_text('{"body": "words"}\n')
    assert "has no field 'text', only 'body'" in only(find(corpus={"source": "jsonl", "path": str(file)}))


def test_files_that_are_not_utf_8_are_all_named(find: Find, texts: Path) -> None:
    for number in (7, 12):
        (texts / f"{number}.txt").write_bytes(b"caf\xe9")
    problem = only(find())
    assert "2 files of the corpus are not UTF-8: 12.txt (byte 3), 7.txt (byte 3)" in problem
    assert find(corpus={"bad_encoding": "replace"}) == []


def test_a_long_corpus_is_read_in_its_beginning_alone(find: Find, tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl"
    file.write_text((json.dumps({"text": "words and words " * 100}) + "\n") * 2500 + "no JSON\n")
    assert find(corpus={"source": "jsonl", "path": str(file)}) == []


def test_an_encoder_of_another_kind(find: Find, tmp_path: Path, model: Path) -> None:
    assert "embed.source: there is no folder" in only(find(embed={"source": "./nowhere"}))
    assert find(embed={"source": str(make_encoder(tmp_path / "encoder"))}) == []
    assert "is not an encoder that can be read here" in only(find(embed={"source": str(model)}))


def test_a_disk_that_is_too_small(find: Find, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage("/")._replace(free=1000)
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda folder: usage)
    said = only(find())
    assert "there are 0.0 MB free" in said
    assert "harvest.storage=int8" in said


def test_a_store_that_cannot_be_one(find: Find, store: StorePaths) -> None:
    store.root.write_text("")
    assert f"{store.root} is a file, not a folder" in only(find())


def test_addresses_of_another_run(find: Find, made: StorePaths, store: StorePaths) -> None:
    shutil.copytree(made.root, store.root)
    taken = {"name": "tiny"}, {"saes": fake_recipe().model_dump()["train"]["saes"], "batch_size": 16}
    name = fake_recipe().sae_names[0]
    before = store.database.read_bytes()
    said = only(find(model=taken[0], train=taken[1]))
    assert f"/tiny/{name} and " in said
    assert "belong to run 'fake' already: give this recipe another model.name" in said
    assert store.database.read_bytes() == before
    assert find(model={"name": "other"}, train=taken[1]) == []
    assert find(model=taken[0]) == [], "of another size"


def test_a_database_that_cannot_be_read(find: Find, store: StorePaths) -> None:
    store.root.mkdir()
    store.database.write_text("no database" * 100)
    assert "cannot be used" in only(find())


def test_a_database_server_that_is_not_there(find: Find, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MONOSEMA_DATABASE_URL", "postgresql://nobody:secret@127.0.0.1:1/none")
    said = only(find())
    assert "cannot be reached" in said
    assert "secret" not in said


@pytest.mark.parametrize("name", sorted(OWN_ADDRESSES))
def test_names_of_pages(find: Find, name: str) -> None:
    assert f"model.name={name} is where pages of the server lie" in only(find(model={"name": name}))


def test_memory_that_holds_no_neuron(find: Find) -> None:
    assert "neurons.memory_gb=0.001 is not enough for 8 features: set it to" in only(find(neurons={"memory_gb": 0.001}))
    assert find(neurons={"memory_gb": 0.001, "features": 0}) == []
