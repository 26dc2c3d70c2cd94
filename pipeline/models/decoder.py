"""A Llama model that writes one token at a time, several rows at once, with a hook after layer N.

It runs the weights of a transformers `LlamaForCausalLM` without that library's work around each layer: joined and, on
CPUs in bfloat16, repacked matrices, one cache made once, and a place of its own for every row in it. A row's token p
lies at place p of its row, so rows of unequal length need neither left padding nor shifted positions.

Shapes: B rows, L new tokens of each, T places in the cache, D width, V vocabulary, H heads of keys and values, G heads
of queries for each of them, E width of a head.
"""

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.models.errors import ModelError
from pipeline.models.language_model import LanguageModel

Edit = Callable[[Tensor, Tensor], Tensor]
"""From the residual stream after layer N [B, L, D] and the positions [B, L] to what the later layers read."""


def decoding_obstacle(model: Any) -> str:
    """The reason why a model of transformers cannot be written with here; "" when it can."""
    if type(model).__name__ == "LlamaForCausalLM":
        return ""
    return (
        f"{type(model).__name__} cannot be steered: writing works with LlamaForCausalLM alone so far. Prompts and "
        "features of this model can be seen all the same"
    )


class Cache:
    """Keys and values of every row, in places of its own."""

    def __init__(self, num_layers: int, rows: int, places: int, heads: int, head_width: int, like: Tensor) -> None:
        shape = (num_layers, rows, places, heads, head_width)
        self.keys = like.new_zeros(shape)
        self.values = like.new_zeros(shape)
        self.lengths_B = torch.zeros(rows, dtype=torch.long, device=like.device)
        """Tokens in place of each row."""

    def keep(self, rows: Sequence[int]) -> None:
        """Forget all rows but these."""
        self.keys, self.values = self.keys[:, rows], self.values[:, rows]
        self.lengths_B = self.lengths_B[rows]

    def join(self, other: "Cache") -> None:
        """Put the rows of another cache behind these."""
        places = max(self.keys.shape[2], other.keys.shape[2])
        self.keys = torch.cat([_widened(self.keys, places), _widened(other.keys, places)], dim=1)
        self.values = torch.cat([_widened(self.values, places), _widened(other.values, places)], dim=1)
        self.lengths_B = torch.cat([self.lengths_B, other.lengths_B])


class Decoder:
    """The whole model of a `LanguageModel`, for writing."""

    def __init__(self, language_model: LanguageModel) -> None:
        """Raises ModelError when the model is not a Llama: no other is ever run as if it were one."""
        model = language_model.model
        reason = decoding_obstacle(model)
        if reason:
            raise ModelError(reason)
        self.layer = language_model.layer
        self.context_length = language_model.context_length
        self.stop_ids = _stop_ids(model)
        self._embed, self._rotary, self._norm = (
            model.model.embed_tokens,
            model.model.rotary_emb,
            _Norm(model.model.norm),
        )
        self._layers = [_Layer(layer) for layer in model.model.layers]
        self._head = _Linear([model.lm_head])
        attention = model.model.layers[0].self_attn
        self._heads = model.config.num_key_value_heads
        self._head_width = attention.head_dim

    def cache(self, rows: int, places: int) -> Cache:
        """An empty cache. Raises ModelError when a row would outgrow what the model can read."""
        if places > self.context_length:
            raise ModelError(
                f"{places} tokens are more than the {self.context_length} that this model reads: shorten the prompt or "
                "ask for fewer new tokens"
            )
        return Cache(len(self._layers), rows, places, self._heads, self._head_width, self._embed.weight)

    @torch.no_grad()
    def read(
        self, tokens_BL: Tensor, counts_B: Tensor, cache: Cache, edit: Edit, *, head: bool = True
    ) -> Tensor | None:
        """Read the next tokens of every row; logits [B, V], float32, of what follows each row's last.

        tokens_BL may be padded on the right; counts_B says how many of each row count. With head=False, layers after N
        are not run and nothing comes back: for `edit` to see the last tokens.
        """
        device = self._embed.weight.device
        tokens_BL, counts_B = tokens_BL.to(device), counts_B.to(device)
        positions_BL = cache.lengths_B[:, None] + torch.arange(tokens_BL.shape[1], device=device)
        used = int(positions_BL.max()) + 1
        x_BLD = self._embed(tokens_BL)
        rope = self._rotary(x_BLD, positions_BL)
        mask = _causal_mask(positions_BL, used, x_BLD.dtype)
        for number, layer in enumerate(self._layers):
            x_BLD = layer(x_BLD, rope, mask, positions_BL, cache.keys[number], cache.values[number])
            if number == self.layer:
                x_BLD = edit(x_BLD, positions_BL)
                if not head:
                    return None
        cache.lengths_B = cache.lengths_B + counts_B
        last_BD = x_BLD[torch.arange(len(x_BLD), device=device), counts_B - 1]
        return self._head(self._norm(last_BD)).float()


