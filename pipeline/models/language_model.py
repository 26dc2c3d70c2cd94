"""A decoder-only language model, read at one hook.

Any transformers model that is built as structure.py says works, by its own code: the part up to the hook and the part
after it are the model itself with some layers left out, sharing its weights. So masks, position embeddings and the
scaling of embeddings are those of the architecture.

Shapes: B sequences, L tokens of one sequence (BOS included), D width, V vocabulary, M MLP neurons of one layer.
Sequences of unequal length are padded on the right with any token: under causal attention no token sees what follows
it, so no mask is needed, and only the padding's own outputs are meaningless.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Self, cast

import torch
import transformers
from torch import Tensor, nn

from pipeline.models.device import check_device
from pipeline.models.errors import ModelError
from pipeline.models.fused import FusedLayers, fusing_obstacle
from pipeline.models.hooks import AtHook, Cut, Hook, Later
from pipeline.models.onednn import needs_wide_products, widen_products
from pipeline.models.structure import Parts

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
PARTS_TOLERANCE = 0.05
"""Relative difference of logits by which rounding may part the model from its own parts."""
TakeNeurons = Callable[[int, Tensor], None]


class LanguageModel:
    """A language model in memory, cut at a hook (hooks.py) of layer N, N from 0."""

    def __init__(
        self,
        model: Any,
        *,
        layer: int,
        hook: Hook = "resid_post",
        only_until_layer: bool = False,
        fused: bool = True,
        packed: FusedLayers | None = None,
    ) -> None:
        """packed: of the same model, cut at another hook.

        Raises ModelError when the model is not built as those that can be read here, or has no such hook.
        """
        self.parts = Parts(model.eval().requires_grad_(False))
        self.model: Any = model
        config = model.config.get_text_config()
        self.num_layers = len(self.parts.layers)
        if not 0 <= layer < self.num_layers:
            raise ModelError(f"layer {layer} is out of range: the model has layers 0 to {self.num_layers - 1}")
        self.layer, self.hook = layer, hook
        self.width = int(config.hidden_size)
        self.vocab_size = int(config.vocab_size)
        self.context_length = int(config.max_position_embeddings)
        weight = self.parts.embedding.weight
        self.dtype: torch.dtype = weight.dtype
        self.device: torch.device = weight.device
        self.cut = Cut(self.parts, layer, hook)
        reason = fusing_obstacle(self.parts.core) if fused else "it was not asked for"
        self._fused = FusedLayers(self.parts.core, self.cut.num_layers, packed) if reason is None else None
        self.implementation = (
            "fused layers" if reason is None else f"the layers as transformers has them (no fused ones: {reason})"
        )
        """The code that `residuals` runs, and the reason for it: our fused layers, or those of transformers."""
        if needs_wide_products(weight):
            widen_products(self.model)
            self.implementation += ", their products in float32"
        later = Later(self.parts, self.cut.num_layers)
        self._check_parts(later)
        self._later = None if only_until_layer else later
        self._fused_later: FusedLayers | None = None
        if only_until_layer:
            self.parts.forget_after(layer + 1)

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        layer: int,
        hook: Hook = "resid_post",
        dtype: str = "bfloat16",
        device: str = "cpu",
        only_until_layer: bool = False,
        fused: bool = True,
    ) -> Self:
        """Read a local folder with `config.json` and safetensors.

        only_until_layer: forget the later layers and the head, so that `logits` and `logits_from` are not there.
        fused: let `residuals` run the faster layers of fused.py where they fit this model, see `implementation`.
        Raises ModelError when the folder holds no such model, it has no such hook, or the device is not there.
        """
        check_device(device)
        if dtype not in DTYPES:
            raise ModelError(f"dtype '{dtype}' is not one of {', '.join(DTYPES)}")
        model = _read(folder, DTYPES[dtype]).to(device)
        return cls(model, layer=layer, hook=hook, only_until_layer=only_until_layer, fused=fused)

    def at(self, layer: int, hook: Hook) -> Self:
        """The same model with the same weights, cut at another hook. Raises ModelError when it has no such hook, or was
        loaded up to a layer only."""
        self._require_later()
        return type(self)(self.model, layer=layer, hook=hook, packed=self._fused)

    @property
    def fused_layers(self) -> FusedLayers | None:
        """Our own layers up to the hook, where they fit this model."""
        return self._fused

    @property
    def layers(self) -> nn.ModuleList:
        """All layers, or those up to N where the later ones were forgotten."""
        return self.parts.layers

    @torch.no_grad()
    def residuals(self, tokens_BL: Tensor) -> Tensor:
        """The activations at the hook, [B, L, D] in the model's dtype; later layers and the head are not run."""
        return self.read(tokens_BL).x_BLD

    @torch.no_grad()
    def read(self, tokens_BL: Tensor) -> AtHook:
        """The same, with what `hidden_from` needs beside."""
        return self._read(tokens_BL.to(self.device))

    def _read(self, tokens_BL: Tensor, take_neurons: TakeNeurons | None = None) -> AtHook:
        if self._fused is None:
            return self.cut.until(input_ids=tokens_BL)
        if self.cut.is_stream:
            return AtHook(self._fused(tokens_BL, take_neurons), None)
        return self.cut.at_hook(self._fused.last_layer(tokens_BL, take_neurons))

    @torch.no_grad()
    def logits(self, tokens_BL: Tensor) -> Tensor:
        """The whole model's logits [B, L, V] in its dtype."""
        self._require_later()
        return cast(Tensor, self.model(input_ids=tokens_BL.to(self.device), use_cache=False).logits)

    def logits_from(self, x_BLD: Tensor, beside_BLD: Tensor | None = None) -> Tensor:
        """Logits [B, L, V] when the hook has `x_BLD`; differentiable with respect to it. beside: as `read` gave it."""
        return self._head(self._hidden_from(x_BLD, beside_BLD))

    @torch.no_grad()
    def hidden_from(self, x_BLD: Tensor, beside_BLD: Tensor | None = None) -> Tensor:
        """Input of the head [B, L, D]: the later layers and the final norm, when the hook has `x_BLD`."""
        if self._fused is None:
            return self._hidden_from(x_BLD, beside_BLD)
        self._require_later()
        if self._fused_later is None:  # a copy of weights that many uses do without
            self._fused_later = FusedLayers(self.parts.core, self.num_layers, after=self.cut.num_layers)
        stream_BLD = self.cut.lift(x_BLD.to(self.device, self.dtype), beside_BLD)
        return cast(Tensor, self.parts.norm(self._fused_later.behind(stream_BLD)))

    @torch.no_grad()
    def hidden(self, tokens_BL: Tensor) -> Tensor:
        """Input of the head [B, L, D] for some tokens, nothing changed."""
        return self.hidden_from(*self._read(tokens_BL.to(self.device)))

    def _hidden_from(self, x_BLD: Tensor, beside_BLD: Tensor | None) -> Tensor:
        later = self._require_later()
        return later(self.cut.lift(x_BLD.to(self.device, self.dtype), beside_BLD))

    @torch.no_grad()
    def head(self, hidden_ND: Tensor) -> Tensor:
        """Logits [N, V] of what `hidden_from` gives, for as many positions at once as memory allows."""
        self._require_later()
        return self._head(hidden_ND)

    def _head(self, hidden: Tensor) -> Tensor:
        return cap_logits(self.model, self.parts.head(hidden))

    @torch.no_grad()
    def unembedding(self) -> tuple[Tensor, Tensor]:
        """The final norm's scale [D] and the unembedding W_U [V, D].

        Logits are W_U @ (scale * x / rms(x)). Where the norm takes the mean off x, W_U takes it off instead.
        """
        self._require_later()
        W_U_VD = self.parts.head.weight
        scale_D = _norm_scale(self.parts.norm, W_U_VD)
        if not _takes_mean_off(self.parts.norm, scale_D):
            return scale_D, W_U_VD
        scaled_VD = W_U_VD.float() * scale_D.float()
        return torch.ones_like(scale_D), scaled_VD - scaled_VD.mean(1, keepdim=True)

    def neurons_per_layer(self) -> int:
        """M. Raises ModelError when the layers up to the hook have no MLP neurons, or not all as many."""
        layers = self.layers[: self.cut.num_layers]
        if not len(layers):
            raise ModelError("no layer is run before the hook")
        sizes = {self.parts.neurons_of(layer) for layer in layers}
        if len(sizes) > 1:
            raise ModelError(f"the layers have MLPs of different sizes ({', '.join(map(str, sorted(sizes)))} neurons)")
        return sizes.pop()

    @torch.no_grad()
    def residuals_and_neurons(self, tokens_BL: Tensor, take_neurons: TakeNeurons) -> Tensor:
        """The same as `residuals`, to the bit. `take_neurons` is called for the layers up to the hook in order, with
        the layer's number and the activations of its MLP neurons (the input of its last matrix) [B, L, M]."""
        if self._fused is not None:
            return self._read(tokens_BL.to(self.device), take_neurons).x_BLD

        def hook(number: int, layer: nn.Module) -> Any:
            return self.parts.down_projection(layer).register_forward_pre_hook(
                lambda module, inputs: take_neurons(number, inputs[0])
            )

        hooks = [hook(number, layer) for number, layer in enumerate(self.layers[: self.cut.num_layers])]
        try:
            return self.residuals(tokens_BL)
        finally:
            for handle in hooks:
                handle.remove()

    @torch.no_grad()
    def _check_parts(self, later: Later) -> None:
        """Raise ModelError unless the parts put together give the model's own logits, on a few tokens.

        They do not where the model itself scales logits behind its head, as Granite's and Cohere's do.
        """
        tokens_1L = torch.arange(4, device=self.device)[None] % self.vocab_size
        whole_LV = self.model(input_ids=tokens_1L, use_cache=False).logits[0].float()
        parts_LV = self._head(later(self.cut.lift(*self.cut.until(input_ids=tokens_1L)))[0]).float()
        if (parts_LV - whole_LV).norm() > PARTS_TOLERANCE * whole_LV.norm():
            raise ModelError(
                f"{type(self.model).__name__} does more around its layers than run them, for its parts do not give its "
                "own logits: such models cannot be read here yet"
            )

    def _require_later(self) -> Later:
        if self._later is None:
            raise ModelError(f"the model was loaded up to layer {self.layer} only: load it whole for its logits")
        return self._later


