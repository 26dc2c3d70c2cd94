"""Evaluation of the SAEs on held-out text: reconstruction, and the model's loss when it reads them instead."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from data.artifacts.corpus import TokenizedCorpus
from pipeline.activations.batches import Batch, plan_batches, read_batch
from pipeline.evaluation.metrics import Prediction, Reconstruction, counted, predict, reconstruct, replaced
from pipeline.models.language_model import LanguageModel
from pipeline.models.sae import SAE
from pipeline.progress import track

MODEL, ZERO = "model", "zero"
"""Names of the two streams that cross-entropy is compared with: unchanged, and replaced by zero."""


class Evaluation:
    """Metrics of all SAEs, batch after batch."""

    def __init__(self, model: LanguageModel, saes: dict[str, SAE], sink_norm: float, max_ce_tokens: int) -> None:
        self.model, self.saes = model, saes
        self.sink_norm, self.max_ce_tokens = sink_norm, max_ce_tokens
        self.reconstructions = {name: Reconstruction(model.width) for name in saes}
        self.predictions = dict.fromkeys([MODEL, ZERO, *saes], Prediction())
        self.num_ce_tokens = 0

    def run(self, corpus: TokenizedCorpus, numbers_S: npt.NDArray[np.int64], bos_id: int, batch_tokens: int) -> int:
        """Take in the sequences with these numbers; returns how many tokens they have."""
        lengths_S = corpus.sequences["length"][numbers_S]
        with track("evaluate", int(lengths_S.sum())) as progress:
            for batch_S in plan_batches(lengths_S, batch_tokens):
                batch = read_batch(corpus, numbers_S[batch_S], bos_id)
                self.add(batch)
                progress.advance(len(batch.index_N))
        return int(lengths_S.sum())

    def add(self, batch: Batch) -> None:
        """Take in one batch of held-out sequences."""
        tokens_BL = torch.from_numpy(batch.tokens_BL)
        x_BLD = self.model.residuals(tokens_BL)
        counted_BL = counted(x_BLD, batch.lengths_B, self.sink_norm)
        x_ND = x_BLD[counted_BL]
        streams = {MODEL: x_BLD, ZERO: replaced(x_BLD, counted_BL, 0.0)}
        for name, sae in self.saes.items():
            sparse, x_hat_ND = reconstruct(sae, x_ND)
            self.reconstructions[name].add(x_ND, x_hat_ND, sparse)
            streams[name] = replaced(x_BLD, counted_BL, x_hat_ND)
        if self.num_ce_tokens < self.max_ce_tokens:
            self._predict(tokens_BL, batch, streams)

    def metrics(self, name: str) -> dict[str, float | int]:
        """Metrics of one SAE, cross-entropies in nats per token."""
        reconstruction, tokens = self.reconstructions[name], self.num_ce_tokens
        model, zero, sae = (self.predictions[key].cross_entropy / tokens for key in (MODEL, ZERO, name))
        return {
            "explained_variance": reconstruction.explained_variance(),
            "l0": reconstruction.l0(),
            "mse": reconstruction.mean_squared_error(),
            "num_tokens": reconstruction.num_tokens,
            "ce": model,
            "ce_sae": sae,
            "ce_zero": zero,
            "ce_difference": sae - model,
            "ce_recovered": (zero - sae) / (zero - model),
            "kl": self.predictions[name].divergence / tokens,
            "num_ce_tokens": tokens,
        }

    def _predict(self, tokens_BL: Tensor, batch: Batch, streams: dict[str, Tensor]) -> None:
        found = predict(self.model, tokens_BL, batch.lengths_B, streams, MODEL)
        for name, prediction in found.items():
            before = self.predictions[name]
            self.predictions[name] = Prediction(*(a + b for a, b in zip(before, prediction, strict=True)))
        self.num_ce_tokens += int(batch.lengths_B.sum())
