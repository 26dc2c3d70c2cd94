"""Sentence encoders: a BERT whose last hidden states are averaged over the tokens of a text and scaled to norm 1.

Computed with NumPy alone: a query takes a few milliseconds, and a server needs no torch for it. Texts of equal length
are read together, so that nothing is padded and nothing masked.

Shapes: N texts, B texts of a batch, L tokens of each, T = B L tokens, D width, H heads, C = D / H, M inner width.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.models.errors import ModelError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Floats = npt.NDArray[np.float32]
Norm = tuple[Floats, Floats]
"""Scale and shift of a layer norm."""
Linear = tuple[Floats, Floats]
"""A matrix [in, out] and a shift."""

BATCH_TOKENS = 512
"""Tokens read at once: with more of them, what a layer makes leaves the processor's cache."""
LONGEST = 256
"""Tokens of a text that are read, at most."""
POOLING_FILE = "1_Pooling/config.json"
ENCODER_FILES = ("config.json", "tokenizer.json", "model.safetensors", POOLING_FILE)
"""Of an encoder's folder. Without the last, its tokens are averaged."""


class Layer(NamedTuple):
    """Weights of one layer."""

    qkv: Linear
    out: Linear
    norm_1: Norm
    up: Linear
    down: Linear
    norm_2: Norm


