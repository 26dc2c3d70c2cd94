"""Stage `explain`: what a feature says: the tokens it promotes and suppresses, and a first label from its statistics.

Labels of other origins (judges) come later; this one is there for every live feature from the start.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from torch import Tensor

from data.arrow import read_arrow, write_arrow
from data.artifacts.corpus import TokenizedCorpus
from data.artifacts.features import EXAMPLES_FILE, EXPLANATIONS, EXPLANATIONS_FILE, STATISTICS_FILE
from pipeline.activations.residuals import load_language_model
from pipeline.fetching.local import model_folder
from pipeline.labels.evidence import Background, read_evidence
from pipeline.labels.rules import Label, Labeller
from pipeline.labels.words import Words
from pipeline.models.promoted import Promoted, promoted_tokens
from pipeline.models.sae import SAE
from pipeline.models.tokenizer import Tokenizer
from pipeline.progress import Progress, track
from pipeline.recipe import Recipe
from pipeline.stage import Stage, Work

FEATURES_PER_BATCH = 2048
ORIGIN = "statistics"
DEAD = Label("", None)


def explain(work: Work) -> dict[str, Any]:
    """Write explanations.arrow for every SAE."""
    recipe = work.recipe
    corpus = TokenizedCorpus(work.input_folder("tokenize"))
    norm_scale_D, W_U_VD = load_language_model(recipe, work.paths).unembedding()
    tokenizer = Tokenizer.load(model_folder(work.inputs["fetch"], work.paths))
    words = Words(tokenizer.token_bytes(len(W_U_VD)))
    labeller = Labeller(words, Background(corpus, words))
    total = sum(sae.num_features for sae in recipe.train.saes)
    counts = {}
    with track("explain", total, "features") as progress:
        for name in recipe.sae_names:
            sae = SAE.load(work.input_folder("train") / name, recipe.model.device)
            promoted, suppressed = promoted_tokens(sae.W_dec_FD, norm_scale_D, W_U_VD, recipe.explain.promoted)
            folder = work.folder / name
            folder.mkdir(exist_ok=True)
            labels = _labels(work.input_folder("examples") / name, recipe, corpus, labeller, promoted, progress)
            counts[name] = {"num_labels": write_explanations(folder, labels, promoted, suppressed)}
    return {"origin": ORIGIN, "saes": counts}


def _labels(
    folder: Path, recipe: Recipe, corpus: TokenizedCorpus, labeller: Labeller, promoted: Promoted, progress: Progress
) -> Iterator[list[Label]]:
    """A label for every feature, FEATURES_PER_BATCH at a time."""
    live = read_arrow(folder / STATISTICS_FILE)["max"].to_numpy() > 0
    examples = read_arrow(folder / EXAMPLES_FILE)
    index = examples["index"].to_numpy()
    for start in range(0, len(live), FEATURES_PER_BATCH):
        stop = min(start + FEATURES_PER_BATCH, len(live))
        low, high = np.searchsorted(index, (start, stop)).tolist()
        some = examples.slice(low, high - low)
        found = dict(read_evidence(some, recipe.examples.bands, corpus, labeller.words, labeller.background))
        tokens = promoted.token_FK[start:stop].tolist()
        yield [labeller.label(found.get(f), tokens[f - start]) if live[f] else DEAD for f in range(start, stop)]
        progress.advance(stop - start)


def write_explanations(folder: Path, labels: Iterator[list[Label]], promoted: Promoted, suppressed: Promoted) -> int:
    """Write explanations.arrow; returns how many features have a label."""
    num_labels = 0

    def batches() -> Iterator[pa.RecordBatch]:
        nonlocal num_labels
        start = 0
        for some in labels:
            rows = slice(start, start + len(some))
            index = pa.array(np.arange(rows.start, rows.stop), pa.int32())
            texts, scores = zip(*some, strict=True)
            columns = [index, pa.array(texts), pa.array([ORIGIN] * len(some))]
            columns += [pa.array(scores, pa.float32()), pa.nulls(len(some), pa.float32())]
            for tokens in (promoted, suppressed):
                columns += [_lists(tokens.token_FK[rows], pa.int32()), _lists(tokens.logit_FK[rows], pa.float32())]
            yield pa.RecordBatch.from_arrays(columns, schema=EXPLANATIONS)
            start = rows.stop
            num_labels += sum(label.text != "" for label in some)

    write_arrow(folder / EXPLANATIONS_FILE, EXPLANATIONS, batches())
    return num_labels


def _lists(values_FK: Tensor, kind: pa.DataType) -> pa.ListArray:
    ends = pa.array(np.arange(len(values_FK) + 1) * values_FK.shape[1], pa.int32())
    return pa.ListArray.from_arrays(ends, pa.array(values_FK.reshape(-1).numpy(), kind))


def _config(recipe: Recipe) -> dict[str, Any]:
    return {"explain": recipe.explain.model_dump(mode="json")}


STAGE = Stage(name="explain", work=explain, config=_config, needs=("fetch", "tokenize", "train", "examples"), version=2)
run = STAGE.run
