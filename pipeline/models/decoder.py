"""A Llama model that writes one token at a time, several rows at once, changed at a hook (hooks.py).

It runs the weights of a transformers `LlamaForCausalLM` without that library's work around each layer: joined and, on
CPUs in bfloat16, repacked matrices, and keys and values of each row in a place of their own.

**What a row is given does not depend on its company, to the bit.** A kernel may add up in another order for another
number of rows, so:

- a row's prompt is read by itself, or once for all rows that have the same, and its attention reaches its own keys and
  values alone;
- the attention of later tokens is that of `attention.py`: rows together, each as if it were alone;
- the matrix products of all rows are made in groups of the sizes of `same_bits.py`, which were seen to give every row
  the same bits at every place, and the same in all sizes;
- what lies between them is done number by number, and never cut among threads within a row (`UNCUT`).

Shapes: N tokens that are read at once, L of them of one row, B rows, T places of a row, D width, V vocabulary, H heads
of keys and values, G heads of queries for each of them, E width of a head.
"""

from collections.abc import Callable, Sequence
from copy import copy
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.models.attention import attend_next, groups_by_places, padded, rows_together
from pipeline.models.decoder_parts import (
    Cache,
    Linear,
    Norm,
    Rope,
    causal_mask,
    check_room,
    rotate,
    steady_sizes,
    stop_ids,
    uncut,
)
from pipeline.models.errors import ModelError
from pipeline.models.language_model import LanguageModel
from pipeline.models.same_bits import split_into_groups

Edit = Callable[[int, Tensor, Tensor], Tensor]
"""From the number of a row, its activations at the hook [L, D] and the positions [L] to what stands there instead."""
UNSTEADY_ROPE = ("dynamic", "longrope")
"""Rotary embeddings that change for all positions with the length of the longest text read."""


def llama_obstacle(model: Any) -> str:
    """The reason why a model of transformers is not run by these layers; "" when it is."""
    name = type(model).__name__
    if name != "LlamaForCausalLM":
        return f"they are for LlamaForCausalLM, this is {name}"
    rope = getattr(model.model.rotary_emb, "rope_type", "default")
    return f"its rotary embedding ('{rope}') changes with the longest text read" if rope in UNSTEADY_ROPE else ""


