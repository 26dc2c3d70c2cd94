"""The whole road, by the commands a person types: own texts and an own model in, dashboard out."""

import json
from pathlib import Path

import pytest
import torch
from playwright.sync_api import Browser

from data.layout import StorePaths
from tests.browser.commands import visit
from tests.support.command_line import monosema_here
from tests.support.processes import monosema_serving
from tests.support.text_folder import make_text_folder


def make_tiny_llama(folder: Path, texts: Path) -> None:
    """A random Llama and a tokenizer made on the spot, in the Hub's format."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train([str(path) for path in sorted(texts.glob("*.txt"))], trainer)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>").save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=400, hidden_size=64, intermediate_size=128, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512, bos_token_id=0, eos_token_id=1,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)


RECIPE = """
name = "mine"
[corpus]
source = "text"
path = {path}
held_out_fraction = 0.1
[model]
name = "tiny"
source = {model}
layer = 1
dtype = "float32"
[tokenize]
context_length = 128
[harvest]
num_shards = 3
[train]
batch_size = 128
[[train.saes]]
architecture = "relu"
num_features = 96
learning_rate = 3e-3
[[train.saes]]
architecture = "topk"
num_features = 64
k = 4
learning_rate = 3e-3
[respond]
candidates = 32
tried = 4
written = 1
new_tokens = 8
[effects]
features = 32
readings = 1
[project]
num_epochs = 10
"""


@pytest.mark.browser
@pytest.mark.timeout(600)
def test_own_texts_and_own_model_to_dashboard(store: StorePaths, tmp_path: Path, browser: Browser) -> None:
    make_text_folder(tmp_path / "texts", 40)
    make_tiny_llama(tmp_path / "llama", tmp_path / "texts")
    recipe = tmp_path / "mine.toml"
    quoted = {"path": json.dumps(str(tmp_path / "texts")), "model": json.dumps(str(tmp_path / "llama"))}
    recipe.write_text(RECIPE.format(**quoted))
    monosema_here("run", "--recipe", str(recipe), store=store)
    monosema_here("doctor", "--run", "mine", store=store)
    again = monosema_here("run", "--recipe", str(recipe), store=store)
    assert "done in" not in again.stderr, "a second run does nothing"

    with monosema_serving(store) as address:
        assert all(visit(browser, address, ["/", "/tiny/1-relu-96", "/tiny/1-topk-64/0", "/explore", "/prompt"]))
