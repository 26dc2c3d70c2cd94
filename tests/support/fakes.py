"""Stand-ins that several rooms use: small, exact, and written in the real formats."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from data import __version__
from data.artifacts.corpus import (
    DOCUMENTS,
    DOCUMENTS_FILE,
    SEQUENCE,
    SEQUENCES_FILE,
    TOKEN,
    TOKENS_FILE,
    TokenizedCorpus,
    document_id,
)
from data.layout import RunPaths, StorePaths
from data.manifests import Manifest, digest, hash_folder, write_manifest


def make_corpus(
    folder: Path,
    documents: list[list[int]],
    context_length: int,
    held_out: Sequence[int] = (),
    bos_id: int | None = 0,
) -> TokenizedCorpus:
    """A tokenized corpus of given token ids, written as the tokenize stage does."""
    folder.mkdir(parents=True, exist_ok=True)
    lengths = [len(tokens) for tokens in documents]
    offsets = np.cumsum([0, *lengths])[:-1]
    rows = {
        "document_id": [document_id("fake", str(i)) for i in range(len(documents))],
        "source": [f"document {i}" for i in range(len(documents))],
        "meta": ["{}"] * len(documents),
        "held_out": [i in held_out for i in range(len(documents))],
        "offset": offsets.tolist(),
        "num_tokens": lengths,
    }
    with pa.ipc.new_file(str(folder / DOCUMENTS_FILE), DOCUMENTS) as file:
        file.write_table(pa.table(rows, schema=DOCUMENTS))
    np.array([token for tokens in documents for token in tokens], TOKEN).tofile(folder / TOKENS_FILE)
    piece, first = context_length - 1, 1 if bos_id is None else 0
    pieces = [(i, s, min(piece, n - s)) for i, n in enumerate(lengths) for s in range(first, n, piece)]
    np.save(folder / SEQUENCES_FILE, np.array(pieces, SEQUENCE))
    return TokenizedCorpus(folder)


def put_manifest(paths: RunPaths, stage: str, counts: dict[str, Any], config: dict[str, Any] | None = None) -> None:
    """Make a finished artifact of what already lies in a stage's folder."""
    folder = paths.stage(stage)
    folder.mkdir(parents=True, exist_ok=True)
    manifest = Manifest(
        stage=stage,
        key=digest({"fake": stage}),
        config=config or {},
        inputs={},
        seed=0,
        counts=counts,
        files=hash_folder(folder),
        code_version=__version__,
        seconds=0.0,
        created="2024-01-01T00:00:00+00:00",
    )
    write_manifest(folder, manifest)


def publish_fake_run(store: StorePaths, *, name: str = "fake", model: str = "tiny", seed: int = 0) -> str:
    """A small true run with hostile texts, published by the real stage (see fake_run.py); returns its name.

    SAEs: /{model}/1-relu-64, 1-relu-256, 1-batchtopk-64. The live model is a tiny random Llama in the store.
    """
    from tests.support.fake_run import publish_run

    return publish_run(store, name, model, seed)