def decoding_obstacle(model: Any) -> str:
    """The reason why a model of transformers cannot be written with here, by any layers; "" when it can."""
    kinds = next((one.rope_type for one in model.modules() if hasattr(one, "rope_type")), "")
    if UNSTEADY_ROPE[0] not in (kinds.values() if isinstance(kinds, dict) else (kinds,)):
        return ""
    return (
        f"this model cannot be steered: its rotary embedding ('{UNSTEADY_ROPE[0]}') changes with the longest text "
        "read, so a text would depend on others. Prompts and features of this model can be seen all the same"
    )


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
        if reason := llama_obstacle(model):
            raise ModelError(f"our own layers cannot write with this model: {reason}")
        self._model = language_model
        self.context_length = language_model.context_length
        self.stop_ids = stop_ids(model)
        self._embed, self._rope = model.model.embed_tokens, Rope(model.model.rotary_emb, model.dtype)
        self._norm, self._head = Norm(model.model.norm), Linear([model.lm_head])
        self._heads = model.config.num_key_value_heads
        self._head_width = model.model.layers[0].self_attn.head_dim
        groups = model.model.layers[0].self_attn.num_key_value_groups
        together = rows_together(self._heads, groups, self._head_width, self._embed.weight)
        self._layers = [_Layer(layer, together) for layer in model.model.layers]
        products = [self._head, *self._layers[0].products]
        self.group_sizes = steady_sizes([product.shape for product in products], self._embed.weight)
        """Rows that are read together, see `same_bits.py`."""

    def at(self, language_model: LanguageModel) -> "Decoder":
        """The same matrices for the same model, cut at another hook."""
        other = copy(self)
        other._model = language_model
        return other

    def cache(self, places: int) -> Cache:
        """An empty cache of one row. Raises ModelError when the row would outgrow what the model can read."""
        check_room(places, self.context_length)
        return Cache(len(self._layers), padded(places), self._heads, self._head_width, self._embed.weight)

    @torch.no_grad()
    def read(
        self, tokens: Sequence[Sequence[int]], caches: Sequence[Cache], edit: Edit, *, head: bool = True
    ) -> Tensor | None:
        """Read the next tokens of every row; logits [B, V], float32, of what follows each row's last.

        A row's first tokens, any number of them, are read by themselves; later ones come one at a time, and are read
        with those of the other rows. With head=False, layers after the hook are not run and nothing comes back: for
        `edit` to see the last tokens.
        """
        prompts: dict[tuple[int, ...], list[int]] = {}
        later = []
        for row, (of_row, cache) in enumerate(zip(tokens, caches, strict=True)):
            if cache.length == 0:
                prompts.setdefault(tuple(of_row), []).append(row)
            else:
                assert len(of_row) == 1, "tokens that follow come one at a time"
                later.append(row)
        last: dict[int, Tensor] = {}
        for prompt, same in prompts.items():
            last |= self._read_prompt(prompt, same, caches, edit, head=head)
        for rows, size in split_into_groups(later, self.group_sizes):
            last |= self._read_next([tokens[row][0] for row in rows], rows, size, caches, edit, head=head)
        for of_row, cache in zip(tokens, caches, strict=True):
            cache.length += len(of_row)
        return self._logits([last[row] for row in range(len(caches))]) if head else None

    def _read_prompt(
        self, prompt: Sequence[int], rows: Sequence[int], caches: Sequence[Cache], edit: Edit, *, head: bool
    ) -> dict[int, Tensor]:
        """Read the prompt of some rows; what comes before the hook, which is the same for all of them, once."""
        positions_L = torch.arange(len(prompt), device=self._embed.weight.device)
        x_LD, rope = self._embed(torch.tensor(prompt, device=positions_L.device)), self._rope(positions_L)
        parts = [Part(row, 0, len(prompt), caches[row]) for row in rows]
        x_LD, beside_LD = self._until_hook(x_LD, rope, parts[:1])
        last = {}
        for part in parts:
            part.cache.copy(parts[0].cache, self._model.cut.num_layers, len(prompt))
            steered_LD = edit(part.row, x_LD, positions_L)
            if head:
                last[part.row] = self._from_hook(steered_LD, beside_LD, rope, [part])[-1]
        return last

    def _read_next(
        self, tokens: Sequence[int], rows: Sequence[int], size: int, caches: Sequence[Cache], edit: Edit, *, head: bool
    ) -> dict[int, Tensor]:
        """Read one token of each of some rows, filled up to `size` of them."""
        device, filling = self._embed.weight.device, [0] * (size - len(tokens))
        positions_B = torch.tensor([*(caches[row].length for row in rows), *filling], device=device)
        x_BD, rope = self._embed(torch.tensor([*tokens, *filling], device=device)), self._rope(positions_B)
        parts = [Part(row, at, at + 1, caches[row]) for at, row in enumerate(rows)]
        x_BD, beside_BD = self._until_hook(x_BD, rope, parts)
        for row, start, stop, _ in parts:
            x_BD[start:stop] = edit(row, x_BD[start:stop], positions_B[start:stop])
        if not head:
            return {}
        x_BD = self._from_hook(x_BD, beside_BD, rope, parts)
        return dict(zip(rows, x_BD, strict=False))

    def _until_hook(
        self, x_ND: Tensor, rope: tuple[Tensor, Tensor], parts: Sequence[Part]
    ) -> tuple[Tensor, Tensor | None]:
        """The activations at the hook, and what stands beside it (see hooks.py)."""
        if self._model.hook in ("resid_pre", "resid_post"):
            return self._run(range(self._model.cut.num_layers), x_ND, rope, parts), None
        x_ND = self._run(range(self._model.layer), x_ND, rope, parts)
        layer = self._layers[self._model.layer]
        attention_ND = layer.attend(x_ND, rope, self._model.layer, parts)
        if self._model.hook == "attn":
            return attention_ND, x_ND
        middle_ND = x_ND + attention_ND
        return (middle_ND, None) if self._model.hook == "resid_mid" else (layer.feed(middle_ND, parts), middle_ND)

    def _from_hook(
        self, x_ND: Tensor, beside_ND: Tensor | None, rope: tuple[Tensor, Tensor], parts: Sequence[Part]
    ) -> Tensor:
        """The residual stream after the last layer."""
        if beside_ND is not None:
            x_ND = beside_ND + x_ND
        if self._model.hook in ("resid_mid", "attn"):
            x_ND = x_ND + self._layers[self._model.layer].feed(x_ND, parts)
        return self._run(range(self._model.cut.num_layers, len(self._layers)), x_ND, rope, parts)

    def _run(self, layers: range, x_ND: Tensor, rope: tuple[Tensor, Tensor], parts: Sequence[Part]) -> Tensor:
        for number in layers:
            x_ND = self._layers[number](x_ND, rope, number, parts)
        return x_ND

    def _logits(self, last: Sequence[Tensor]) -> Tensor:
        """Logits [B, V] of rows of the residual stream after the last layer."""
        logits = []
        for rows, size in split_into_groups(list(range(len(last))), self.group_sizes):
            x_BD = F.pad(torch.stack([last[row] for row in rows]), (0, 0, 0, size - len(rows)))
            logits.append(self._head(self._norm(x_BD))[: len(rows)])
        return torch.cat(logits).float()


