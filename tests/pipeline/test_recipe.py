"""Recipes: every wrong name and value is said, and overrides are typed as in the file."""

import os
from pathlib import Path

import pytest

from data.errors import ConfigError
from pipeline.recipe import load_recipe, recipe_names


def test_our_recipes_load() -> None:
    assert {"sample", "llama-3.2-3b"} <= set(recipe_names())
    for name in recipe_names():
        assert load_recipe(name).name == name


def test_the_samples_autoencoders_have_the_names_of_their_addresses() -> None:
    assert "14-relu-4096" in load_recipe("sample").sae_names


@pytest.mark.parametrize(
    ("override", "section", "field", "value"),
    [
        ("model.layer=3", "model", "layer", 3),
        ("model.source=meta-llama/Llama-3.2-1B", "model", "source", "meta-llama/Llama-3.2-1B"),
        ('model.dtype="float32"', "model", "dtype", "float32"),
        ("harvest.keep_fraction=0.1", "harvest", "keep_fraction", 0.1),
        ("tokenize.max_tokens=1_000", "tokenize", "max_tokens", 1000),
        ("corpus.path=/some/where=odd", "corpus", "path", Path("/some/where=odd")),
    ],
)
def test_overrides(override: str, section: str, field: str, value: object) -> None:
    assert getattr(getattr(load_recipe("sample", [override]), section), field) == value


def test_a_list_of_autoencoders_can_be_replaced() -> None:
    recipe = load_recipe("sample", ['train.saes=[{architecture="topk", num_features=8, k=2}]'])
    assert recipe.sae_names == ["14-topk-8"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.layer", "is not section.field=value"),
        ("model.layer=-1", r"model\.layer: .*greater than or equal to 0"),
        ("model.layers=3", r"model\.layers: Extra inputs"),
        ("models.layer=3", r"models: Extra inputs"),
        ("respond.candidates=-1", r"respond\.candidates: .*greater than or equal to 0"),
        ("respond.strengths=[]", r"respond\.strengths: .*at least 1"),
        ("respond.strengths=[0]", r"respond\.strengths\.0: .*greater than 0"),
        ("respond.strengths=[10.5]", r"respond\.strengths\.0: .*less than or equal to 10"),
        ("respond.strengths=[2, 2.0]", "the strengths must ascend, each named once"),
        ("respond.strengths=[2, 1]", "the strengths must ascend"),
        ("respond.openings=[]", "name at least one opening"),
        ('respond.chats=["Hi", "Hi"]', "one of the chats is named twice"),
        ('respond.openings=["I am a", " "]', r"respond\.openings\.1: .*pattern"),
        ("respond.new_tokens=1", r"respond\.new_tokens: .*greater than or equal to 2"),
        ("name.x=3", "name is not a section"),
        ("harvest.keep_fraction=0", r"harvest\.keep_fraction"),
        ("corpus.source=text", r"corpus: .*needs corpus\.path"),
        ("corpus.source=huggingface", r"needs corpus\.dataset"),
        ("model.name=Up/Case", r"model\.name"),
        ('train.saes=[{architecture="topk", num_features=8}]', "needs k, below num_features"),
        ('train.saes=[{architecture="relu", num_features=8, k=2}]', "takes no k"),
        ('train.saes=[{architecture="relu", num_features=8}, {architecture="relu", num_features=8}]', "14-relu-8"),
    ],
)
def test_what_is_wrong_is_named(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_recipe("sample", [override])


def test_unknown_and_broken_recipes(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no recipe 'nope': use one of .*sample"):
        load_recipe("nope")
    (tmp_path / "bad.toml").write_text("name = ")
    with pytest.raises(ConfigError, match="is not TOML"):
        load_recipe(str(tmp_path / "bad.toml"))
    (tmp_path / "short.toml").write_text('name = "short"')
    with pytest.raises(ConfigError, match=r"corpus: Field required\n.*model: Field required"):
        load_recipe(str(tmp_path / "short.toml"))


def test_a_corpus_folder_whose_name_cannot_be_written_down_is_refused() -> None:
    odd = os.fsdecode(b"/some/caf\xe9")
    with pytest.raises(ConfigError, match=r"corpus\.path: .*rename the folder"):
        load_recipe("sample", ["corpus.source=text", f"corpus.path={odd}"])
