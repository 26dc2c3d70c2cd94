"""Stage `evaluate`: metrics of every SAE on held-out documents, in metrics.json.

Explained variance and L0 are over all held-out tokens; cross-entropy, which runs the rest of the model once for each
SAE, over a random sample of held-out documents of at most `max_cross_entropy_tokens` tokens, drawn with the run's seed.
Attention sinks, by the rule of the harvest, keep their own activation and are not counted. Dead features and densities
are those that `examples` saw in the training documents.

What the features are active on in the held-out text that labels are tried on is kept for `explain`, since it is read
here already.

Files: `metrics.json`; `losses.json`: the sums of each document of the sample, by stream; `counted.npy` and
`{sae}/activations.arrow`, see data.artifacts.features. Shapes: M documents, F features.
"""

import json
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from data.arrow import read_arrow
from data.artifacts.corpus import TokenizedCorpus
from data.artifacts.features import METRICS_FILE, STATISTICS_FILE
from data.errors import CorpusError
from pipeline.activations.batches import count_tokens
from pipeline.activations.held_out import LABEL_TOKENS, DrawnText, draw_held_out
from pipeline.activations.residuals import MOMENTS_FILE, load_language_model
from pipeline.evaluation.held_out import Evaluator
from pipeline.evaluation.kept import KeptActivations
from pipeline.evaluation.losses import DocumentLosses
from pipeline.evaluation.metrics import density_histogram
from pipeline.evaluation.sample import Sequences, draw_in_turn
from pipeline.models.sae import SAE
from pipeline.progress import log
from pipeline.recipe import Recipe
from pipeline.stage import Stage, Work

LOSSES_FILE = "losses.json"


def _work(work: Work) -> dict[str, Any]:
    recipe = work.recipe
    corpus = TokenizedCorpus(work.input_folder("tokenize"))
    numbers_S = corpus.sequence_numbers(held_out=True)
    sequences_S = corpus.sequences[numbers_S]
    if len(sequences_S) == 0:
        raise CorpusError("no document is held out for metrics: give more text, or raise corpus.held_out_fraction")
    sample_S = draw_in_turn(sequences_S, recipe.evaluate.max_cross_entropy_tokens, recipe.seed)
    evaluator = _evaluator(work, corpus)
    drawn = DrawnText(corpus, draw_held_out(corpus, LABEL_TOKENS, recipe.seed))
    kept = KeptActivations(drawn.first_S[numbers_S], drawn.num_tokens, evaluator.saes)
    reconstructions = evaluator.reconstruct(sequences_S, kept.add)
    kept.write(work.folder)
    mean_D = torch.from_numpy(np.load(work.input_folder("harvest") / MOMENTS_FILE)["mean_D"])
    losses = evaluator.losses(sample_S, mean_D)
    if len(losses.tokens_M) == 1:
        log("cross-entropy is measured on one document, which gives no interval: hold out more documents")
    metrics = {
        name: reconstructions[name].metrics() | losses.metrics(name) | _from_examples(work, name)
        for name in recipe.sae_names
    }
    (work.folder / METRICS_FILE).write_text(json.dumps(metrics, indent=1) + "\n")
    (work.folder / LOSSES_FILE).write_text(json.dumps(_by_document(corpus, sample_S, losses), indent=1) + "\n")
    return {
        "num_held_out_tokens": count_tokens(corpus, corpus.sequence_numbers(held_out=True)),
        "num_cross_entropy_tokens": int(losses.tokens_M.sum()),
        "num_cross_entropy_documents": len(losses.tokens_M),
        "saes": {name: {key: found[key] for key in ("explained_variance", "l0")} for name, found in metrics.items()},
    }


def _evaluator(work: Work, corpus: TokenizedCorpus) -> Evaluator:
    recipe = work.recipe

    bos_id: int | None = work.inputs["tokenize"].counts["bos_id"]

    def read(sequences_B: Sequences) -> list[npt.NDArray[np.int64]]:
        return [corpus.opened(sequence, bos_id) for sequence in sequences_B.tolist()]

    return Evaluator(
        model=load_language_model(recipe, work.paths),
        saes={name: SAE.load(work.input_folder("train") / name, recipe.model.device) for name in recipe.sae_names},
        read=read,
        sink_norm=work.inputs["harvest"].counts["sink_threshold"],
        batch_tokens=recipe.harvest.batch_tokens,
        title="evaluate",
        own=corpus.counted if corpus.roles is not None else None,
    )


def _by_document(corpus: TokenizedCorpus, sample_S: Sequences, losses: DocumentLosses) -> list[dict[str, Any]]:
    """Each document of the sample with its tokens and, by stream, the sums of loss and divergence (nats)."""
    return [
        {
            "source": corpus.documents["source"][row].as_py(),
            "tokens": int(losses.tokens_M[m]),
            "loss": {name: float(loss_M[m]) for name, loss_M in losses.loss.items()},
            "divergence": {name: float(sum_M[m]) for name, sum_M in losses.divergence.items()},
        }
        for m, row in enumerate(np.unique(sample_S["document"]).tolist())
    ]


def _from_examples(work: Work, name: str) -> dict[str, Any]:
    """Counts by `examples` with the final weights in the training documents."""
    counts = work.inputs["examples"].counts
    density_F = read_arrow(work.input_folder("examples") / name / STATISTICS_FILE)["density"].to_numpy()
    return {
        "dead_share": counts["saes"][name]["dead_share"],
        "dead_tokens": counts["num_tokens"],
        "density_histogram": density_histogram(density_F.astype(np.float32)),
    }


def _config(recipe: Recipe) -> dict[str, Any]:
    return {"evaluate": recipe.evaluate.model_dump(mode="json")}


STAGE = Stage("evaluate", _work, _config, needs=("fetch", "tokenize", "harvest", "train", "examples"), version=3)
run = STAGE.run
