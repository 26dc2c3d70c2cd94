"""A Llama model that writes one token at a time, several rows at once, with a hook after layer N.

It runs the weights of a transformers `LlamaForCausalLM` without that library's work around each layer: joined and, on
CPUs in bfloat16, repacked matrices, and keys and values of each row in a place of their own.

**What a row is given does not depend on its company, to the bit.** A kernel may add up in another order for another
number of rows, so:

- the prompt of a row is read by itself, and so is its attention to its own keys and values;
- what is computed of all rows together, the matrix products and what lies between them, is done in groups of the sizes
  of `same_bits.py`, which were seen to give every row the same bits at every place among any others.

Shapes: N tokens that are read at once, L of them of one row, B rows, T places of a row, D width, V vocabulary, H heads
of keys and values, G heads of queries for each of them, E width of a head.
"""

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.models.errors import ModelError
from pipeline.models.language_model import LanguageModel
from pipeline.models.same_bits import group_sizes, split_into_groups

Edit = Callable[[int, Tensor, Tensor], Tensor]
"""From the number of a row, its residual stream after layer N [L, D] and the positions [L] to what the later layers
read."""
ROPE_BLOCK = 256
"""Positions of the rotary table that are made at once."""
UNSTEADY_ROPE = ("dynamic", "longrope")
"""Rotary embeddings that change for all positions with the length of the longest text read."""


def decoding_obstacle(model: Any) -> str:
    """The reason why a model of transformers cannot be written with here; "" when it can."""
    name = type(model).__name__
    if name != "LlamaForCausalLM":
        return (
            f"{name} cannot be steered: writing works with LlamaForCausalLM alone so far. Prompts and features of this "
            "model can be seen all the same"
        )
    rope = getattr(model.model.rotary_emb, "rope_type", "default")
    if rope in UNSTEADY_ROPE:
        return (
            f"this model cannot be steered: its rotary embedding ('{rope}') changes with the longest text read, so a "
            "text would depend on others. Prompts and features of this model can be seen all the same"
        )
    return ""


class Cache:
    """Keys and values of one row."""

    def __init__(self, num_layers: int, places: int, heads: int, head_width: int, like: Tensor) -> None:
        self.keys = like.new_zeros(num_layers, heads, places, head_width)
        self.values = torch.zeros_like(self.keys)
        self.length = 0
        """Tokens in place."""


