"""A decoder-only language model, read at the output of one layer.

Any transformers model whose layers sit in `model.layers` works, by its own code: the part up to layer N and the part
after it are the model itself with some layers left out, sharing its weights. So masks, rotary embeddings and the
scaling of embeddings are those of the architecture.

Shapes: B sequences, L tokens of one sequence (BOS included), D width, V vocabulary, M MLP neurons of one layer.
Sequences of unequal length are padded on the right with any token: under causal attention no token sees what follows
it, so no mask is needed, and only the padding's own outputs are meaningless.
"""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self, cast

import torch
import transformers
from torch import Tensor, nn

from pipeline.models.device import check_device
from pipeline.models.errors import ModelError
from pipeline.models.fused import FusedLayers, fusing_obstacle
from pipeline.models.onednn import needs_wide_products, widen_products
from pipeline.models.sources import REQUIRED, built_otherwise

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
PARTS_TOLERANCE = 0.05
"""Relative difference of logits by which rounding may part the model from its own parts."""
SIZES = ("hidden_size", "vocab_size", "max_position_embeddings")
"""Attributes of its configuration."""


class LanguageModel:
    """A language model in memory, cut at layer N: layer N's output is `model.layers[N]`'s, N from 0."""

    def __init__(self, model: Any, *, layer: int, only_until_layer: bool = False, fused: bool = True) -> None:
        check_architecture(model)
        self.model: Any = model.eval().requires_grad_(False)
        self.layers: nn.ModuleList = self.model.model.layers
        config = self.model.config.get_text_config()
        self.num_layers = len(self.layers)
        if not 0 <= layer < self.num_layers:
            raise ModelError(f"layer {layer} is out of range: the model has layers 0 to {self.num_layers - 1}")
        self.layer = layer
        self.width = int(config.hidden_size)
        self.vocab_size = int(config.vocab_size)
        self.context_length = int(config.max_position_embeddings)
        weight = self.model.model.embed_tokens.weight
        self.dtype: torch.dtype = weight.dtype
        self.device: torch.device = weight.device
        self._until: Callable[..., Any] = until_layer(self.model.model, layer)
        self._after: Callable[..., Any] | None = None if only_until_layer else after_layer(self.model, layer)
        reason = fusing_obstacle(self._until) if fused else "it was not asked for"
        self._fused = FusedLayers(self._until, layer + 1) if reason is None else None
        self.implementation = (
            "fused layers" if reason is None else f"the layers as transformers has them (no fused ones: {reason})"
        )
        if needs_wide_products(weight):
            widen_products(self.model)
            self.implementation += ", their products in float32"
        """The code that `residuals` runs, and the reason for it: our fused layers, or those of transformers."""
        self._check_parts(after_layer(self.model, layer))
        if only_until_layer:
            del self.layers[layer + 1 :]
            self.model.lm_head = None

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        layer: int,
        dtype: str = "bfloat16",
        device: str = "cpu",
        only_until_layer: bool = False,
        fused: bool = True,
    ) -> Self:
        """Read a local folder with `config.json` and safetensors.

        only_until_layer: forget the later layers and the head, so that `logits` and `logits_from` are not there.
        fused: let `residuals` run the faster layers of fused.py where they fit this model, see `implementation`.
        Raises ModelError when the folder holds no such model, the layer is out of range, or the device is not there.
        """
        check_device(device)
        if dtype not in DTYPES:
            raise ModelError(f"dtype '{dtype}' is not one of {', '.join(DTYPES)}")
        model = _read(folder, DTYPES[dtype]).to(device)
        return cls(model, layer=layer, only_until_layer=only_until_layer, fused=fused)

    @torch.no_grad()
    def residuals(self, tokens_BL: Tensor) -> Tensor:
        """The residual stream after layer N, [B, L, D] in the model's dtype; later layers and the head are not run."""
        return self._run_until(tokens_BL) if self._fused is None else self._fused(tokens_BL.to(self.device))

    @torch.no_grad()
    def logits(self, tokens_BL: Tensor) -> Tensor:
        """The whole model's logits [B, L, V] in its dtype."""
        self._require_head()
        return cast(Tensor, self.model(input_ids=tokens_BL.to(self.device), use_cache=False).logits)

    def logits_from(self, x_BLD: Tensor) -> Tensor:
        """Logits [B, L, V] when the residual stream after layer N is `x_BLD`; differentiable with respect to it."""
        after = self._require_head()
        return cast(Tensor, after(inputs_embeds=x_BLD.to(self.device, self.dtype), use_cache=False).logits)

    @torch.no_grad()
    def hidden_from(self, x_BLD: Tensor) -> Tensor:
        """Input of the head [B, L, D]: the later layers and the final norm, from a given residual stream."""
        after = cast(Any, self._require_head())
        hidden = after.model(inputs_embeds=x_BLD.to(self.device, self.dtype), use_cache=False).last_hidden_state
        return cast(Tensor, hidden)

    @torch.no_grad()
    def head(self, hidden_ND: Tensor) -> Tensor:
        """Logits [N, V] of what `hidden_from` gives, for as many positions at once as memory allows."""
        self._require_head()
        return cap_logits(self.model, self.model.lm_head(hidden_ND))

    def unembedding(self) -> tuple[Tensor, Tensor]:
        """The final norm's scale [D] and the unembedding W_U [V, D]: logits are W_U @ (scale * x / rms(x))."""
        self._require_head()
        return _norm_scale(self.model.model.norm, self.width), self.model.lm_head.weight

    def neurons_per_layer(self) -> int:
        """M. Raises ModelError when the layers up to N have no MLP neurons, or not all as many."""
        sizes = {int(_down_projection(layer).in_features) for layer in self.layers[: self.layer + 1]}
        if len(sizes) > 1:
            raise ModelError(f"the layers have MLPs of different sizes ({', '.join(map(str, sorted(sizes)))} neurons)")
        return sizes.pop()

    @torch.no_grad()
    def residuals_and_neurons(self, tokens_BL: Tensor, take_neurons: Callable[[int, Tensor], None]) -> Tensor:
        """The same as `residuals`, to the bit. `take_neurons` is called for layers 0 to N in order, with the layer's
        number and the activations of its MLP neurons (the input of `down_proj`) [B, L, M]."""
        if self._fused is not None:
            return self._fused(tokens_BL.to(self.device), take_neurons)

        def hook(number: int, layer: nn.Module) -> Any:
            return _down_projection(layer).register_forward_pre_hook(
                lambda module, inputs: take_neurons(number, inputs[0])
            )

        hooks = [hook(number, layer) for number, layer in enumerate(self.layers[: self.layer + 1])]
        try:
            return self._run_until(tokens_BL)
        finally:
            for handle in hooks:
                handle.remove()

    def _run_until(self, tokens_BL: Tensor) -> Tensor:
        return cast(Tensor, self._until(input_ids=tokens_BL.to(self.device), use_cache=False).last_hidden_state)

    @torch.no_grad()
    def _check_parts(self, after: Any) -> None:
        """Raise ModelError unless the parts put together give the model's own logits, on a few tokens.

        They do not where the model itself scales embeddings or logits around its layers, as Granite's and Cohere's do.
        """
        tokens_1L = torch.arange(4, device=self.device)[None] % self.vocab_size
        whole_LV = self.model(input_ids=tokens_1L, use_cache=False).logits[0].float()
        hidden_BLD = after.model(inputs_embeds=self._run_until(tokens_1L), use_cache=False).last_hidden_state
        parts_LV = cap_logits(self.model, self.model.lm_head(hidden_BLD[0])).float()
        if (parts_LV - whole_LV).norm() > PARTS_TOLERANCE * whole_LV.norm():
            raise ModelError(
                f"{type(self.model).__name__} does more around its layers than run them, for its parts do not give its "
                "own logits: such models cannot be read here yet"
            )

    def _require_head(self) -> Callable[..., Any]:
        if self._after is None:
            raise ModelError(f"the model was loaded up to layer {self.layer} only: load it whole for its logits")
        return self._after