@dataclass(frozen=True)
class SentenceEncoder:
    """An encoder in memory."""

    tokenizer: "Tokenizer"
    tokens_VD: Floats
    positions_LD: Floats
    """With the embedding of the first segment added: there is no second."""
    norm: Norm
    layers: tuple[Layer, ...]
    num_heads: int
    epsilon: float

    @classmethod
    def load(cls, folder: Path) -> "SentenceEncoder":
        """Read an encoder's folder. Raises ModelError when it is not one of this kind."""
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        config = _read_config(folder)
        try:
            weights = {name.removeprefix("bert."): w for name, w in load_file(folder / "model.safetensors").items()}
            return cls._of(_load_tokenizer(folder), weights, config)
        except (OSError, SafetensorError, KeyError) as error:
            raise ModelError(f"the sentence encoder in {folder} cannot be read ({error}): fetch it again") from None

    @classmethod
    def _of(cls, tokenizer: "Tokenizer", weights: dict[str, Floats], config: dict[str, Any]) -> "SentenceEncoder":
        weights = {name: weight.astype(np.float32) for name, weight in weights.items()}
        segment_D = weights["embeddings.token_type_embeddings.weight"][0]
        return cls(
            tokenizer=tokenizer,
            tokens_VD=weights["embeddings.word_embeddings.weight"],
            positions_LD=weights["embeddings.position_embeddings.weight"] + segment_D,
            norm=_norm(weights, "embeddings.LayerNorm"),
            layers=tuple(_layer(weights, f"encoder.layer.{n}") for n in range(config["num_hidden_layers"])),
            num_heads=config["num_attention_heads"],
            epsilon=config["layer_norm_eps"],
        )

    @property
    def width(self) -> int:
        """D: numbers in a vector."""
        return int(self.tokens_VD.shape[1])

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, [CLS] and [SEP] included, at most LONGEST."""
        return [encoding.ids for encoding in self.tokenizer.encode_batch(list(texts))]

    def encode(self, texts: Sequence[str]) -> Floats:
        """The vectors of some texts [N, D], norm 1."""
        tokens = self.tokenize(texts)
        vectors_ND = np.empty((len(tokens), self.width), np.float32)
        for batch in batches_by_length([len(ids) for ids in tokens]):
            vectors_ND[batch] = self.encode_tokens(np.array([tokens[n] for n in batch]))
        return vectors_ND

    def encode_tokens(self, tokens_BL: npt.NDArray[np.int64]) -> Floats:
        """The vectors [B, D] of texts of equal length, as token ids."""
        length = tokens_BL.shape[1]
        x_TD = (self.tokens_VD[tokens_BL] + self.positions_LD[:length]).reshape(-1, self.width)
        x_TD = self._normalised(x_TD, self.norm)
        for layer in self.layers:
            x_TD = self._normalised(x_TD + _linear(self._attend(x_TD, layer, length), layer.out), layer.norm_1)
            x_TD = self._normalised(x_TD + _linear(_gelu(_linear(x_TD, layer.up)), layer.down), layer.norm_2)
        mean_BD = x_TD.reshape(-1, length, self.width).mean(axis=1)
        vectors_BD: Floats = mean_BD / np.linalg.norm(mean_BD, axis=1, keepdims=True)
        return vectors_BD

    def _attend(self, x_TD: Floats, layer: Layer, length: int) -> Floats:
        """What every token takes from those of its text [T, D]."""
        C = self.width // self.num_heads
        qkv = _linear(x_TD, layer.qkv).reshape(-1, length, 3, self.num_heads, C)
        q_BHLC, k_BHLC, v_BHLC = qkv.transpose(2, 0, 3, 1, 4)
        scores_BHLL = (q_BHLC @ k_BHLC.swapaxes(2, 3)) * np.float32(C**-0.5)
        scores_BHLL -= scores_BHLL.max(axis=3, keepdims=True)
        np.exp(scores_BHLL, out=scores_BHLL)
        scores_BHLL /= scores_BHLL.sum(axis=3, keepdims=True)
        taken_BLHC: Floats = (scores_BHLL @ v_BHLC).swapaxes(1, 2)
        return taken_BLHC.reshape(-1, self.width)

    def _normalised(self, x_TD: Floats, norm: Norm) -> Floats:
        """Layer norm."""
        scale_D, shift_D = norm
        x_TD = x_TD - x_TD.mean(axis=1, keepdims=True)
        variance_T1 = np.square(x_TD).mean(axis=1, keepdims=True)
        x_TD /= np.sqrt(variance_T1 + np.float32(self.epsilon))
        x_TD *= scale_D
        x_TD += shift_D
        return x_TD


def batches_by_length(lengths: Sequence[int], most: int = BATCH_TOKENS) -> Iterator[list[int]]:
    """Numbers of texts of equal length, at most about `most` tokens together, the longest first."""
    order = sorted(range(len(lengths)), key=lambda n: (-lengths[n], n))
    start = 0
    while start < len(order):
        length = lengths[order[start]]
        stop = start + 1
        while stop < len(order) and lengths[order[stop]] == length and (stop - start + 1) * length <= most:
            stop += 1
        yield order[start:stop]
        start = stop


def _read_config(folder: Path) -> dict[str, Any]:
    """The configuration of an encoder of the one kind that is read here. Raises ModelError."""
    try:
        config: dict[str, Any] = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder} is no sentence encoder (config.json: {error}): give the folder of one") from None
    kind = (config.get("model_type"), config.get("hidden_act"), config.get("position_embedding_type", "absolute"))
    if kind != ("bert", "gelu", "absolute"):
        raise ModelError(
            f"{folder} is not an encoder that can be read here ({', '.join(map(str, kind))}): give a BERT with GELU "
            "and absolute positions, e.g. all-MiniLM-L6-v2"
        )
    pooling = folder / POOLING_FILE
    if pooling.is_file() and not json.loads(pooling.read_text()).get("pooling_mode_mean_tokens"):
        raise ModelError(f"{folder} does not average its tokens ({POOLING_FILE}): give an encoder that does")
    return config


def _load_tokenizer(folder: Path) -> "Tokenizer":
    from tokenizers import Tokenizer

    file = folder / "tokenizer.json"
    if not file.is_file():
        raise ModelError(f"{folder} has no tokenizer.json: give a sentence encoder that was saved with one")
    tokenizer: Tokenizer = Tokenizer.from_file(str(file))
    tokenizer.no_padding()
    tokenizer.enable_truncation(LONGEST)
    return tokenizer


def _layer(weights: dict[str, Floats], name: str) -> Layer:
    parts = [f"{name}.attention.self.{part}" for part in ("query", "key", "value")]
    W_qkv = np.concatenate([weights[f"{part}.weight"] for part in parts])
    b_qkv = np.concatenate([weights[f"{part}.bias"] for part in parts])
    return Layer(
        qkv=(np.ascontiguousarray(W_qkv.T), b_qkv),
        out=_transposed(weights, f"{name}.attention.output.dense"),
        norm_1=_norm(weights, f"{name}.attention.output.LayerNorm"),
        up=_transposed(weights, f"{name}.intermediate.dense"),
        down=_transposed(weights, f"{name}.output.dense"),
        norm_2=_norm(weights, f"{name}.output.LayerNorm"),
    )


def _transposed(weights: dict[str, Floats], name: str) -> Linear:
    return np.ascontiguousarray(weights[f"{name}.weight"].T), weights[f"{name}.bias"]


def _norm(weights: dict[str, Floats], name: str) -> Norm:
    return weights[f"{name}.weight"], weights[f"{name}.bias"]


def _linear(x_TD: Floats, linear: Linear) -> Floats:
    W, b = linear
    y: Floats = x_TD @ W
    y += b
    return y


def _gelu(x_TM: Floats) -> Floats:
    """x Phi(x), in place. erf by Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26: within 1.5e-7."""
    z_TM = np.abs(x_TM)
    z_TM *= np.float32(0.5**0.5)
    t_TM = z_TM * np.float32(0.3275911)
    t_TM += 1
    np.reciprocal(t_TM, out=t_TM)
    tail_TM = t_TM * np.float32(1.061405429)
    for coefficient in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        tail_TM += np.float32(coefficient)
        tail_TM *= t_TM
    np.square(z_TM, out=z_TM)
    np.negative(z_TM, out=z_TM)
    np.exp(z_TM, out=z_TM)
    tail_TM *= z_TM  # 1 - erf |x / sqrt 2|
    tail_TM *= np.float32(0.5)
    np.copyto(tail_TM, 1 - tail_TM, where=x_TM > 0)
    x_TM *= tail_TM
    return x_TM
