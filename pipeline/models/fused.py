"""A faster implementation of the layers of a Llama on a CPU in bfloat16, for inference.

The same arithmetic as transformers' LlamaDecoderLayer, in fewer and larger steps: weights packed once into oneDNN's own
layout, q, k and v as one product, SiLU and the gate's product inside the matrix products, the softmax scale inside the
rotary table, and attention by blocks of queries that never compute what the causal mask would hide. Rounding differs as
it does between two kernels of one operation; a test holds the error against float32 to that of the plain layers.

Hooks on the layers are not run here.

Shapes: B sequences, L tokens of one sequence, D width, M MLP neurons of one layer, H query heads, K key heads,
G = H / K queries to a key, E width of a head, N a block of queries.
"""

from collections.abc import Callable, Collection
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.models.llama.modeling_llama import LlamaDecoderLayer

from pipeline.models.additions import Layer
from pipeline.models.onednn import multiply, multiply_times, onednn_obstacle, pack

TakeNeurons = Callable[[int, Tensor], None]
Tables = tuple[Tensor, Tensor]
"""Cosines and sines of the rotary embedding."""
SHORT, SHORT_BLOCK, LONG_BLOCK, LEAST_BLOCK = 512, 64, 128, 16
"""Queries at once: SHORT_BLOCK up to SHORT tokens, else LONG_BLOCK, fewer where the scores would fill the memory."""
MAX_SCORES = 1 << 25
"""Attention scores held at once, as far as LEAST_BLOCK allows."""
PACK_ROWS = 2048
"""Rows of a product for which weights are packed; others work, at nearly the same speed."""


def fusing_obstacle(core: Any) -> str | None:
    """The reason why these layers cannot be fused; None when they can."""
    weight, config = core.get_input_embeddings().weight, core.config
    if weight.device.type != "cpu" or weight.dtype != torch.bfloat16:
        return "it is for bfloat16 on a CPU"
    if reason := onednn_obstacle():
        return reason
    layers = getattr(core, "layers", None) or [core]
    other = next((type(layer).__name__ for layer in layers if type(layer) is not LlamaDecoderLayer), None)
    if other is not None:
        return f"it is for LlamaDecoderLayer, this is {other}"
    if config.hidden_act != "silu" or config.attention_bias or config.mlp_bias:
        return "it is for SiLU and layers without biases"
    return None


