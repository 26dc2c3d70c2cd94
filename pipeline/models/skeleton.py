"""A language model without its weights, made from its config.json alone: whether it can be read here with them."""

import copy
from pathlib import Path
from typing import Any

import torch
import transformers

from pipeline.models.errors import ModelError
from pipeline.models.hooks import Hook
from pipeline.models.language_model import LanguageModel
from pipeline.models.structure import find_structure

MESSAGE_CHARACTERS = 300
"""Of what transformers says, that are passed on."""
SMALL_LAYERS = 2
SMALL = {"num_hidden_layers": SMALL_LAYERS, "intermediate_size": 64, "vocab_size": 64, "pad_token_id": None}
"""A model of the same kind that takes no time to build: what it does around its layers is the same."""
SPREAD = 64
"""Of its random weights, times its width: so large that its layers matter beside what is around them."""
SMALL_PARAMETERS = 100_000_000
"""A larger one is not built."""


def check_build(folder: Path, name: str, hook: Hook = "resid_post") -> None:
    """Build the model `name` of a folder without weights, then a small one of its kind with random ones.

    Raises ModelError when it could not be read with its own either, or has no such hook.
    """
    config = _read_config(folder, name)
    try:
        model = _build_empty(config)
    except Exception as error:  # transformers and the architectures raise many kinds
        raise ModelError(
            f"{name} is no language model that transformers can build ({_in_one_line(error)}): give a decoder-only "
            "model that writes text"
        ) from None
    find_structure(model)
    if (small := _build_small(config)) is not None:
        LanguageModel(small, layer=0, hook=hook, fused=False)


def _read_config(folder: Path, name: str) -> Any:
    try:
        return transformers.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # as above
        raise ModelError(
            f"transformers {transformers.__version__} cannot read the config.json of {name} ({_in_one_line(error)}): "
            "give a model that it knows, without code of its own, or install a newer transformers"
        ) from None


def _build_empty(config: Any) -> Any:
    with torch.device("meta"):
        return transformers.AutoModelForCausalLM.from_config(config, trust_remote_code=False)


def _build_small(config: Any) -> Any | None:
    """A small random model of this kind; None where its sizes cannot be changed so, or it stays large."""
    small = copy.deepcopy(config)
    text = small.get_text_config()
    try:
        if getattr(text, "layer_types", None):
            text.layer_types = text.layer_types[:SMALL_LAYERS]
        for field, value in SMALL.items():
            setattr(text, field, value)
        text.initializer_range = min(1.0, SPREAD / text.hidden_size)
        if sum(parameter.numel() for parameter in _build_empty(small).parameters()) > SMALL_PARAMETERS:
            return None
        model = transformers.AutoModelForCausalLM.from_config(small, trust_remote_code=False, dtype=torch.float32)
        model(input_ids=torch.arange(4)[None], use_cache=False)
    except Exception:  # sizes that depend on each other: the real model is checked when it is read
        return None
    return model


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:MESSAGE_CHARACTERS] or type(error).__name__
