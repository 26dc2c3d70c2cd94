"""Hooks: the places in a model whose activations SAEs read, and at which they are steered.

    resid_pre N    the residual stream before layer N, the same as resid_post N-1
    resid_mid N    between its attention and its MLP; not there where both read the same stream (GPT-NeoX)
    resid_post N   after it
    attn N         what its attention adds to the stream, behind the norm where there is one
    mlp N          the same of its MLP

Whatever the hook is, what follows it is a change of the stream after some leading layers, token by token (`Cut.lift`),
and the layers after those. So attribution, effects and steering need nothing else of a hook.

Shapes: B sequences, L tokens, D width.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple, cast

from torch import Tensor, nn

from pipeline.models.additions import Layer, find_additions, tapped
from pipeline.models.errors import ModelError
from pipeline.models.modules import Given, Nothing, PassOn, Wide, input_of, output_of, shallow, unhooked
from pipeline.models.structure import Parts

Hook = Literal["resid_pre", "resid_mid", "resid_post", "attn", "mlp"]


class AtHook(NamedTuple):
    """The activations at a hook."""

    x_BLD: Tensor
    beside_BLD: Tensor | None
    """attn, mlp: all else that makes the residual stream behind it; None elsewhere."""

    def of_row(self, row: int) -> tuple[Tensor, Tensor | None]:
        """Those of one sequence [L, D]."""
        return self.x_BLD[row], None if self.beside_BLD is None else self.beside_BLD[row]


class Cut:
    """The layers of a model, by transformers' own code, up to a hook and after it, sharing all weights."""

    def __init__(self, parts: Parts, layer: int, hook: Hook, *, wide: bool = False) -> None:
        """wide: every part in float32. Raises ModelError when the model has no such hook."""
        self._parts, self.hook, self._wide = parts, hook, wide
        self.num_layers = layer if hook == "resid_pre" else layer + 1
        """Leading layers that are run up to the hook."""
        self._layer = parts.layers[layer]
        self.is_stream = hook in ("resid_pre", "resid_post")
        self.additions = None if self.is_stream else find_additions(parts, layer)
        if hook == "resid_mid" and self.additions is not None and self.additions.parallel:
            raise ModelError(
                f"{type(self._layer).__name__} has no stream between attention and MLP, for both read the same one: "
                "set model.hook to resid_pre, resid_post, attn or mlp"
            )
        self._until = self._leading()
        self._rest = self._mlp_alone() if hook == "resid_mid" or (hook == "attn" and not self.is_parallel) else None

    @property
    def needs_beside(self) -> bool:
        """Whether `lift` needs more than the activations at the hook."""
        return self.hook in ("attn", "mlp")

    @property
    def is_parallel(self) -> bool:
        return self.additions is not None and self.additions.parallel

    def until(self, **inputs: Tensor) -> AtHook:
        """Run the model up to the hook. inputs: `input_ids` or `inputs_embeds`."""
        if self.additions is None:
            return AtHook(self._run(**inputs), None)
        with tapped(self._layer, self.additions) as last:
            self._run(**inputs)
            return self.at_hook(last())

    def at_hook(self, layer: Layer) -> AtHook:
        """The activations at a hook within a layer."""
        before, attention, mlp = layer
        if self.hook == "resid_mid":
            return AtHook(before + attention, None)
        if self.hook == "attn":
            return AtHook(attention, before + mlp if self.is_parallel else before)
        return AtHook(mlp, before + attention)

    @contextmanager
    def watched(self, layer: nn.Module) -> Iterator[Callable[[], Tensor]]:
        """A function that says what was at this hook of any layer [B, L, D] when it was last run within the block."""
        if self.additions is not None:
            with tapped(layer, self.additions) as last:
                yield lambda: self.at_hook(last()).x_BLD
            return
        seen: list[Tensor] = []

        def keep(module: object, args: Any, kwargs: Any, output: Any) -> None:
            seen[:] = [input_of(args, kwargs) if self.hook == "resid_pre" else output_of(output)]

        handle = layer.register_forward_hook(keep, with_kwargs=True)
        try:
            yield lambda: seen[0]
        finally:
            handle.remove()

    def lift(self, x_BLD: Tensor, beside_BLD: Tensor | None) -> Tensor:
        """The residual stream behind the layer of the hook, when the hook has `x_BLD`; differentiable."""
        stream_BLD = x_BLD if beside_BLD is None else beside_BLD + x_BLD
        return stream_BLD if self._rest is None else cast(Tensor, self._rest(stream_BLD))

    def _run(self, **inputs: Tensor) -> Tensor:
        return cast(Tensor, self._until(**inputs, use_cache=False).last_hidden_state)

    def _leading(self) -> Any:
        structure, core = self._parts.structure, shallow(self._parts.core)
        setattr(core, structure.norm, nn.Identity())
        layers = self._parts.layers[: self.num_layers]
        if self._wide:
            # What is taken from within a layer must not be made anew in the backward pass.
            layers = nn.ModuleList([Wide(one, again=one is not self._layer or self.is_stream) for one in layers])
        setattr(core, structure.layers, layers)
        return core

    def _mlp_alone(self) -> nn.Module:
        """The layer of the hook without what its attention adds."""
        assert self.additions is not None, "only hooks within a layer need it"
        layer, attention = unhooked(self._layer), self._parts.structure.attention
        setattr(layer, attention, Nothing(as_tuple=self.additions.as_tuple))
        if self.additions.attention != attention:
            setattr(layer, self.additions.attention, Nothing(as_tuple=False))
        return Wide(layer) if self._wide else layer


class Later:
    """The layers after the first few, and the final norm."""

    def __init__(self, parts: Parts, first: int, *, wide: bool = False) -> None:
        structure, core = parts.structure, shallow(parts.core)
        later: list[nn.Module] = [*parts.layers[first:], parts.norm]
        if wide:
            later = [Wide(one) for one in later]
        self._given = later[0] = Given(later[0])
        layers, norm = [*(PassOn() for _ in range(first)), *later[:-1]], later[-1]
        setattr(core, structure.layers, nn.ModuleList(layers))
        setattr(core, structure.norm, norm)
        self._core = core

    def __call__(self, stream_BLD: Tensor) -> Tensor:
        """Input of the head [B, L, D] from the residual stream behind the first layers."""
        self._given.x = stream_BLD
        try:
            # What is given here is seen by nothing but what comes before the layers, such as masks.
            return cast(Tensor, self._core(inputs_embeds=stream_BLD.detach(), use_cache=False).last_hidden_state)
        finally:
            self._given.x = None
