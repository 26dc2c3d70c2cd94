"""The parts of a decoder-only model of transformers, found by how it is built and not by its name.

    model
      core            embeds tokens, runs the layers, then the final norm; gives hidden states
        embedding
        layers        a list; each layer holds one attention (it takes a mask) and one MLP, whatever their names
        norm
      head            the unembedding

What a layer adds to the residual stream is found by running it (additions.py).
"""

import inspect
from dataclasses import dataclass
from typing import Any, cast

from torch import nn

from pipeline.models.errors import ModelError
from pipeline.models.sources import DECODERS, built_otherwise

SIZES = ("hidden_size", "vocab_size", "max_position_embeddings")
"""Attributes of its configuration that a model must have."""


@dataclass(frozen=True)
class Structure:
    """Names of a model's parts."""

    core: str
    """Attribute of the model."""
    layers: str
    """This and the next, attributes of the core."""
    norm: str
    head: str
    """Attribute of the model."""
    attention: str
    """This and the next, attributes of a layer."""
    mlp: str
    """"" where a layer has no single MLP."""


def find_structure(model: nn.Module) -> Structure:
    """The parts of a model that writes text. Needs no weights. Raises ModelError when it is not built so."""
    name = type(model).__name__
    core_name = str(getattr(model, "base_model_prefix", ""))
    core = getattr(model, core_name, None) if core_name else None
    if not isinstance(core, nn.Module):
        raise ModelError(built_otherwise(name, "core of its own below its head"))
    layers = _layers_of(core, name)
    head = _name_of(model, cast(Any, model).get_output_embeddings())
    if not head:
        raise ModelError(built_otherwise(name, "unembedding (`lm_head`)"))
    attention, mlp = _parts_of_layer(getattr(core, layers)[0], name)
    _check_sizes(model)
    return Structure(core_name, layers, _norm_behind(core, layers, name), head, attention, mlp)


def _check_sizes(model: Any) -> None:
    text = model.config.get_text_config()
    for size in SIZES:
        if not isinstance(getattr(text, size, None), int):
            raise ModelError(
                f"the config.json of {type(model).__name__} has no `{size}`: without it the model cannot be read here; "
                "give another model"
            )


def _layers_of(core: nn.Module, name: str) -> str:
    found = [attribute for attribute, child in core.named_children() if isinstance(child, nn.ModuleList) and len(child)]
    if len(found) != 1:
        raise ModelError(built_otherwise(name, "list of layers in its core"))
    return found[0]


def _norm_behind(core: nn.Module, layers: str, name: str) -> str:
    """The norm that is made after the layers."""
    names = [attribute for attribute, _ in core.named_children()]
    behind = names[names.index(layers) + 1 :]
    norms = [one for one in behind if "norm" in type(getattr(core, one)).__name__.lower()]
    if len(norms) != 1:
        raise ModelError(built_otherwise(name, "final norm behind its layers"))
    return norms[0]


def _parts_of_layer(layer: nn.Module, name: str) -> tuple[str, str]:
    """Attention and MLP: the children of a layer that hold matrices; the attention takes a mask, and is called so."""
    holding = [attribute for attribute, child in layer.named_children() if any(p.dim() > 1 for p in child.parameters())]
    attending = [one for one in holding if _attends(getattr(layer, one))]
    if len(attending) != 1:
        what = "no attention" if not attending else "several attentions"
        raise ModelError(f"a layer of {name} has {what}: {DECODERS}")
    others = [one for one in holding if one not in attending]
    return attending[0], others[0] if len(others) == 1 else ""


def _attends(child: nn.Module) -> bool:
    takes_mask = "attention_mask" in inspect.signature(child.forward).parameters
    return takes_mask and "attention" in type(child).__name__.lower()


def _name_of(module: nn.Module, child: object) -> str:
    return next((name for name, one in module.named_children() if one is child), "")


class Parts:
    """A model with its parts by what they are."""

    def __init__(self, model: Any) -> None:
        """Raises ModelError when the model is not built as those that can be read here."""
        self.model, self.structure = model, find_structure(model)

    @property
    def core(self) -> Any:
        return getattr(self.model, self.structure.core)

    @property
    def layers(self) -> nn.ModuleList:
        return cast(nn.ModuleList, getattr(self.core, self.structure.layers))

    @property
    def norm(self) -> Any:
        return getattr(self.core, self.structure.norm)

    @property
    def head(self) -> Any:
        """The unembedding; None where it was forgotten."""
        return getattr(self.model, self.structure.head)

    @property
    def embedding(self) -> Any:
        return self.core.get_input_embeddings()

    def forget_after(self, num_layers: int) -> None:
        """Keep the leading layers alone."""
        del self.layers[num_layers:]
        setattr(self.model, self.structure.head, None)

    def down_projection(self, layer: nn.Module) -> Any:
        """The last matrix of a layer's MLP, whose input are its neurons. Raises ModelError when there is none."""
        children: list[Any] = list(getattr(layer, self.structure.mlp).children()) if self.structure.mlp else []
        matrices = [one for one in children if getattr(one, "weight", None) is not None and one.weight.dim() == 2]
        if not matrices or _sizes(matrices[-1])[1] != self.core.config.get_text_config().hidden_size:
            raise ModelError(f"{type(layer).__name__} has no MLP that ends in one matrix, whose input are its neurons")
        return matrices[-1]

    def neurons_of(self, layer: nn.Module) -> int:
        """Neurons of a layer's MLP."""
        return _sizes(self.down_projection(layer))[0]


def _sizes(matrix: Any) -> tuple[int, int]:
    """Numbers that go into a linear map and come out. GPT-2 keeps its matrices the other way round (`Conv1D`)."""
    rows, columns = matrix.weight.shape
    return (columns, rows) if isinstance(matrix, nn.Linear) else (rows, columns)