def _read(folder: Path, dtype: torch.dtype) -> Any:
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder} holds no language model (no config.json): give a folder saved with save_pretrained")
    if not any(folder.glob("*.safetensors")):
        raise ModelError(
            f"{folder} holds no weights (no .safetensors): fetch the model again, or save it as safetensors"
        )
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()  # its warnings are of masks, which causal models need not have
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


def cap_logits(model: Any, logits: Tensor) -> Tensor:
    """Logits with the soft cap of a model that has one (Gemma 2), else unchanged."""
    cap = getattr(model.config.get_text_config(), "final_logit_softcapping", None)
    return logits if cap is None else torch.tanh(logits / cap) * cap


def _norm_scale(norm: nn.Module, W_U_VD: Tensor) -> Tensor:
    """The factor by which a norm scales each dimension, kept as `weight`, as 1 + `weight`, or not at all."""
    weight, width = getattr(norm, "weight", None), W_U_VD.shape[1]
    if weight is None:
        return W_U_VD.new_ones(width)
    if isinstance(norm, nn.LayerNorm):
        return cast(Tensor, weight)
    # An RMS norm turns a constant vector into its scale; the constant is large so that epsilon does not count.
    return cast(Tensor, norm(torch.full((1, width), 1024.0, dtype=weight.dtype, device=weight.device)))[0]


def _takes_mean_off(norm: nn.Module, scale_D: Tensor) -> bool:
    """Whether a norm gives the same of a vector moved along all dimensions alike."""
    x_1D = torch.linspace(-8.0, 8.0, len(scale_D), device=scale_D.device, dtype=scale_D.dtype)[None]
    normed_1D, moved_1D = norm(x_1D), norm(x_1D + 8)
    return bool((normed_1D - moved_1D).norm() < 0.05 * normed_1D.norm())
