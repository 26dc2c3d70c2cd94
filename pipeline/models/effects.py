"""Effects of features at single tokens: the next-token distribution with a feature and without it, many at once.

    x'_t = x_t - f_i(x_t) d_i    at one token t of a text; every token before it stays as it is

Only the state of t changes, and no token before t sees it. So a case is one token through the layers after the hook,
which looks at the keys and values of the tokens before it; those are the model's own, computed once in its dtype and
shared by all cases of a text. The case's token is computed in float32, and so is the token as it is that it is compared
with: in bfloat16 a logit near 20 is known to 1/8, which is more than most features move it.

Shapes: B texts, L positions (the opening one included), C cases, D width, V vocabulary, H heads of keys, G heads of
queries for each of them, E width of a head, P positions before a case.
"""

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.models.decoder import llama_obstacle
from pipeline.models.decoder_parts import rotate
from pipeline.models.errors import ModelError
from pipeline.models.fused import attend
from pipeline.models.hooks import Cut
from pipeline.models.language_model import LanguageModel

Rope = tuple[Tensor, Tensor]


class Places(NamedTuple):
    """Where cases stand: sorted by text."""

    text_C: Tensor
    """Number of each one's text."""
    position_C: Tensor

    def ranges(self) -> list[tuple[int, int, int]]:
        """Text, first case and the case after the last, of every text that has some."""
        texts, counts = torch.unique_consecutive(self.text_C, return_counts=True)
        stops = torch.cumsum(counts, 0).tolist()
        return list(zip(texts.tolist(), [0, *stops[:-1]], stops, strict=True))


class LaterLayers(ABC):
    """The layers after a hook."""

    def __init__(self, language_model: LanguageModel) -> None:
        """Raises ModelError when the model was loaded up to layer N only."""
        parts = language_model.parts
        if parts.head is None:
            raise ModelError("the model was loaded up to layer N only: load it whole for its effects")
        self._narrow = language_model.cut
        self._wide = (
            None if self._narrow.is_stream else Cut(parts, language_model.layer, language_model.hook, wide=True)
        )

    @torch.no_grad()
    def hidden(self, x_BLD: Tensor, places: Places, x_CD: Tensor, beside_BLD: Tensor | None = None) -> Tensor:
        """Input of the head [C, D], float32, of states that stand at their places instead of what the texts have there.

        x_BLD: the activations at the hook in the model's dtype; padding on the right is not seen. x_CD: float32.
        beside_BLD: as `LanguageModel.read` gave it.
        """
        if self._wide is not None:
            beside_CD = None if beside_BLD is None else beside_BLD[places.text_C, places.position_C].to(x_CD.dtype)
            x_CD = self._wide.lift(x_CD[None], None if beside_CD is None else beside_CD[None])[0]
        return self._run(self._narrow.lift(x_BLD, beside_BLD), places, x_CD)

    @abstractmethod
    def _run(self, x_BLD: Tensor, places: Places, x_CD: Tensor) -> Tensor:
        """The same from the residual stream."""


class LlamaLayers(LaterLayers):
    """Those of a Llama, by our own code, which reads the texts in the model's dtype."""

    def __init__(self, language_model: LanguageModel) -> None:
        super().__init__(language_model)
        model = language_model.model
        assert not llama_obstacle(model), llama_obstacle(model)
        self._rotary, self._norm = model.model.rotary_emb, model.model.norm
        self._layers = [_Layer(layer) for layer in language_model.layers[language_model.cut.num_layers :]]

    def _run(self, x_BLD: Tensor, places: Places, x_CD: Tensor) -> Tensor:
        positions_1L = torch.arange(x_BLD.shape[1], device=x_BLD.device)[None]
        text_rope = self._rotary(x_BLD, positions_1L)
        case_rope = self._rotary(x_CD, places.position_C[:, None])
        for number, layer in enumerate(self._layers):
            last = number == len(self._layers) - 1
            x_BLD, keys, values = layer.read(x_BLD, text_rope, keys_only=last)
            x_CD = layer.read_cases(x_CD, case_rope, places, keys, values)
        return F.rms_norm(x_CD, x_CD.shape[-1:], self._norm.weight.to(x_CD.dtype), self._norm.variance_epsilon)


