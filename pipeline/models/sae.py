"""A trained sparse autoencoder: takes raw residual-stream activations, gives features in the stream's own units.

Whatever a trainer used (centring, scaling, decoder norms) is folded into the weights when an SAE is saved, so nothing
downstream ever normalises: decoder directions have norm 1, and x ~= sum_i f_i(x) d_i + b_dec. (Some SAEs of other
libraries normalise each token by itself, which cannot be folded: see standardise.py.)

Folder format: `cfg.json` (SAEHeader); `sae.safetensors` (W_enc, b_enc, W_dec, b_dec, threshold; selection of TopK).

Shapes: B tokens, D width of the residual stream, F features, K active (token, feature) pairs.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from pipeline.models.errors import ModelError
from pipeline.models.onednn import product_dtype
from pipeline.models.rounding import RoundedRows, flat_nonzero, pairs_above, products_at
from pipeline.models.standardise import Normalisation, restore, standardise, token_scale

HEADER_FILE = "cfg.json"
WEIGHTS_FILE = "sae.safetensors"
FORMAT_VERSION = 1
TILE_FEATURES = 4096
"""Features encoded at once: the tile [B, TILE_FEATURES] is the largest dense array of activations there is."""

Nonlinearity = Literal["relu", "jumprelu", "topk"]


@dataclass(frozen=True)
class SAEHeader:
    """Header of a saved SAE: its kind, and the activations that it reads."""

    name: str
    """e.g. 14-relu-4096"""
    architecture: str
    """Architecture in training: relu, topk, batchtopk; of imported SAEs also jumprelu, gated, matryoshka."""
    nonlinearity: Nonlinearity
    """Activation when used: relu; jumprelu (a threshold per feature; BatchTopK becomes this); topk (k per token)."""
    num_features: int
    width: int
    model: str
    """Hub id or slug of the language model; in a run's own folder, the slug that it was trained under."""
    layer: int
    """From 0."""
    k: int | None = None
    activation_scale: float = 1.0
    """Root mean square norm of the residual stream over the training rows, their mean taken off."""
    normalisation: Normalisation = "none"
    """Of each token by itself, before it is read."""
    hook: str = "resid_post"
    """The place at the layer that the SAE reads, see hooks.py."""
    format_version: int = FORMAT_VERSION


class SparseActivations(NamedTuple):
    """Activations above zero, sorted by token, then feature."""

    token_K: Tensor
    feature_K: Tensor
    value_K: Tensor
    """float32"""