class _Layer:
    """One decoder layer."""

    def __init__(self, layer: Any) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        self._attention_norm, self._mlp_norm = _Norm(layer.input_layernorm), _Norm(layer.post_attention_layernorm)
        self._queries_keys_values = _Linear([attention.q_proj, attention.k_proj, attention.v_proj])
        self._attention_out, self._mlp_out = _Linear([attention.o_proj]), _Linear([mlp.down_proj])
        self._gate_up, self._activation = _Linear([mlp.gate_proj, mlp.up_proj]), mlp.act_fn
        self._head_width, self._scaling = attention.head_dim, attention.scaling
        self._groups = attention.num_key_value_groups

    def __call__(
        self,
        x_BLD: Tensor,
        rope: tuple[Tensor, Tensor],
        mask: Tensor,
        positions_BL: Tensor,
        keys: Tensor,
        values: Tensor,
    ) -> Tensor:
        x_BLD = x_BLD + self._attend(self._attention_norm(x_BLD), rope, mask, positions_BL, keys, values)
        gate, up = self._gate_up(self._mlp_norm(x_BLD)).chunk(2, dim=-1)
        return x_BLD + self._mlp_out(self._activation(gate) * up)

    def _attend(
        self,
        h_BLD: Tensor,
        rope: tuple[Tensor, Tensor],
        mask: Tensor,
        positions_BL: Tensor,
        keys: Tensor,
        values: Tensor,
    ) -> Tensor:
        B, L, _ = h_BLD.shape
        heads, width, groups = keys.shape[2], self._head_width, self._groups
        joined = self._queries_keys_values(h_BLD).view(B, L, -1, width)
        rotated, value_BLHE = rotate(joined[:, :, :-heads], rope), joined[:, :, -heads:]
        query, key_BLHE = rotated[:, :, :-heads], rotated[:, :, -heads:]
        row_B1 = torch.arange(B, device=h_BLD.device)[:, None]
        keys[row_B1, positions_BL] = key_BLHE
        values[row_B1, positions_BL] = value_BLHE
        # The G queries that share a head's keys stand side by side, so that no key is copied.
        query = query.view(B, L, heads, groups, width).permute(0, 2, 3, 1, 4).reshape(B, heads, groups * L, width)
        used = mask.shape[-1]
        out = F.scaled_dot_product_attention(
            query,
            keys[:, :used].transpose(1, 2),
            values[:, :used].transpose(1, 2),
            attn_mask=mask.expand(B, groups, L, used).reshape(B, 1, groups * L, used),
            scale=self._scaling,
        )
        out = out.view(B, heads, groups, L, width).permute(0, 3, 1, 2, 4).reshape(B, L, -1)
        return self._attention_out(out)


class _Linear:
    """One or several linear maps of the same input as one product, their outputs side by side."""

    def __init__(self, modules: Sequence[nn.Linear]) -> None:
        weights = [module.weight.detach() for module in modules]
        weight = weights[0] if len(weights) == 1 else torch.cat(weights)
        biases = [module.bias for module in modules]
        self._bias = None if biases[0] is None else torch.cat([bias.detach() for bias in biases])
        self._packed = _can_pack(weight)
        if self._packed:
            # As torch.compile does with frozen weights: twice as fast for few rows, at twice the memory.
            weight = torch.ops.mkldnn._reorder_linear_weight(weight, None)
        elif len(weights) > 1:
            for module, rows in zip(modules, torch.split(weight, [len(part) for part in weights]), strict=True):
                module.weight = nn.Parameter(rows, requires_grad=False)  # the model reads the joined copy from now on
        self._weight = weight

    def __call__(self, x: Tensor) -> Tensor:
        if self._packed:
            return cast(Tensor, torch.ops.mkldnn._linear_pointwise(x, self._weight, self._bias, "none", [], ""))
        return F.linear(x, self._weight, self._bias)


class _Norm:
    """RMS norm, in float32 within."""

    def __init__(self, norm: Any) -> None:
        self._weight: Tensor = norm.weight.detach()
        self._epsilon = float(norm.variance_epsilon)

    def __call__(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self._weight.shape, self._weight, self._epsilon)


def _widened(rows: Tensor, places: int) -> Tensor:
    """Keys or values [layers, B, T, H, E] with room for more tokens."""
    return F.pad(rows, (0, 0, 0, 0, 0, places - rows.shape[2]))


def rotate(x_BLHE: Tensor, rope: tuple[Tensor, Tensor]) -> Tensor:
    """Rotary embedding: each half of a head against the other."""
    cosine, sine = (part.unsqueeze(2) for part in rope)
    first, second = x_BLHE.chunk(2, dim=-1)
    return torch.addcmul(x_BLHE * cosine, torch.cat((-second, first), dim=-1), sine)


def _causal_mask(positions_BL: Tensor, used: int, dtype: torch.dtype) -> Tensor:
    """0 where a token may look, -inf where it may not: [B, 1, L, used]. Padding and later places are hidden."""
    hidden = torch.arange(used, device=positions_BL.device) > positions_BL[:, None, :, None]
    return torch.zeros(hidden.shape, dtype=dtype, device=positions_BL.device).masked_fill_(hidden, float("-inf"))


def _can_pack(weight: Tensor) -> bool:
    on_cpu = weight.device.type == "cpu" and weight.dtype == torch.bfloat16
    return on_cpu and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _stop_ids(model: Any) -> frozenset[int]:
    """Tokens that end a text, by the model's own configurations."""
    found: set[int] = set()
    for configuration in (model.config, model.generation_config):
        ids = getattr(configuration, "eos_token_id", None)
        found |= set() if ids is None else {ids} if isinstance(ids, int) else set(ids)
    return frozenset(found)
