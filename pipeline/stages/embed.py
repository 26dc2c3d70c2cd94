"""Stage `embed`: what every live feature is about, as a sentence encoder reads its label and strongest examples."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data.arrow import read_arrow, write_arrow
from data.artifacts.corpus import TokenizedCorpus
from data.artifacts.features import (
    EXAMPLES_FILE,
    MEANINGS_FILE,
    STATISTICS_FILE,
    TOP,
    meanings_schema,
    read_kinds,
)
from data.artifacts.labels import read_labels
from pipeline.embeddings.descriptions import CONTEXTS, describe
from pipeline.embeddings.vectors import encode_all
from pipeline.examples.texts import ExampleTexts, of_features
from pipeline.fetching.encoders import encoder_key, ensure_encoder
from pipeline.fetching.local import model_folder
from pipeline.models.sentences import SentenceEncoder
from pipeline.models.tokenizer import Tokenizer
from pipeline.progress import track
from pipeline.recipe import Recipe
from pipeline.stage import Stage, Work

FEATURES_PER_BATCH = 4096


def embed(work: Work) -> dict[str, Any]:
    """Write meanings.arrow; nothing where the recipe turns it off."""
    folder = ensure_encoder(work.recipe.embed, work.paths.store)
    if folder is None:
        return {"encoder": None, "num_features": 0}
    encoder, root = SentenceEncoder.load(folder), work.paths.store.root
    described = list(_descriptions(work))
    schema = meanings_schema(encoder.width)
    with track("embed", len(described), "features") as progress:
        batches = (
            _batch(schema, described[start : start + FEATURES_PER_BATCH], encoder, progress.advance)
            for start in range(0, len(described), FEATURES_PER_BATCH)
        )
        write_arrow(work.folder / MEANINGS_FILE, schema, batches)
    name = str(folder.relative_to(root) if folder.is_relative_to(root) else folder)
    return {"encoder": name, "width": encoder.width, "num_features": len(described)}


def _descriptions(work: Work) -> Iterator[tuple[int, str]]:
    """Row and description of every live feature."""
    tokenizer = Tokenizer.load(model_folder(work.inputs["fetch"], work.paths))
    texts = ExampleTexts(TokenizedCorpus(work.input_folder("tokenize")), tokenizer.token_bytes())
    first_row = 0
    for name in work.recipe.sae_names:
        statistics = read_arrow(work.input_folder("examples") / name / STATISTICS_FILE)
        labels = read_labels(work.input_folder("explain"), work.input_folder("score"), name)["label"]
        examples = read_arrow(work.input_folder("examples") / name / EXAMPLES_FILE)
        top = examples.select(["index", "document", "position"]).filter(pc.equal(examples["kind"], TOP))
        live_F = np.flatnonzero(read_kinds(statistics, work.recipe.examples.rare_tokens).live_F)
        first_F, stop_F = (np.searchsorted(top["index"].to_numpy(), live_F, side) for side in ("left", "right"))
        peaks = of_features(top, first_F, stop_F - first_F, texts.peak)
        contexts = of_features(top, first_F, np.minimum(stop_F - first_F, CONTEXTS), texts.around)
        for index, *found in zip(live_F.tolist(), labels.take(live_F).to_pylist(), peaks, contexts, strict=True):
            yield first_row + index, describe(*found)
        first_row += len(statistics)


def _batch(
    schema: pa.Schema, described: list[tuple[int, str]], encoder: SentenceEncoder, advance: Callable[[int], None]
) -> pa.RecordBatch:
    rows, texts = zip(*described, strict=True)
    vectors_ND = encode_all(encoder, texts, advance)
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(vectors_ND.reshape(-1)), encoder.width)
    return pa.RecordBatch.from_arrays([pa.array(rows, pa.int64()), vectors], schema=schema)


def _config(recipe: Recipe) -> dict[str, Any]:
    rare = recipe.examples.rare_tokens
    return {"embed": encoder_key(recipe.embed), "saes": recipe.sae_names, "rare_tokens": rare}


STAGE = Stage("embed", embed, _config, needs=("fetch", "tokenize", "examples", "explain", "score"))
run = STAGE.run