def _read(folder: Path, dtype: torch.dtype) -> Any:
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder} holds no language model (no config.json): give a folder saved with save_pretrained")
    if not any(folder.glob("*.safetensors")):
        raise ModelError(
            f"{folder} holds no weights (no .safetensors): fetch the model again, or save it as safetensors"
        )
    transformers.utils.logging.disable_progress_bar()
    try:
        model, loaded = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, local_files_only=True, trust_remote_code=False, output_loading_info=True
        )
    except Exception as error:  # transformers raises many kinds; each means that this folder cannot be used
        raise ModelError(f"the language model in {folder} cannot be read: {error}") from error
    if missing := sorted(loaded["missing_keys"]):
        raise ModelError(
            f"the weights in {folder} lack {missing[0]}{f' and {len(missing) - 1} more' if missing[1:] else ''}, which "
            f"{type(model).__name__} would make up at random: fetch or save the model again"
        )
    return model


def check_architecture(model: nn.Module) -> None:
    """Raise ModelError when the model is not built as those that can be read here. Needs no weights."""
    for path in REQUIRED:
        found: Any = model
        for name in path.split("."):
            found = getattr(found, name, None)
        if found is None:
            raise ModelError(built_otherwise(type(model).__name__, path))
    text = cast(Any, model).config.get_text_config()
    for name in SIZES:
        if not isinstance(getattr(text, name, None), int):
            raise ModelError(
                f"the config.json of {type(model).__name__} has no `{name}`: without it the model cannot be read here; "
                "give another model"
            )