class _Layer:
    """One decoder layer."""

    def __init__(self, layer: Any, together: int) -> None:
        """together: rows whose attention may be computed at once."""
        attention, mlp = layer.self_attn, layer.mlp
        self._attention_norm, self._mlp_norm = Norm(layer.input_layernorm), Norm(layer.post_attention_layernorm)
        self._queries_keys_values = Linear([attention.q_proj, attention.k_proj, attention.v_proj])
        self._attention_out, self._mlp_out = Linear([attention.o_proj]), Linear([mlp.down_proj])
        self._gate_up, self._activation = Linear([mlp.gate_proj, mlp.up_proj]), mlp.act_fn
        self._width, self._scaling, self._groups = attention.head_dim, attention.scaling, attention.num_key_value_groups
        self._together = together

    @property
    def products(self) -> list[Linear]:
        """Its matrix products."""
        return [self._queries_keys_values, self._attention_out, self._gate_up, self._mlp_out]

    def __call__(self, x_ND: Tensor, rope: tuple[Tensor, Tensor], number: int, parts: Sequence[Part]) -> Tensor:
        """number: of this layer in the caches."""
        x_ND = x_ND + self.attend(x_ND, rope, number, parts)
        return x_ND + self.feed(x_ND, parts)

    def attend(self, x_ND: Tensor, rope: tuple[Tensor, Tensor], number: int, parts: Sequence[Part]) -> Tensor:
        """What its attention adds to the residual stream."""
        apply = _applied(parts)
        joined_NHE = self._queries_keys_values(self._attention_norm(x_ND)).view(len(x_ND), -1, self._width)
        heads = joined_NHE.shape[1] // (self._groups + 2)
        rotated_NHE = apply(_rotated, joined_NHE[:, :-heads], *rope)
        query_NHE, key_NHE, value_NHE = rotated_NHE[:, :-heads], rotated_NHE[:, -heads:], joined_NHE[:, -heads:]
        return self._attention_out(self._look_back(query_NHE, key_NHE, value_NHE, number, parts))

    def feed(self, x_ND: Tensor, parts: Sequence[Part]) -> Tensor:
        """What its MLP adds to the residual stream."""
        gate, up = self._gate_up(self._mlp_norm(x_ND)).chunk(2, dim=-1)
        return self._mlp_out(_applied(parts)(self._activation, gate) * up)

    def _look_back(
        self, query_NHE: Tensor, key_NHE: Tensor, value_NHE: Tensor, number: int, parts: Sequence[Part]
    ) -> Tensor:
        """What each token takes from those of its row up to it: [N, H * G * E]."""
        for _, start, stop, cache in parts:
            upto = cache.length + stop - start
            cache.keys[number, :, cache.length : upto] = key_NHE[start:stop].transpose(0, 1)
            cache.values[number, :, cache.length : upto] = value_NHE[start:stop].transpose(0, 1)
        if parts[0].cache.length:
            return self._mix_next(query_NHE, number, [cache for *_, cache in parts])
        [(_, _, stop, cache)] = parts
        return self._mix(query_NHE, cache.keys[number, :, :stop], cache.values[number, :, :stop])

    def _mix_next(self, query_BHE: Tensor, number: int, caches: Sequence[Cache]) -> Tensor:
        """The attention of the next token of each of some rows; 0 for rows that fill a group up: [B, H * G * E]."""
        query_BHGE = query_BHE.reshape(len(query_BHE), -1, self._groups, self._width)
        mixed_BHGE = torch.zeros_like(query_BHGE)
        for places, rows in groups_by_places([cache.length + 1 for cache in caches], self._together):
            some = [caches[row] for row in rows]
            mixed_BHGE[rows] = attend_next(
                query_BHGE[rows],
                torch.stack([cache.keys[number, :, :places] for cache in some]),
                torch.stack([cache.values[number, :, :places] for cache in some]),
                [cache.length + 1 for cache in some],
                self._scaling,
            )
        return mixed_BHGE.flatten(1)

    def _mix(self, query_LHE: Tensor, keys_HTE: Tensor, values_HTE: Tensor) -> Tensor:
        """The attention of the L tokens of a prompt [L, H * G * E]."""
        L, heads = len(query_LHE), len(keys_HTE)
        # The G queries that share a head's keys stand side by side, so that no key is copied.
        query = (
            query_LHE.view(L, heads, self._groups, self._width).permute(1, 2, 0, 3).reshape(1, heads, -1, self._width)
        )
        mask = causal_mask(L, query.dtype, query.device).repeat(self._groups, 1)
        out = F.scaled_dot_product_attention(query, keys_HTE[None], values_HTE[None], mask, scale=self._scaling)
        return out.view(heads, self._groups, L, self._width).permute(2, 0, 1, 3).reshape(L, -1)


def _rotated(x_NHE: Tensor, cosine_NE: Tensor, sine_NE: Tensor) -> Tensor:
    return rotate(x_NHE, (cosine_NE, sine_NE))


def _applied(parts: Sequence[Part]) -> Callable[..., Tensor]:
    return uncut if parts[0].cache.length else _at_once


def _at_once(function: Callable[..., Tensor], *rows: Tensor) -> Tensor:
    return function(*rows)
