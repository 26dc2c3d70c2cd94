"""Stage `evaluate`: metrics of every SAE on held-out documents, in metrics.json.

Explained variance and L0 are over all held-out tokens; cross-entropy, which runs the rest of the model once for each
SAE, over the first `max_cross_entropy_tokens` of them. Attention sinks, by the rule of the harvest, keep their own
activation and are not counted. Dead features and densities are those that `examples` saw in the training documents.

Shapes: N counted tokens of a batch, B sequences, L positions (BOS included), D width, F features.
"""

import json
from typing import Any

import numpy as np
import torch
from torch import Tensor

from data.arrow import read_arrow
from data.documents import TokenizedCorpus
from data.errors import CorpusError
from data.records import METRICS_FILE, STATISTICS_FILE
from pipeline.batches import Batch, plan_batches, read_batch
from pipeline.config import Recipe
from pipeline.metrics import Prediction, Reconstruction, counted, density_histogram, predict, reconstruct, replaced
from pipeline.models.language_model import LanguageModel
from pipeline.models.sae import SAE
from pipeline.progress import track
from pipeline.residuals import load_language_model
from pipeline.stage import Stage, Work

MODEL, ZERO = "model", "zero"
"""Names of the two streams that cross-entropy is compared with: unchanged, and replaced by zero."""


class Evaluation:
    """Metrics of all SAEs, batch after batch."""

    def __init__(self, model: LanguageModel, saes: dict[str, SAE], sink_threshold: float, max_ce_tokens: int) -> None:
        self.model, self.saes = model, saes
        self.sink_threshold, self.max_ce_tokens = sink_threshold, max_ce_tokens
        self.reconstructions = {name: Reconstruction(model.width) for name in saes}
        self.predictions = dict.fromkeys([MODEL, ZERO, *saes], Prediction())
        self.num_ce_tokens = 0

    def add(self, batch: Batch) -> None:
        """Take in one batch of held-out sequences."""
        tokens_BL = torch.from_numpy(batch.tokens_BL)
        x_BLD = self.model.residuals(tokens_BL)
        counted_BL = counted(tokens_BL, batch.lengths_B, x_BLD, self.sink_threshold)
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


def _work(work: Work) -> dict[str, Any]:
    recipe = work.recipe
    corpus = TokenizedCorpus(work.input_folder("tokenize"))
    numbers_S = corpus.sequence_numbers(held_out=True)
    if len(numbers_S) == 0:
        raise CorpusError("no document is held out for metrics: give more text, or raise corpus.held_out_fraction")
    saes = {name: SAE.load(work.input_folder("train") / name, recipe.model.device) for name in recipe.sae_names}
    threshold = work.inputs["harvest"].counts["sink_threshold"]
    evaluation = Evaluation(
        load_language_model(recipe, work.paths), saes, threshold, recipe.evaluate.max_cross_entropy_tokens
    )
    bos_id = work.inputs["tokenize"].counts["bos_id"]
    lengths_S = corpus.sequences["length"][numbers_S]
    with track("evaluate", int(lengths_S.sum())) as progress:
        for batch_S in plan_batches(lengths_S, recipe.harvest.batch_tokens):
            batch = read_batch(corpus, numbers_S[batch_S], bos_id)
            evaluation.add(batch)
            progress.advance(len(batch.index_N))
    metrics = {name: evaluation.metrics(name) | _from_examples(work, name) for name in saes}
    (work.folder / METRICS_FILE).write_text(json.dumps(metrics, indent=1) + "\n")
    return {
        "num_held_out_tokens": int(lengths_S.sum()),
        "saes": {name: {key: found[key] for key in ("explained_variance", "l0")} for name, found in metrics.items()},
    }


def _from_examples(work: Work, name: str) -> dict[str, Any]:
    """What `examples` saw with the final weights in the training documents."""
    counts = work.inputs["examples"].counts
    density_F = read_arrow(work.input_folder("examples") / name / STATISTICS_FILE)["density"].to_numpy()
    return {
        "dead_share": counts["saes"][name]["dead_share"],
        "dead_tokens": counts["num_tokens"],
        "density_histogram": density_histogram(density_F.astype(np.float32)),
    }


def _config(recipe: Recipe) -> dict[str, Any]:
    return {"evaluate": recipe.evaluate.model_dump(mode="json")}


STAGE = Stage("evaluate", _work, _config, needs=("fetch", "tokenize", "harvest", "train", "examples"))
run = STAGE.run