class Part(NamedTuple):
    """Some of the tokens that are read at once: those of one row."""

    row: int
    start: int
    stop: int
    cache: Cache


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
        self._embed, self._rope = model.model.embed_tokens, _Rope(model.model.rotary_emb, model.dtype)
        self._norm, self._head = _Norm(model.model.norm), _Linear([model.lm_head])
        self._layers = [_Layer(layer) for layer in model.model.layers]
        self._heads = model.config.num_key_value_heads
        self._head_width = model.model.layers[0].self_attn.head_dim
        self.group_sizes = group_sizes(self._row_by_row, language_model.width, self._embed.weight)
        """Rows that are read together, see `same_bits.py`."""

    def cache(self, places: int) -> Cache:
        """An empty cache of one row. Raises ModelError when the row would outgrow what the model can read."""
        if places > self.context_length:
            raise ModelError(
                f"{places} tokens are more than the {self.context_length} that this model reads: shorten the prompt or "
                "ask for fewer new tokens"
            )
        return Cache(len(self._layers), places, self._heads, self._head_width, self._embed.weight)

    @torch.no_grad()
    def read(
        self, tokens: Sequence[Sequence[int]], caches: Sequence[Cache], edit: Edit, *, head: bool = True
    ) -> Tensor | None:
        """Read the next tokens of every row; logits [B, V], float32, of what follows each row's last.

        A row's first tokens, any number of them, are read by themselves; later ones come one at a time, and are read
        with those of the other rows. With head=False, layers after N are not run and nothing comes back: for `edit` to
        see the last tokens.
        """
        first = [row for row, cache in enumerate(caches) if cache.length == 0]
        later = [row for row, cache in enumerate(caches) if cache.length > 0]
        assert all(len(tokens[row]) == 1 for row in later), "tokens that follow come one at a time"
        last: dict[int, Tensor] = {}
        for rows, size in [*(([row], len(tokens[row])) for row in first), *split_into_groups(later, self.group_sizes)]:
            parts = _parts(rows, tokens, caches)
            x_ND = self._run([token for row in rows for token in tokens[row]], size, parts, edit, head=head)
            last.update({part.row: x_ND[part.stop - 1] for part in parts})
        for row, cache in enumerate(caches):
            cache.length += len(tokens[row])
        return self._logits([last[row] for row in range(len(caches))]) if head else None

    def _run(self, tokens: Sequence[int], size: int, parts: Sequence[Part], edit: Edit, *, head: bool) -> Tensor:
        """The residual stream [N, D] of tokens, filled up to `size` of them, after the last layer that is run."""
        device = self._embed.weight.device
        filled = [*tokens, *[0] * (size - len(tokens))]
        positions = [part.cache.length + at for part in parts for at in range(part.stop - part.start)]
        positions_N = torch.tensor(positions, device=device)
        rope = self._rope(F.pad(positions_N, (0, size - len(tokens))))
        x_ND = self._embed(torch.tensor(filled, device=device))
        for number, layer in enumerate(self._layers):
            x_ND = layer(x_ND, rope, number, parts)
            if number == self.layer:
                for row, start, stop, _ in parts:
                    x_ND[start:stop] = edit(row, x_ND[start:stop], positions_N[start:stop])
                if not head:
                    break
        return x_ND

    def _logits(self, last: Sequence[Tensor]) -> Tensor:
        """Logits [B, V] of rows of the residual stream after the last layer."""
        logits = []
        for rows, size in split_into_groups(list(range(len(last))), self.group_sizes):
            x_BD = F.pad(torch.stack([last[row] for row in rows]), (0, 0, 0, size - len(rows)))
            logits.append(self._head(self._norm(x_BD))[: len(rows)])
        return torch.cat(logits).float()

    @torch.no_grad()
    def _row_by_row(self, x_BD: Tensor) -> list[Tensor]:
        """Everything that is computed of several rows together: one layer without its attention, and the head."""
        rope = self._rope(torch.zeros(len(x_BD), dtype=torch.long, device=x_BD.device))
        seen = self._layers[0].without_attention(x_BD, rope)
        return [*seen, self._head(self._norm(seen[-1]))]


def _parts(rows: Sequence[int], tokens: Sequence[Sequence[int]], caches: Sequence[Cache]) -> list[Part]:
    stops = list(accumulate(len(tokens[row]) for row in rows))
    return [Part(row, stop - len(tokens[row]), stop, caches[row]) for row, stop in zip(rows, stops, strict=True)]


class _Rope:
    """Cosines and sines of the rotary embedding by position, each computed once."""

    def __init__(self, rotary: Any, dtype: torch.dtype) -> None:
        self._rotary, self._like = rotary, torch.empty(0, dtype=dtype, device=rotary.inv_freq.device)
        self._table_TE = self._block(0)

    def __call__(self, positions_N: Tensor) -> tuple[Tensor, Tensor]:
        """Both [N, 1, E]."""
        while len(self._table_TE[0]) <= int(positions_N.max()):
            further_TE = self._block(len(self._table_TE[0]))
            self._table_TE = tuple(map(torch.cat, zip(self._table_TE, further_TE, strict=True)))
        cosine_TE, sine_TE = self._table_TE
        return cosine_TE[positions_N, None], sine_TE[positions_N, None]

    def _block(self, start: int) -> tuple[Tensor, ...]:
        positions_1T = torch.arange(start, start + ROPE_BLOCK, device=self._like.device)[None]
        return tuple(part[0] for part in self._rotary(self._like, positions_1T))


