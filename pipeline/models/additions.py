"""What a layer adds to the residual stream, found by running it: outputs of its attention and its MLP, or of the norm
behind either.

    y = x + a + m       one after the other: the MLP reads x + a;  parallel (GPT-NeoX): it reads x
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pipeline.models.errors import ModelError
from pipeline.models.modules import Wide, input_of, output_of, shallow, wide_dtype
from pipeline.models.structure import Parts

PROBED = 8
"""Tokens on which a layer is tried."""
TOLERANCE = 0.02
"""Relative difference by which two ways to the same sum may part in float32, beside a stream of any length."""


class Additions(NamedTuple):
    """Where a layer adds to the residual stream."""

    attention: str
    """Child of the layer whose output is a."""
    mlp: str
    """The same of m."""
    parallel: bool
    """Whether the MLP reads x."""
    as_tuple: bool
    """Whether the attention gives something beside."""


class Layer(NamedTuple):
    """One layer's run, each [B, L, D]."""

    before_BLD: Tensor
    """x"""
    attention_BLD: Tensor
    """a"""
    mlp_BLD: Tensor
    """m"""


class _Call(NamedTuple):
    child: str
    given: Tensor | None
    gave: Tensor
    as_tuple: bool


@torch.no_grad()
def find_additions(parts: Parts, number: int) -> Additions:
    """Where layer `number` adds to the residual stream. Raises ModelError when it is more than two additions."""
    structure, layer = parts.structure, parts.layers[number]
    vocabulary = parts.core.config.get_text_config().vocab_size
    tokens = torch.arange(PROBED, device=parts.embedding.weight.device)[None] % vocabulary
    core = shallow(parts.core)
    setattr(core, structure.layers, nn.ModuleList([*parts.layers[:number], _Widened(layer)]))
    setattr(core, structure.norm, nn.Identity())
    with _watched(layer) as (calls, ends):
        core(input_ids=tokens, use_cache=False)
    names = [call.child for call in calls]
    if structure.attention not in names or structure.mlp not in names[names.index(structure.attention) :]:
        raise _unclear(layer)
    before, after = ends[0]
    first, feed = names.index(structure.attention), names.index(structure.mlp)
    for a, m in ((a, m) for a in range(first, feed) for m in range(feed, len(calls))):
        attended, fed = calls[a].gave, calls[m].gave
        if attended.shape == fed.shape == before.shape and _near(after - before, attended + fed):
            reads = [call.given for call in calls[a + 1 : feed + 1] if call.given is not None]
            parallel = not any(_near(given - before, attended) for given in reads if given.shape == before.shape)
            return Additions(names[a], names[m], parallel, calls[first].as_tuple)
    raise _unclear(layer)


class _Widened(Wide):
    """A layer in float32, whatever it is called with."""

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        return self._run(hidden_states.to(wide_dtype(hidden_states.dtype)), *args, **kwargs)


def _unclear(layer: nn.Module) -> ModelError:
    return ModelError(
        f"{type(layer).__name__} does not add one output of its attention and one of its MLP to the residual stream: "
        "of this model only resid_pre and resid_post can be read"
    )


def _near(one: Tensor, other: Tensor) -> bool:
    return bool((one - other).norm() <= TOLERANCE * other.norm())


@contextmanager
def _watched(layer: nn.Module) -> Iterator[tuple[list[_Call], list[tuple[Tensor, Tensor]]]]:
    """The input and output of each child of a layer, and of the layer itself, while the block runs."""
    calls: list[_Call] = []
    ends: list[tuple[Tensor, Tensor]] = []

    def child_hook(name: str) -> Callable[..., None]:
        def hook(module: object, args: Any, kwargs: Any, output: Any) -> None:
            if (gave := output_of(output)) is not None:
                calls.append(_Call(name, input_of(args, kwargs), gave, isinstance(output, tuple)))

        return hook

    def layer_hook(module: object, args: Any, kwargs: Any, output: Any) -> None:
        ends.append((input_of(args, kwargs), output_of(output)))

    children = layer.named_children()
    handles = [child.register_forward_hook(child_hook(name), with_kwargs=True) for name, child in children]
    handles.append(layer.register_forward_hook(layer_hook, with_kwargs=True))
    try:
        yield calls, ends
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def tapped(layer: nn.Module, additions: Additions) -> Iterator[Callable[[], Layer]]:
    """A function that says what a layer did when it was last run within the block."""
    with _watched(layer) as (calls, ends):

        def last() -> Layer:
            gave = {call.child: call.gave for call in calls}
            found = Layer(ends[-1][0], gave[additions.attention], gave[additions.mlp])
            calls.clear()
            ends.clear()
            return found

        yield last
