"""Recipes: every wrong name and value is said, and overrides are typed as in the file."""

import os
from pathlib import Path

import pytest

from data.errors import ConfigError
from pipeline.recipe import RECIPES, load_recipe, read_recipe, recipe_names


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
        ("corpus.path=2024-05-01", "corpus", "path", Path("2024-05-01")),
        ("corpus.text_field=1_0", "corpus", "text_field", "1_0"),
        ("model.revision=1234567", "model", "revision", "1234567"),
        ("model.revision=true", "model", "revision", "true"),
        ("model.name=2024-05-01", "model", "name", "2024-05-01"),
        ("model.source=[1]", "model", "source", "[1]"),
        ("model.device='cpu'", "model", "device", "cpu"),
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
        ("corpus.path=", "gives no value: leave it out"),
        ("model.layer=-1", r"model\.layer: .*greater than or equal to 0"),
        ("model.layers=3", r"model\.layers: Extra inputs are not permitted; did you mean 'layer'\?"),
        ("model.zzz=3", r"model\.zzz: Extra inputs are not permitted, there are name, source"),
        ("model.layer=" + "1" * 5000, r"model\.layer: .* as an integer"),
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


def test_the_name_of_a_run_may_be_a_date() -> None:
    assert load_recipe("sample", ["name=2024-05-01"]).name == "2024-05-01"


def test_a_date_or_number_without_quotes_in_a_file_is_said(tmp_path: Path) -> None:
    path = tmp_path / "dates.toml"
    text = (RECIPES / "sample.toml").read_text().replace('name = "sample"', "name = 2024-05-01")
    path.write_text(text.replace('source = "sample"', 'source = "text"\npath = 2024-05-01\nrevision = 1234567', 1))
    with pytest.raises(ConfigError) as refused:
        load_recipe(str(path))
    assert 'name: 2024-05-01 is a date or a time in TOML, for it has no quotes: write name = "2024-05-01"' in str(
        refused.value
    )
    assert "corpus.path: 2024-05-01 is a date or a time in TOML" in str(refused.value)
    assert 'corpus.revision: 1234567 is a number in TOML, for it has no quotes: write revision = "1234567"' in str(
        refused.value
    )


def test_what_can_be_read_is_read_and_each_mistake_is_told_once(tmp_path: Path) -> None:
    path = tmp_path / "wrong.toml"
    saes = '[{architecture = "topk", num_features = 8}]'
    path.write_text(
        f'name = "mine"\nseed = -1\n[corpus]\nsource = "text"\n[model]\nname = "Big Model"\nsource = "/x"\n'
        f"layer = 3\n[harvest]\nkeep_fraction = 3\nnum_shards = 5\n[train]\nsaes = {saes}\n[foo]\n"
    )
    read = read_recipe(str(path), ["model.layer", "tokenize.max_tokens=9"])
    places = [problem.partition(": ")[0] for problem in read.problems]
    assert places == [
        "'model.layer' is not section.field=value", "seed", "corpus", "model.name", "harvest.keep_fraction",
        "train.saes.0", "foo",
    ]  # fmt: skip
    assert "use small letters, digits" in read.problems[3]
    recipe = read.recipe
    assert (recipe.name, recipe.model.source, recipe.model.layer) == ("mine", "/x", 3)
    assert (recipe.harvest.num_shards, recipe.harvest.keep_fraction, recipe.tokenize.max_tokens) == (5, 1.0, 9)
    assert read.gives("name", "model.source", "tokenize")
    assert not any(map(read.gives, ("seed", "corpus.path", "model", "model.name", "train.saes", "train")))


def test_two_autoencoders_of_a_size_are_told_beside_other_mistakes() -> None:
    read = read_recipe(
        "sample", ["seed=-1", "train.saes=[" + ", ".join(['{architecture="relu", num_features=8}'] * 2) + "]"]
    )
    assert [problem.partition(":")[0] for problem in read.problems] == ["seed", "recipe"]


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


IMPORTED = (
    'imports.saes=[{source="org/x", architecture="topk", num_features=8, k=2}, '
    '{source="y", name="mine", architecture="gated", num_features=8}]'
)


def test_autoencoders_are_trained_or_imported() -> None:
    recipe = load_recipe("sample", ["train.saes=[]", IMPORTED])
    assert recipe.sae_names == ["14-topk-8", "mine"]
    assert [sae.num_features for sae in recipe.saes] == [8, 8]
    for overrides in ([IMPORTED], ["train.saes=[]"]):
        with pytest.raises(ConfigError, match=r"give either \[\[train\.saes\]\]"):
            load_recipe("sample", overrides)
    wrong = ["train.saes=[]", 'imports.saes=[{source="x", architecture="tent", num_features=8}]']
    problems = read_recipe("sample", wrong).problems
    assert [problem.partition(":")[0] for problem in problems] == ["imports.saes.0.architecture"]
