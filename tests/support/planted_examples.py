"""A small corpus with made-up residuals, SAEs for it, and stage `examples` on them.

Weights and residuals are small binary fractions, so that every sum is exact whatever its order, and equal activations
are common enough to show that ties are broken as they should be.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from data.artifacts.features import EXAMPLES, EXAMPLES_FILE, STATISTICS, STATISTICS_FILE
from data.artifacts.shards import ROW
from data.layout import StorePaths
from data.manifests import Manifest
from pipeline.activations.residuals import ResidualBlock
from pipeline.models.sae import SAE, SAEHeader
from pipeline.recipe import Recipe, make_recipe
from pipeline.stage import Work
from pipeline.stages import examples as stage
from tests.support.fakes import make_corpus

WIDTH = 8
VOCAB = 12
Row = dict[str, Any]


def make_recipe_with(**examples: Any) -> Recipe:
    return make_recipe(
        {
            "name": "test",
            "corpus": {"source": "sample"},
            "model": {"name": "tiny", "source": "sample", "layer": 1},
            "train": {"saes": [{"architecture": "relu", "num_features": 12}]},
            "examples": {"dtype": "float32", "context": 3, "contrast_occurrences": 6} | examples,
        }
    )


def make_sae(nonlinearity: str, num_features: int = 12, seed: int = 0) -> SAE:
    """Weights of few bits; feature 1 never fires, feature 2 fires rarely."""
    generator = torch.Generator().manual_seed(seed)
    # topk chooses within a token, where a tie may go either way: finer weights make ties improbable
    steps = 2**14 if nonlinearity == "topk" else 4
    W_FD = torch.randint(-steps, steps + 1, (num_features, WIDTH), generator=generator) / steps
    b_F = torch.full((num_features,), -1.0)
    b_F[1], b_F[2] = -100.0, -3.5
    threshold_F = torch.full((num_features,), 0.5) if nonlinearity == "jumprelu" else torch.zeros(num_features)
    header = SAEHeader(
        "1-relu-12", "relu", nonlinearity, num_features, WIDTH, "tiny", 1, 4 if nonlinearity == "topk" else None, 0.75
    )  # type: ignore[arg-type]
    return SAE(header, W_FD, b_F, W_FD / W_FD.norm(dim=1, keepdim=True), torch.zeros(WIDTH), threshold_F)


class Planted:
    """A corpus with a residual row for every token but some that are left out."""

    def __init__(
        self, folder: Path, *, num_documents: int = 40, repeats: int = 1, copies: int = 0, seed: int = 0
    ) -> None:
        """copies: paragraphs that a random half of the documents share, with nearly the same residuals."""
        rng = np.random.default_rng(seed)
        lengths = rng.integers(1, 40, num_documents)
        documents = [rng.integers(0, VOCAB, n).tolist() for n in lengths] * repeats
        values = [rng.integers(-2, 3, (n, WIDTH)).astype(np.float32) / 2 for n in lengths] * repeats
        for _ in range(copies):
            paragraph, stream = rng.integers(0, VOCAB, 22).tolist(), rng.integers(-2, 3, (22, WIDTH)) / 2
            for number in np.flatnonzero(rng.random(len(documents)) < 0.5).tolist():
                at = int(rng.integers(len(documents[number]) + 1))
                documents[number][at:at] = paragraph
                moved = np.where(rng.random((22, WIDTH)) < 0.02, 0, stream).astype(np.float32)
                values[number] = np.concatenate([values[number][:at], moved, values[number][at:]])
        lengths = np.array([len(document) for document in documents[: len(documents) // repeats]])
        self.corpus = make_corpus(folder, documents, context_length=17, held_out=(3, 5))
        left_out = [rng.random(n) < 0.05 for n in lengths] * repeats
        self.order_S = rng.permutation(self.corpus.sequence_numbers(held_out=False))
        self.rows_S = {}
        for number in self.order_S.tolist():
            document, start, length = self.corpus.sequences[number].tolist()
            here = np.flatnonzero(~left_out[document][start : start + length]) + start
            self.rows_S[number] = [(number, p, values[document][p]) for p in here.tolist()]

    def blocks(self, block_tokens: int) -> Iterator[ResidualBlock]:
        block: list[tuple[int, int, np.ndarray]] = []
        for number in [*self.order_S.tolist(), None]:
            more = self.rows_S[number] if number is not None else []
            if block and (number is None or len(block) + len(more) > block_tokens):
                index = np.array([(0, p, s) for s, p, _ in block], ROW)
                yield ResidualBlock(torch.from_numpy(np.stack([x for _, _, x in block])), index)
                block = []
            block = block + more

    def all_rows(self) -> tuple[list[tuple[int, int]], torch.Tensor]:
        """Tokens (sequence, position) in corpus order, and their residuals."""
        rows = sorted((row for rows in self.rows_S.values() for row in rows), key=lambda row: row[:2])
        return [row[:2] for row in rows], torch.from_numpy(np.stack([row[2] for row in rows]))


def run_stage(
    planted: Planted, sae: SAE, recipe: Recipe, root: Path, monkeypatch: pytest.MonkeyPatch, block_tokens: int = 64
) -> tuple[list[Row], list[Row], dict[str, Any]]:
    """The stage itself on given residual blocks: statistics, examples, counts."""
    name = recipe.sae_names[0]
    paths = StorePaths(root).run("test")
    sae.save(paths.stage("train") / name)
    if not paths.stage("tokenize").exists():
        paths.stage("tokenize").symlink_to(planted.corpus.folder)
    counts = {
        "tokenize": {"vocab_size": VOCAB},
        "harvest": {"num_tokens": 1, "storage": "bfloat16"},
        "fetch": {},
        "train": {},
    }
    config = {"harvest": {"keep_fraction": 1.0}}
    inputs = {n: Manifest(n, "0" * 16, config, {}, 0, c, {}, "", 0.0, "") for n, c in counts.items()}
    monkeypatch.setattr(stage, "residual_blocks", lambda *a, **k: planted.blocks(block_tokens))
    folder = root / f"out-{block_tokens}"
    folder.mkdir()
    found = stage.find_examples(Work(recipe, paths, folder, inputs, "0" * 16, resumed=False))
    statistics = read(folder / name / STATISTICS_FILE, STATISTICS)
    return statistics, read(folder / name / EXAMPLES_FILE, EXAMPLES), found


def read(path: Path, schema: pa.Schema) -> list[Row]:
    with pa.memory_map(str(path)) as source:
        table = pa.ipc.open_file(source).read_all()
    assert table.schema.equals(schema)
    return table.to_pylist()


def make_fine_sae(nonlinearity: str, scale: float) -> SAE:
    """Weights with parts that bfloat16 rounds off: many activations are nearly equal, many near the threshold."""
    sae = make_sae("topk")
    sae.header = SAEHeader(**(vars(sae.header) | {"nonlinearity": nonlinearity, "k": None, "activation_scale": scale}))
    fine_FD = torch.randint(-7, 8, (9, WIDTH), generator=torch.Generator().manual_seed(1)) / 2**13
    sae.W_enc_FD[3:] = (2 * sae.W_enc_FD[3:]).round() / 2 + fine_FD
    sae.b_enc_F[3:9], sae.b_enc_F[9:] = 0, -1.5
    sae.threshold_F.fill_(1 / 2**12 if nonlinearity == "jumprelu" else 0)
    return sae