class FusedLayers:
    """The embedding and the leading layers of a Llama, their weights packed (a copy of those layers' weights)."""

    def __init__(self, core: Any, num_layers: int, packed: "FusedLayers | None" = None, *, after: int = 0) -> None:
        """packed: of the same model, up to another layer; what is packed there is not packed again.

        after: so many layers are left out, for a stream that has passed them.
        """
        assert fusing_obstacle(core) is None, fusing_obstacle(core)
        self.core, config = core, core.config
        self.num_heads: int = config.num_attention_heads
        self.num_keys: int = config.num_key_value_heads
        self.eps: float = config.rms_norm_eps
        there: list[_Packed] = packed.layers[:num_layers] if packed else []
        first = after + len(there)
        self.layers: list[_Packed] = [*there, *(_Packed(layer) for layer in core.layers[first:num_layers])]

    def __call__(self, tokens_BL: Tensor, take_neurons: TakeNeurons | None = None) -> Tensor:
        """The residual stream after the last of the layers [B, L, D].

        take_neurons: called with the number of each layer and its MLP neurons' activations [B, L, M].
        """
        return self._lead(tokens_BL, take_neurons, len(self.layers))[0]

    def behind(self, x_BLD: Tensor) -> Tensor:
        """The residual stream after the last of the layers, when before the first it is `x_BLD`; both [B, L, D]."""
        return self._through(x_BLD, self._rotary_table(x_BLD.shape[1]), None, len(self.layers))

    def last_layer(self, tokens_BL: Tensor, take_neurons: TakeNeurons | None = None) -> Layer:
        """The last of the layers from within."""
        last = len(self.layers) - 1
        x_BLD, tables = self._lead(tokens_BL, take_neurons, last)
        attention_BLD = self._attended(x_BLD, self.layers[last], tables)
        neurons_BLM = self._neurons(x_BLD + attention_BLD, self.layers[last])
        if take_neurons is not None:
            take_neurons(last, neurons_BLM)
        return Layer(x_BLD, attention_BLD, multiply(neurons_BLM, self.layers[last].down))

    def watched(
        self, tokens_BL: Tensor, streams: Collection[int], within: Collection[int]
    ) -> tuple[dict[int, Tensor], dict[int, Layer]]:
        """The residual stream behind the first so many of the layers, and some of the layers from within."""
        x_BLD, tables = self.core.embed_tokens(tokens_BL), self._rotary_table(tokens_BL.shape[1])
        seen, layers = {0: x_BLD} if 0 in streams else {}, {}
        for number, layer in enumerate(self.layers):
            attention_BLD = self._attended(x_BLD, layer, tables)
            middle_BLD = x_BLD + attention_BLD
            mlp_BLD = multiply(self._neurons(middle_BLD, layer), layer.down)
            if number in within:
                layers[number] = Layer(x_BLD, attention_BLD, mlp_BLD)
            x_BLD = mlp_BLD + middle_BLD
            if number + 1 in streams:
                seen[number + 1] = x_BLD
        return seen, layers

    def _lead(self, tokens_BL: Tensor, take_neurons: TakeNeurons | None, num_layers: int) -> tuple[Tensor, Tables]:
        """The residual stream after some of the layers, and the rotary tables."""
        tables = self._rotary_table(tokens_BL.shape[1])
        return self._through(self.core.embed_tokens(tokens_BL), tables, take_neurons, num_layers), tables

    def _through(self, x_BLD: Tensor, tables: Tables, take_neurons: TakeNeurons | None, num_layers: int) -> Tensor:
        for number, layer in enumerate(self.layers[:num_layers]):
            x_BLD = self._attended(x_BLD, layer, tables).add_(x_BLD)
            neurons_BLM = self._neurons(x_BLD, layer)
            if take_neurons is not None:
                take_neurons(number, neurons_BLM)
            x_BLD = multiply(neurons_BLM, layer.down).add_(x_BLD)
        return x_BLD

    def _attended(self, x_BLD: Tensor, layer: "_Packed", tables: Tables) -> Tensor:
        """What the attention of a layer adds."""
        normed_BLD = F.rms_norm(x_BLD, x_BLD.shape[-1:], layer.attention_norm, self.eps)
        heads_BLHE = multiply(normed_BLD, layer.qkv).view(*x_BLD.shape[:2], -1, tables[0].shape[-1])
        turned_BLHE = _rotate(heads_BLHE[:, :, : -self.num_keys], *tables)
        query_BLHE, key_BLKE = turned_BLHE[:, :, : self.num_heads], turned_BLHE[:, :, self.num_heads :]
        value_BLKE = heads_BLHE[:, :, -self.num_keys :]
        return multiply(attend(query_BLHE, key_BLKE, value_BLKE).flatten(2), layer.out)

    def _neurons(self, x_BLD: Tensor, layer: "_Packed") -> Tensor:
        """The activations of the MLP neurons of a layer."""
        return _gated(F.rms_norm(x_BLD, x_BLD.shape[-1:], layer.mlp_norm, self.eps), layer)

    def _rotary_table(self, length: int) -> Tables:
        """Cosines and sines [L, H + K, E] for queries and keys, those of the queries times the softmax scale.

        The sines' first half is negative, so that a rotation is x * cos + swapped(x) * sin.
        """
        positions = torch.arange(length)[None]
        cos_1LE, sin_1LE = self.core.rotary_emb(torch.empty(0), positions)
        scale_H1 = torch.ones(self.num_heads + self.num_keys, 1)
        scale_H1[: self.num_heads] = cos_1LE.shape[-1] ** -0.5
        sign_E = torch.ones(cos_1LE.shape[-1])
        sign_E[: len(sign_E) // 2] = -1
        return tuple((t[0, :, None] * scale_H1).bfloat16() for t in (cos_1LE, sin_1LE * sign_E))


class _Packed:
    """The weights of one layer in oneDNN's layout."""

    def __init__(self, layer: LlamaDecoderLayer) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        self.qkv = _pack(attention.q_proj, attention.k_proj, attention.v_proj)
        self.out, self.down = _pack(attention.o_proj), _pack(mlp.down_proj)
        self.gate, self.up = _pack(mlp.gate_proj), _pack(mlp.up_proj)
        self.attention_norm: Tensor = layer.input_layernorm.weight
        self.mlp_norm: Tensor = layer.post_attention_layernorm.weight


def _pack(*projections: nn.Linear) -> Tensor:
    return pack(torch.cat([projection.weight for projection in projections]), PACK_ROWS)


def _gated(x_BLD: Tensor, layer: _Packed) -> Tensor:
    """silu(gate(x)) * up(x)."""
    return multiply_times(x_BLD, multiply(x_BLD, layer.gate, then="swish"), layer.up)


def _rotate(x_BLHE: Tensor, cos_LHE: Tensor, sin_LHE: Tensor) -> Tensor:
    half = x_BLHE.shape[-1] // 2
    swapped_BLHE = torch.cat((x_BLHE[..., half:], x_BLHE[..., :half]), -1)
    return torch.addcmul(x_BLHE * cos_LHE, swapped_BLHE, sin_LHE)


def attend(query_BLHE: Tensor, key_BLKE: Tensor, value_BLKE: Tensor) -> Tensor:
    """Causal attention [B, L, H, E] of queries that were scaled already, a block of queries at a time."""
    B, L, H, E = query_BLHE.shape
    K = key_BLKE.shape[2]
    query_BKGLE = query_BLHE.view(B, L, K, H // K, E).permute(0, 2, 3, 1, 4)
    key_BEL = key_BLKE.permute(0, 2, 3, 1).reshape(B * K, E, L)
    value_BLE = value_BLKE.transpose(1, 2).reshape(B * K, L, E)
    out_BLHE = torch.empty_like(query_BLHE)
    out_BKGLE = out_BLHE.view(B, L, K, H // K, E).permute(0, 2, 3, 1, 4)
    block = _block_length(L, B * H * L)
    hidden_NN = torch.full((block, block), float("-inf"), dtype=query_BLHE.dtype, device=query_BLHE.device).triu_(1)
    for start in range(0, L, block):
        stop = min(start + block, L)
        N = stop - start
        query_BNE = query_BKGLE[:, :, :, start:stop].reshape(B * K, -1, E)
        scores_BNL = torch.bmm(query_BNE, key_BEL[:, :, :stop])
        scores_BNL.view(B, K, H // K, N, stop)[..., start:].add_(hidden_NN[:N, :N])
        mixed_BNE = torch.bmm(torch.softmax(scores_BNL, -1), value_BLE[:, :stop])
        out_BKGLE[:, :, :, start:stop] = mixed_BNE.view(B, K, H // K, N, E)
    return out_BLHE


def _block_length(length: int, scores_per_query: int) -> int:
    block = SHORT_BLOCK if length <= SHORT else LONG_BLOCK
    return max(LEAST_BLOCK, min(block, MAX_SCORES // max(scores_per_query, 1)))
