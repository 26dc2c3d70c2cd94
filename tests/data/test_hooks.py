"""Names of hooks: those of runs made before hooks had names stay as they were."""

from data.hooks import HOOKS, hook_address, hook_briefly, hook_in_words
from pipeline.recipe import load_recipe, make_recipe
from pipeline.stages.harvest import _config
from pipeline.stages.tokenize import STAGE as TOKENIZE


def test_addresses() -> None:
    assert hook_address(14) == "14"
    assert [hook_address(14, hook) for hook in HOOKS] == ["14-pre", "14-mid", "14", "14-attn", "14-mlp"]


def test_words() -> None:
    assert hook_in_words(14) == "the residual stream after layer 14"
    assert hook_briefly(14) == "layer 14"
    assert len({hook_in_words(3, hook) for hook in HOOKS} | {hook_briefly(3, hook) for hook in HOOKS}) == 10


def test_a_recipe_names_its_hook_in_names_of_saes_and_keys() -> None:
    usual = load_recipe("sample")
    named = make_recipe({**usual.model_dump(), "model": {**usual.model.model_dump(), "hook": "mlp"}})
    assert named.sae_names[0] == "14-mlp-relu-1024"
    assert _config(named)["model"]["hook"] == "mlp"
    assert (usual.model.num_layers_run, named.model.num_layers_run) == (15, 15)


def test_what_is_usual_is_in_no_key() -> None:
    usual = load_recipe("sample")
    assert usual.sae_names[0] == "14-relu-1024"
    assert _config(usual)["model"] == {"layer": 14, "dtype": "bfloat16", "device": "cpu"}
    assert "opening" not in TOKENIZE.config(usual)["tokenize"]
