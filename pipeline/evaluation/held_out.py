"""Evaluation of the SAEs on held-out text: reconstruction, and the model's loss when it reads them instead.

Shapes: S sequences, B sequences of a batch, L positions (BOS included), N counted tokens, M documents, D width.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.activations.batches import Counted, own_positions, pad, plan_batches
from pipeline.evaluation.losses import MEAN, MODEL, ZERO, DocumentLosses, Sums, predict, predict_from_zeros, replaced
from pipeline.evaluation.metrics import Reconstruction, counted, reconstruct
from pipeline.evaluation.sample import Sequences
from pipeline.models.language_model import LanguageModel
from pipeline.models.sae import SAE, SparseActivations
from pipeline.progress import track


class HeldOutBatch(NamedTuple):
    """Some sequences as the model reads them."""

    place_B: npt.NDArray[np.int64]
    """Their places among all that are read."""
    sequences_B: Sequences
    own_BL: npt.NDArray[np.bool_]
    """Positions of the tokens that count, attention sinks among them."""
    tokens_BL: Tensor
    x_BLD: Tensor
    """The activations at the hook."""
    beside_BLD: Tensor | None
    """See hooks.py."""
    counted_BL: Tensor
    """Positions that are not left out."""


Seen = Callable[[HeldOutBatch, str, SparseActivations], None]
"""Is told what an SAE, by its name, is active on: tokens are numbered as the batch's counted positions are."""


@dataclass(frozen=True)
class Evaluator:
    """Measures SAEs on held-out sequences, wherever these come from."""

    model: LanguageModel
    saes: Mapping[str, SAE]
    read: Callable[[Sequences], Sequence[Sequence[int] | npt.NDArray[np.int64]]]
    """The tokens of sequences, each with its opening one."""
    sink_norm: float
    batch_tokens: int
    title: str
    """Name on the progress bar."""
    own: Counted | None = None
    """Which tokens of a sequence count; None for all."""

    def reconstruct(self, sequences_S: Sequences, seen: Seen | None = None) -> dict[str, Reconstruction]:
        """Reconstruction of the counted tokens by each SAE."""
        found = {name: Reconstruction(self.model.width) for name in self.saes}
        for batch in self._batches(sequences_S, "reconstruction"):
            x_ND = batch.x_BLD[batch.counted_BL]
            for name, sae in self.saes.items():
                sparse, x_hat_ND = reconstruct(sae, x_ND)
                found[name].add(x_ND, x_hat_ND, sparse)
                if seen is not None:
                    seen(batch, name, sparse)
        return found

    def losses(self, sequences_S: Sequences, mean_D: Tensor | None = None) -> DocumentLosses:
        """Losses by document: of the model, with each SAE, and (given the mean of the training rows) the baselines."""
        documents_M = np.unique(sequences_S["document"])
        totals: dict[str, dict[str, Sums]] = {"tokens": {}, "loss": {}, "divergence": {}}
        for batch in self._batches(sequences_S, "cross-entropy"):
            place_B = np.searchsorted(documents_M, batch.sequences_B["document"])
            streams = self._streams(batch, mean_D)
            found = predict(self.model, batch.tokens_BL, batch.own_BL, streams, batch.beside_BLD)
            if mean_D is not None and ZERO not in streams:
                found.loss[ZERO] = predict_from_zeros(self.model, batch.tokens_BL, batch.own_BL)
            for kind, sums in {**found._asdict(), "tokens": {"": batch.own_BL.sum(1)}}.items():
                for name, values_B in sums.items():
                    total_M = totals[kind].setdefault(name, np.zeros(len(documents_M)))
                    np.add.at(total_M, place_B, values_B)
        return DocumentLosses(totals["tokens"][""], totals["loss"], totals["divergence"])

    def _streams(self, batch: HeldOutBatch, mean_D: Tensor | None) -> dict[str, Tensor]:
        """Residual streams [B, L, D] for the later layers, by name."""
        x_BLD, counted_BL = batch.x_BLD, batch.counted_BL
        streams = {MODEL: x_BLD}
        if mean_D is not None:
            streams[MEAN] = replaced(x_BLD, counted_BL, mean_D)
            if batch.beside_BLD is not None:  # what comes of zeros depends on the sequence then
                streams[ZERO] = torch.zeros_like(x_BLD)
        for name, sae in self.saes.items():
            streams[name] = replaced(x_BLD, counted_BL, reconstruct(sae, x_BLD[counted_BL])[1])
        return streams

    def _batches(self, sequences_S: Sequences, what: str) -> Iterator[HeldOutBatch]:
        lengths_S = sequences_S["length"].astype(np.int64)
        with track(f"{self.title}: {what}", int(lengths_S.sum())) as progress:
            for numbers_B in plan_batches(lengths_S, self.batch_tokens):
                sequences_B, lengths_B = sequences_S[numbers_B], lengths_S[numbers_B]
                tokens_BL = torch.from_numpy(pad(self.read(sequences_B)))
                x_BLD, beside_BLD = self.model.read(tokens_BL)
                own_BL = own_positions(sequences_B, tokens_BL.shape[1], self.own)
                counted_BL = counted(x_BLD, own_BL, self.sink_norm)
                yield HeldOutBatch(numbers_B, sequences_B, own_BL, tokens_BL, x_BLD, beside_BLD, counted_BL)
                progress.advance(int(lengths_B.sum()))