class _Layer:
    """One decoder layer."""

    def __init__(self, layer: Any) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        self._attention_norm, self._mlp_norm = _Norm(layer.input_layernorm), _Norm(layer.post_attention_layernorm)
        self._queries_keys_values = _Linear([attention.q_proj, attention.k_proj, attention.v_proj])
        self._attention_out, self._mlp_out = _Linear([attention.o_proj]), _Linear([mlp.down_proj])
        self._gate_up, self._activation = _Linear([mlp.gate_proj, mlp.up_proj]), mlp.act_fn
        self._width, self._scaling, self._groups = attention.head_dim, attention.scaling, attention.num_key_value_groups

    def __call__(self, x_ND: Tensor, rope: tuple[Tensor, Tensor], number: int, parts: Sequence[Part]) -> Tensor:
        """number: of this layer in the caches."""
        joined_NHE = self._queries_keys_values(self._attention_norm(x_ND)).view(len(x_ND), -1, self._width)
        return self._after_attention(x_ND, self._attend(joined_NHE, rope, number, parts))

    def without_attention(self, x_ND: Tensor, rope: tuple[Tensor, Tensor]) -> list[Tensor]:
        """What it computes, last of all what comes out [N, D], every token with its own query for its attention."""
        joined_NHE = self._queries_keys_values(self._attention_norm(x_ND)).view(len(x_ND), -1, self._width)
        heads = joined_NHE.shape[1] // (self._groups + 2)
        rotated_NHE = _rotate(joined_NHE[:, :-heads], rope)
        mixed_NC = rotated_NHE[:, :-heads].flatten(1)
        return [joined_NHE, rotated_NHE, self._after_attention(x_ND, mixed_NC)]

    def _after_attention(self, x_ND: Tensor, mixed_NC: Tensor) -> Tensor:
        x_ND = x_ND + self._attention_out(mixed_NC)
        gate, up = self._gate_up(self._mlp_norm(x_ND)).chunk(2, dim=-1)
        return x_ND + self._mlp_out(self._activation(gate) * up)

    def _attend(self, joined_NHE: Tensor, rope: tuple[Tensor, Tensor], number: int, parts: Sequence[Part]) -> Tensor:
        """What each token takes from those of its row up to it: [N, H * G * E]."""
        heads = joined_NHE.shape[1] // (self._groups + 2)
        rotated_NHE, value_NHE = _rotate(joined_NHE[:, :-heads], rope), joined_NHE[:, -heads:]
        query_NHE, key_NHE = rotated_NHE[:, :-heads], rotated_NHE[:, -heads:]
        mixed_NC = query_NHE.new_zeros(len(query_NHE), query_NHE.shape[1] * self._width)
        for _, start, stop, cache in parts:
            upto = cache.length + stop - start
            cache.keys[number, :, cache.length : upto] = key_NHE[start:stop].transpose(0, 1)
            cache.values[number, :, cache.length : upto] = value_NHE[start:stop].transpose(0, 1)
            keys, values = cache.keys[number, :, :upto], cache.values[number, :, :upto]
            mixed_NC[start:stop] = self._mix(query_NHE[start:stop], keys, values)
        return mixed_NC

    def _mix(self, query_LHE: Tensor, keys_HTE: Tensor, values_HTE: Tensor) -> Tensor:
        """The attention of the last L tokens of one row [L, H * G * E]."""
        L, heads = len(query_LHE), len(keys_HTE)
        # The G queries that share a head's keys stand side by side, so that no key is copied.
        query = (
            query_LHE.view(L, heads, self._groups, self._width).permute(1, 2, 0, 3).reshape(1, heads, -1, self._width)
        )
        mask = None if L == 1 else _causal_mask(L, query.dtype, query.device).repeat(self._groups, 1)
        out = F.scaled_dot_product_attention(query, keys_HTE[None], values_HTE[None], mask, scale=self._scaling)
        return out.view(heads, self._groups, L, self._width).permute(2, 0, 1, 3).reshape(L, -1)


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


def _rotate(x_NHE: Tensor, rope: tuple[Tensor, Tensor]) -> Tensor:
    """Rotary embedding: each half of a head against the other."""
    cosine, sine = rope
    first, second = x_NHE.chunk(2, dim=-1)
    return torch.addcmul(x_NHE * cosine, torch.cat((-second, first), dim=-1), sine)


def _causal_mask(length: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """0 where a token may look, -inf at those after it: [L, L]."""
    return torch.full((length, length), float("-inf"), dtype=dtype, device=device).triu_(1)


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