def cap_logits(model: Any, logits: Tensor) -> Tensor:
    """Logits with the soft cap of a model that has one (Gemma 2), else unchanged."""
    cap = getattr(model.config.get_text_config(), "final_logit_softcapping", None)
    return logits if cap is None else torch.tanh(logits / cap) * cap


def until_layer(core: Any, layer: int) -> Any:
    """The decoder with layers 0 to `layer` and without the final norm, sharing all weights."""
    part = _shallow(core)
    part.layers = core.layers[: layer + 1]
    part.norm = nn.Identity()
    return part


def after_layer(model: Any, layer: int) -> Any:
    """The whole model with layers 0 to `layer` passing on what they get, sharing all weights."""
    whole, core = _shallow(model), _shallow(model.model)
    core.layers = nn.ModuleList([_PassOn() for _ in range(layer + 1)] + list(core.layers[layer + 1 :]))
    whole.model = core
    return whole


class _PassOn(nn.Module):
    """Stands in for a layer that has been run already."""

    def forward(self, hidden_states: Tensor, *args: object, **kwargs: object) -> Tensor:
        return hidden_states


def _shallow(module: nn.Module) -> Any:
    """The same module with a table of children of its own."""
    twin = copy.copy(module)
    twin._modules = dict(module._modules)
    return twin


def _norm_scale(norm: nn.Module, width: int) -> Tensor:
    """The factor by which a norm scales each dimension, whether it keeps that as `weight` or as 1 + `weight`."""
    weight = cast(Tensor, norm.weight)
    if isinstance(norm, nn.LayerNorm):
        return weight
    # An RMS norm turns a constant vector into its scale; the constant is large so that epsilon does not count.
    return cast(Tensor, norm(torch.full((1, width), 1024.0, dtype=weight.dtype, device=weight.device)))[0]


def _down_projection(layer: nn.Module) -> Any:
    projection = getattr(getattr(layer, "mlp", None), "down_proj", None)
    if projection is None or not hasattr(projection, "in_features"):
        raise ModelError(f"{type(layer).__name__} has no `mlp.down_proj`, whose input is taken for the MLP's neurons")
    return projection