class SAE:
    """A trained sparse autoencoder for inference.

    W_enc_FD, W_dec_FD (rows of norm 1), b_enc_F, b_dec_D and threshold_F are float32 on one device.
    """

    def __init__(
        self,
        header: SAEHeader,
        W_enc_FD: Tensor,
        b_enc_F: Tensor,
        W_dec_FD: Tensor,
        b_dec_D: Tensor,
        threshold_F: Tensor,
        selection_F: Tensor | None = None,
    ) -> None:
        """selection_F: topk chooses by activation times this; None by the activation itself."""
        self.header = header
        self.W_enc_FD, self.b_enc_F = W_enc_FD, b_enc_F
        self.W_dec_FD, self.b_dec_D = W_dec_FD, b_dec_D
        self.threshold_F, self.selection_F = threshold_F, selection_F
        self._low_precision: dict[torch.dtype, RoundedRows] = {}

    @property
    def num_features(self) -> int:
        return self.header.num_features

    @property
    def device(self) -> torch.device:
        return self.W_enc_FD.device

    def pre_activations(
        self, x_BD: Tensor, features: Tensor | slice | None = None, dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """Values before the nonlinearity, float32 [B, F or chosen], the product taken in `dtype`."""
        chosen = slice(None) if features is None else features
        dtype = product_dtype(dtype, self.device)
        W_FD, x_BD = self._encoder(dtype)[chosen], self.standardise(x_BD)
        return torch.nn.functional.linear(x_BD.to(dtype), W_FD).float().add_(self.b_enc_F[chosen])

    def encode(self, x_BD: Tensor, features: Tensor | None = None) -> Tensor:
        """Activations, float32, dense [B, F or chosen]: for a prompt, or a few features, all distinct."""
        if self.header.nonlinearity == "topk":
            return self._densify(self.encode_sparse(x_BD), len(x_BD), features)
        pre_BF = self.pre_activations(x_BD, features)
        threshold_F = self.threshold_F if features is None else self.threshold_F[features]
        return torch.where(pre_BF > threshold_F, pre_BF, 0.0)

    def encode_sparse(self, x_BD: Tensor, search: torch.dtype = torch.float32) -> SparseActivations:
        """Activations above zero, tile by tile; memory does not grow with B x F. search: see `encode_by_feature`."""
        if self.header.nonlinearity == "topk":
            return self._encode_topk(x_BD)
        if search != torch.float32:
            found = (torch.cat(column) for column in zip(*self.encode_by_feature(x_BD, search), strict=True))
            return _sorted(SparseActivations._make(found), self.num_features)
        parts = []
        for start in range(0, self.num_features, TILE_FEATURES):
            tile = slice(start, start + TILE_FEATURES)
            pre_BT = self.pre_activations(x_BD, tile)
            token_K, feature_K = torch.nonzero(pre_BT > self.threshold_F[tile], as_tuple=True)
            parts.append((token_K, feature_K + start, pre_BT[token_K, feature_K]))
        found = (torch.cat(column) for column in zip(*parts, strict=True))
        return _sorted(SparseActivations._make(found), self.num_features)

    def encode_by_feature(self, x_BD: Tensor, dtype: torch.dtype = torch.float32) -> Iterator[SparseActivations]:
        """The result of `encode_sparse` in float32, a tile of features at a time, sorted by feature, then token.

        For what is kept per feature: a sort over all activations would cost more than finding them. `dtype` is that of
        the search alone: what may be active in float32 is computed anew in it (`topk` is not searched so, for there
        the other features of the token decide as well).
        """
        if self.header.nonlinearity == "topk":
            sparse = self.encode_sparse(x_BD)
            order_K = torch.argsort(sparse.feature_K, stable=True)
            yield SparseActivations._make(column_K[order_K] for column_K in sparse)
            return
        block = RoundedRows.of(self.standardise(x_BD), product_dtype(dtype, self.device))
        for start in range(0, self.num_features, TILE_FEATURES):
            yield self._encode_tile(block, slice(start, start + TILE_FEATURES))

    def among(self, features: Tensor, threshold_F: Tensor) -> Self:
        """An SAE of some of the features alone, active only above a threshold of each [F of them] or its own."""
        assert self.header.nonlinearity != "topk", "which features are active depends on all of them"
        header = replace(self.header, nonlinearity="jumprelu", num_features=len(features))
        threshold_F = torch.maximum(threshold_F, self.threshold_F[features])
        rows = (self.W_enc_FD[features], self.b_enc_F[features], self.W_dec_FD[features])
        return type(self)(header, *rows, self.b_dec_D, threshold_F)

    def standardise(self, x: Tensor) -> Tensor:
        """Rows [..., D] as they are read: for most SAEs themselves."""
        return standardise(x, self.header.normalisation)

    def token_scale(self, x: Tensor) -> Tensor:
        """Length in the residual stream of an activation of 1, of rows [..., D]: [..., 1]; 1 for most SAEs."""
        return token_scale(x, self.header.normalisation)

    def decode(self, activations_BF: Tensor) -> Tensor:
        """Reconstruction [B, D] of dense activations, of an SAE that normalises no token by itself."""
        assert self.header.normalisation == "none", "what it read is needed: use reconstruct"
        return activations_BF @ self.W_dec_FD + self.b_dec_D

    def decode_sparse(self, sparse: SparseActivations, x_BD: Tensor) -> Tensor:
        """Reconstruction [B, D] of sparse activations of x [B, D]."""
        num_tokens = len(x_BD)
        counts_B = torch.bincount(sparse.token_K, minlength=num_tokens)
        starts_B = torch.cumsum(counts_B, 0) - counts_B
        sums_BD = torch.nn.functional.embedding_bag(
            sparse.feature_K, self.W_dec_FD, starts_B, mode="sum", per_sample_weights=sparse.value_K
        )
        return restore(sums_BD + self.b_dec_D, x_BD, self.header.normalisation)

    def reconstruct(self, x_BD: Tensor) -> Tensor:
        """x^ of raw activations [B, D], float32."""
        return self.decode_sparse(self.encode_sparse(x_BD), x_BD)

    def to(self, device: str | torch.device) -> Self:
        """The same SAE on another device."""
        tensors = (self.W_enc_FD, self.b_enc_F, self.W_dec_FD, self.b_dec_D, self.threshold_F)
        moved = type(self)(self.header, *(tensor.to(device) for tensor in tensors))
        moved.selection_F = None if self.selection_F is None else self.selection_F.to(device)
        return moved

    def save(self, folder: Path) -> None:
        """Write `cfg.json` and `sae.safetensors`."""
        folder.mkdir(parents=True, exist_ok=True)
        weights = {
            "W_enc": self.W_enc_FD, "b_enc": self.b_enc_F, "W_dec": self.W_dec_FD,
            "b_dec": self.b_dec_D, "threshold": self.threshold_F,
        }  # fmt: skip
        if self.selection_F is not None:
            weights["selection"] = self.selection_F
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}, folder / WEIGHTS_FILE)
        write_header(folder, self.header)

    @classmethod
    def load(cls, folder: Path, device: str | torch.device = "cpu") -> Self:
        """Read a saved SAE. Raises ModelError when the folder does not hold one that fits its header."""
        header = load_header(folder)
        try:
            weights = load_file(folder / WEIGHTS_FILE, device=str(device))
            tensors = [weights[name] for name in ("W_enc", "b_enc", "W_dec", "b_dec", "threshold")]
        except (OSError, SafetensorError, KeyError) as error:
            raise ModelError(
                f"{folder / WEIGHTS_FILE} cannot be read ({error}): train or fetch the SAE again"
            ) from None
        F, D = header.num_features, header.width
        shapes = [tuple(tensor.shape) for tensor in tensors]
        if shapes != [(F, D), (F,), (F, D), (D,), (F,)]:
            raise ModelError(f"{folder / WEIGHTS_FILE} has shapes {shapes}, its header says F={F}, D={D}")
        sae = cls(header, *tensors)
        sae.selection_F = weights.get("selection")
        return sae

    def _encoder(self, dtype: torch.dtype) -> Tensor:
        return self.W_enc_FD if dtype == torch.float32 else self._rounded(dtype).rounded_ND

    def _rounded(self, dtype: torch.dtype) -> RoundedRows:
        """The encoder in another precision."""
        if dtype not in self._low_precision:
            self._low_precision[dtype] = RoundedRows.of(self.W_enc_FD, dtype)
        return self._low_precision[dtype]

    def _densify(self, sparse: SparseActivations, num_tokens: int, features: Tensor | None) -> Tensor:
        """Sparse activations of `features` as a dense array, without one of all features in between."""
        chosen = torch.arange(self.num_features, device=self.device) if features is None else features
        column_F = torch.full((self.num_features,), -1, device=self.device)
        column_F[chosen] = torch.arange(len(chosen), device=self.device)
        column_K = column_F[sparse.feature_K]
        asked_K = column_K >= 0
        dense = torch.zeros(num_tokens, len(chosen), device=self.device)
        dense[sparse.token_K[asked_K], column_K[asked_K]] = sparse.value_K[asked_K]
        return dense

    def _encode_tile(self, block: RoundedRows, tile: slice) -> SparseActivations:
        """Activations of the features of a tile, sorted by feature, then token; exact, whatever the block's dtype."""
        W_TD, bias_T, threshold_T = self.W_enc_FD[tile], self.b_enc_F[tile], self.threshold_F[tile]
        dtype, num_tokens = block.rounded_ND.dtype, len(block.norm_N)
        if dtype == torch.float32:
            pre_TB = torch.nn.functional.linear(W_TD, block.exact_ND).add_(bias_T[:, None])
            place_K = flat_nonzero(pre_TB > threshold_T[:, None])
            feature_K, value_K = place_K // num_tokens, pre_TB.view(-1)[place_K]
            return SparseActivations(place_K % num_tokens, feature_K + tile.start, value_K)
        feature_K, token_K = pairs_above(self._rounded(dtype).part(tile), block, threshold_T - bias_T)
        value_K = products_at(W_TD, block.exact_ND, feature_K, token_K).add_(bias_T[feature_K])
        active_A = flat_nonzero(value_K > threshold_T[feature_K])
        return SparseActivations(token_K[active_A], feature_K[active_A] + tile.start, value_K[active_A])

    def _encode_topk(self, x_BD: Tensor) -> SparseActivations:
        """Running top k over the tiles: never more than a tile and k values per token."""
        k = self.header.k
        assert k is not None, "a topk SAE has k"
        best_BK = torch.empty(len(x_BD), 0, device=self.device)
        index_BK = torch.empty(len(x_BD), 0, dtype=torch.long, device=self.device)
        for start in range(0, self.num_features, TILE_FEATURES):
            pre_BT = self.pre_activations(x_BD, slice(start, start + TILE_FEATURES))
            if self.selection_F is not None:
                pre_BT *= self.selection_F[start : start + TILE_FEATURES]
            values_BT, tile_BT = pre_BT.topk(min(k, pre_BT.shape[1]), dim=1)
            merged_BK = torch.cat([best_BK, values_BT], 1)
            merged_index_BK = torch.cat([index_BK, tile_BT + start], 1)
            best_BK, place_BK = merged_BK.topk(min(k, merged_BK.shape[1]), dim=1)
            index_BK = merged_index_BK.gather(1, place_BK)
        token_K, place_K = torch.nonzero(best_BK > 0, as_tuple=True)
        feature_K, value_K = index_BK[token_K, place_K], best_BK[token_K, place_K]
        if self.selection_F is not None:
            value_K = value_K / self.selection_F[feature_K]
        return _sorted(SparseActivations(token_K, feature_K, value_K), self.num_features)


def load_header(folder: Path) -> SAEHeader:
    """The header alone. Raises ModelError when it cannot be read or is of another format version."""
    try:
        raw = json.loads((folder / HEADER_FILE).read_text())
        header = SAEHeader(**raw)
    except (OSError, json.JSONDecodeError, TypeError) as error:
        raise ModelError(f"{folder} does not hold a saved SAE: {error}") from None
    if header.format_version != FORMAT_VERSION:
        raise ModelError(f"{folder} has SAE format {header.format_version}, this code reads {FORMAT_VERSION}")
    return header


def write_header(folder: Path, header: SAEHeader) -> None:
    """Write `cfg.json`."""
    (folder / HEADER_FILE).write_text(json.dumps(asdict(header), indent=1) + "\n")


def _sorted(found: SparseActivations, num_features: int) -> SparseActivations:
    order_K = torch.argsort(found.token_K * num_features + found.feature_K)
    return SparseActivations._make(column_K[order_K] for column_K in found)
