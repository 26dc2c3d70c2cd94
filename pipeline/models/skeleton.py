"""A language model without its weights, made from its config.json alone: what it is built of, in no memory."""

from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers

from pipeline.models.errors import ModelError
from pipeline.models.language_model import check_architecture

MESSAGE_CHARACTERS = 300
"""Of what transformers says, that are passed on."""


class Skeleton(NamedTuple):
    """Sizes of a model that can be read here."""

    num_layers: int
    width: int
    """Of the residual stream."""
    vocab_size: int
    context_length: int
    """Tokens that it reads at most."""
    num_parameters: int


def read_skeleton(folder: Path, name: str) -> Skeleton:
    """Build the model `name` of a folder without weights.

    Raises ModelError when it could not be read with them either.
    """
    config = _read_config(folder, name)
    try:
        with torch.device("meta"):
            model = transformers.AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except Exception as error:  # transformers and the architectures raise many kinds
        raise ModelError(
            f"{name} is no language model that transformers can build ({_in_one_line(error)}): give a decoder-only "
            "model that writes text"
        ) from None
    check_architecture(model)
    text = config.get_text_config()
    return Skeleton(
        num_layers=len(model.model.layers),
        width=int(text.hidden_size),
        vocab_size=int(text.vocab_size),
        context_length=int(text.max_position_embeddings),
        num_parameters=sum(parameter.numel() for parameter in model.parameters()),
    )


def _read_config(folder: Path, name: str) -> Any:
    try:
        return transformers.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # as above
        raise ModelError(
            f"transformers {transformers.__version__} cannot read the config.json of {name} ({_in_one_line(error)}): "
            "give a model that it knows, without code of its own, or install a newer transformers"
        ) from None


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:MESSAGE_CHARACTERS] or type(error).__name__
