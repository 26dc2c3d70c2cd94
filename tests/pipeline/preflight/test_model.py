"""The model's folder, its build and its tokenizer: each mistake is one sentence before any work."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tokenizers import Tokenizer as Rust
from tokenizers import models, pre_tokenizers

from tests.pipeline.preflight.conftest import Find
from tests.support.models import byte_tokenizer


def change_config(model: Path, **values: Any) -> None:
    file = model / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def only(problems: list[str]) -> str:
    assert len(problems) == 1, problems
    return problems[0]


def test_nothing_is_wrong(find: Find) -> None:
    assert find() == []


def test_two_misfits_are_two_sentences(find: Find) -> None:
    layer, length = find(model={"layer": 3}, tokenize={"context_length": 257})
    assert "model.layer=3 is out of range: model has layers 0 to 2" in layer
    assert "set it to 256 or less" in length


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "holds no language model (no config.json)"),
        (["config.json", "tokenizer.json"], "holds no weights (no .safetensors): put"),
        (["config.json", "tokenizer.json", "pytorch_model.bin"], "as .bin or .pth only"),
        (["config.json", "tokenizer.json", "weights.safetensors"], "holds weights.safetensors and neither"),
        (["adapter_config.json", "adapter_model.safetensors"], "holds an adapter (LoRA) alone"),
        (["config.json", "tokenizer.json", "adapter_model.safetensors"], "holds an adapter (LoRA) alone"),
        (["config.json", "tokenizer.json", "adapter_model.bin"], "merge it into its base model"),
    ],
)
def test_what_a_folder_holds_instead(find: Find, model: Path, tmp_path: Path, names: list[str], message: str) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    for name in names:
        content = (model / name).read_bytes() if (model / name).exists() else b""
        (folder / name).write_bytes(content)
    assert message in only(find(model={"source": str(folder)}))


def test_weights_that_are_not_whole(find: Find, model: Path) -> None:
    weights = model / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-100])
    assert f"has {len(whole) - 100:,} bytes instead of {len(whole):,}: fetch it again" in only(find())
    weights.write_bytes(whole[:50])
    assert "is cut off" in only(find())
    weights.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    assert "run `git lfs pull` there" in only(find())
    weights.write_bytes(b"\x10" + b"\0" * 7 + b"[1, 2, 3, 4, 5] ")
    assert "is no safetensors file" in only(find())


def test_a_shard_that_is_missing(find: Find, model: Path) -> None:
    (model / "model.safetensors").rename(model / "model-00001-of-00002.safetensors")
    shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    index = model / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": shards}))
    assert "lacks model-00002-of-00002.safetensors of its 2 files" in only(find())
    index.write_text("[]")
    assert "cannot be read" in only(find())


def test_a_model_that_is_built_otherwise(find: Find, model: Path) -> None:
    sizes = {"num_hidden_layers": 3, "hidden_size": 32, "vocab_size": 300}
    transformers.BertConfig(**sizes).save_pretrained(model)
    assert "BertLMHeadModel has no list of layers in its core: only decoder-only models" in only(find())
    transformers.GPT2Config(n_layer=3, n_embd=32, n_head=2, vocab_size=300, n_positions=256).save_pretrained(model)
    assert find() == []


def test_a_model_with_other_names_of_its_sizes(find: Find, model: Path) -> None:
    transformers.GPT2Config(n_layer=2, n_embd=32, n_head=2, vocab_size=300, n_positions=256).save_pretrained(model)
    layer, length = find(model={"layer": 2}, tokenize={"context_length": 257})
    assert "model.layer=2 is out of range: model has layers 0 to 1" in layer
    assert "set it to 256 or less" in length


def test_a_hook_that_the_model_has_not(find: Find, model: Path) -> None:
    sizes = {"num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 4, "vocab_size": 300}
    transformers.GPTNeoXConfig(**sizes, intermediate_size=64).save_pretrained(model)
    assert find(model={"hook": "mlp"}) == []
    assert "has no stream between attention and MLP" in only(find(model={"hook": "resid_mid"}))


def test_a_model_that_does_more_than_run_its_layers(find: Find, model: Path) -> None:
    sizes = {"hidden_size": 32, "num_attention_heads": 4, "num_key_value_heads": 2, "num_hidden_layers": 3}
    transformers.GraniteConfig(**sizes, vocab_size=300, logits_scaling=4.0).save_pretrained(model)
    assert "GraniteForCausalLM does more around its layers than run them" in only(find())
    transformers.Qwen2Config(**sizes, vocab_size=300, layer_types=["full_attention"] * 3).save_pretrained(model)
    assert find() == []


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model_type": "nobody-knows"}, "model is of type 'nobody-knows', by which transformers reads no"),
        ({"auto_map": {"AutoConfig": "own.Config"}, "model_type": "own"}, "not without code that comes with it"),
        ({"model_type": "t5"}, "by which transformers reads no decoder-only"),
        ({"model_type": "mamba"}, "a layer of MambaForCausalLM has no attention"),
        ({"hidden_size": "wide"}, "cannot read the config.json of model (Validation error for field 'hidden_size'"),
    ],
)
def test_a_configuration_that_cannot_be_used(find: Find, model: Path, values: dict[str, Any], message: str) -> None:
    change_config(model, **values)
    assert message in only(find())


def test_a_configuration_that_is_no_json(find: Find, model: Path) -> None:
    (model / "config.json").write_text("{")
    assert "config.json cannot be read" in only(find())


# ---- Tokenizers


def test_a_tokenizer_whose_bytes_are_not_known(find: Find, model: Path) -> None:
    rust = Rust(models.WordLevel({"[UNK]": 0, "a": 1, "b": 2}, unk_token="[UNK]"))
    rust.pre_tokenizer = pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(tokenizer_object=rust, bos_token="[UNK]").save_pretrained(model)
    assert "byte-level BPE, sentencepiece and WordPiece tokenizers work" in only(find())


def test_a_folder_without_a_tokenizer(find: Find, model: Path) -> None:
    for file in model.glob("tokenizer*"):
        file.unlink()
    assert "holds no tokenizer (no tokenizer.json)" in only(find())
    (model / "tokenizer.model").write_bytes(b"no pieces")
    assert "the tokenizer of model cannot be read" in only(find())


def test_a_tokenizer_of_another_model(find: Find, model: Path) -> None:
    change_config(model, vocab_size=100)
    assert "gives token" in only([said for said in find() if "tokenizer" in said])


def test_a_vocabulary_with_merges_alone(find: Find, model: Path) -> None:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    for file in model.glob("tokenizer*"):
        file.unlink()
    vocabulary = {character: number for number, character in enumerate(alphabet)} | {"<|endoftext|>": 256}
    (model / "vocab.json").write_text(json.dumps(vocabulary))
    (model / "merges.txt").write_text("#version: 0.2\n")
    assert "cannot be read" in only(find())


def test_a_tokenizer_without_bos(find: Find, model: Path) -> None:
    tokenizer = byte_tokenizer()
    tokenizer.bos_token = tokenizer.eos_token = None
    tokenizer.save_pretrained(model)
    assert find() == []


def test_a_gguf_file_that_is_none(find: Find, tmp_path: Path) -> None:
    folder = tmp_path / "gguf"
    folder.mkdir()
    (folder / "x.gguf").write_bytes(b"<html>")
    assert "x.gguf is no GGUF file" in only(find(model={"source": str(folder)}))
    (folder / "x.gguf").write_bytes(b"GGUF")
    assert find(model={"source": str(folder)}) == []
    (folder / "y.gguf").write_bytes(b"GGUF")
    assert "holds 2 GGUF files" in only(find(model={"source": str(folder)}))


def test_a_folder_that_is_not_there(find: Find) -> None:
    assert "model.source: there is no folder /no/model" in only(find(model={"source": "/no/model"}))


@pytest.mark.parametrize("device", ["mps", "xpu", "meta", "cuda:99", "tpu!", "gpu"])
def test_devices(find: Find, device: str) -> None:
    assert not torch.cuda.is_available()
    assert "set model.device=cpu" in (said := only(find(model={"device": device}))) or "use cpu, cuda" in said