class _Layer:
    """One decoder layer, for texts in the model's dtype and for cases in float32."""

    def __init__(self, layer: Any) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        self._layer, self._attention, self._mlp = layer, attention, mlp
        self._width, self._groups = attention.head_dim, attention.num_key_value_groups

    def read(self, x_BLD: Tensor, rope: Rope, *, keys_only: bool) -> tuple[Tensor, Tensor, Tensor]:
        """The texts after this layer, and its keys and values [B, L, H, E]. keys_only: the texts are not run."""
        h_BLD = _norm(self._layer.input_layernorm, x_BLD)
        keys = rotate(self._heads(self._attention.k_proj, h_BLD), rope)
        values = self._heads(self._attention.v_proj, h_BLD)
        if keys_only:
            return x_BLD, keys, values
        queries = rotate(self._heads(self._attention.q_proj, h_BLD), rope) * self._attention.scaling
        x_BLD = x_BLD + _linear(self._attention.o_proj, attend(queries, keys, values).flatten(2))
        return x_BLD + self._feed_forward(x_BLD), keys, values

    def read_cases(self, x_CD: Tensor, rope: Rope, places: Places, keys: Tensor, values: Tensor) -> Tensor:
        """The cases after this layer; they look at the keys and values of their texts before them, and at their own."""
        h_C1D = _norm(self._layer.input_layernorm, x_CD)[:, None]
        query, key = (
            rotate(self._heads(linear, h_C1D), rope)[:, 0]
            for linear in (self._attention.q_proj, self._attention.k_proj)
        )
        value = self._heads(self._attention.v_proj, h_C1D)[:, 0]
        query_CHGE = query.view(len(x_CD), -1, self._groups, self._width) * self._attention.scaling
        out_CHGE = torch.empty_like(query_CHGE)
        for text, start, stop in places.ranges():
            case = slice(start, stop)
            position_C = places.position_C[case]
            seen = slice(0, int(position_C.max()))
            out_CHGE[case] = _look_back(
                query_CHGE[case], (key[case], value[case]), (keys[text, seen], values[text, seen]), position_C
            )
        x_CD = x_CD + _linear(self._attention.o_proj, out_CHGE.flatten(1))
        return x_CD + self._feed_forward(x_CD)

    def _heads(self, linear: nn.Linear, h_BLD: Tensor) -> Tensor:
        return _linear(linear, h_BLD).view(*h_BLD.shape[:-1], -1, self._width)

    def _feed_forward(self, x: Tensor) -> Tensor:
        h = _norm(self._layer.post_attention_layernorm, x)
        gate = self._mlp.act_fn(_linear(self._mlp.gate_proj, h))
        return _linear(self._mlp.down_proj, gate.mul_(_linear(self._mlp.up_proj, h)))


def _look_back(
    query_CHGE: Tensor, own: tuple[Tensor, Tensor], before: tuple[Tensor, Tensor], position_C: Tensor
) -> Tensor:
    """Attention [C, H, G, E] of scaled queries of cases of one text. own: key and value [C, H, E] of each case's token;
    before: those of the text [P, H, E], of which a case sees the ones before its position."""
    C, H, G, E = query_CHGE.shape
    query_HNE = query_CHGE.permute(1, 0, 2, 3).reshape(H, C * G, E)
    key_HEP, value_HPE = before[0].to(query_HNE.dtype).permute(1, 2, 0), before[1].to(query_HNE.dtype).transpose(0, 1)
    scores_HCGP = torch.bmm(query_HNE, key_HEP).view(H, C, G, -1)
    later_CP = torch.arange(key_HEP.shape[2], device=position_C.device) >= position_C[:, None]
    scores_HCGP.masked_fill_(later_CP[None, :, None], float("-inf"))
    own_HCG1 = (query_CHGE * own[0][:, :, None]).sum(-1, keepdim=True).transpose(0, 1)
    share_HCGP = torch.softmax(torch.cat([scores_HCGP, own_HCG1], dim=-1), dim=-1)
    mixed_HCGE = torch.bmm(share_HCGP[..., :-1].reshape(H, C * G, -1), value_HPE).view(H, C, G, E)
    return (mixed_HCGE + share_HCGP[..., -1:] * own[1].transpose(0, 1)[:, :, None]).transpose(0, 1)


def _linear(linear: nn.Linear, x: Tensor) -> Tensor:
    """The linear map in the dtype of what it is given."""
    bias = None if linear.bias is None else linear.bias.to(x.dtype)
    return F.linear(x, linear.weight.to(x.dtype), bias)


def _norm(norm: Any, x: Tensor) -> Tensor:
    return F.rms_norm(x, x.shape[-1:], norm.weight.to(x.dtype), norm.variance_epsilon)
