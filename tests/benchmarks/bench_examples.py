"""The pass that finds examples, and the one that fills in windows, against the bare product of the encoder.

Random rows and random directions whose densities are spread as those of trained features; 70 fire on a token.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from data.artifacts.corpus import TokenizedCorpus
from pipeline.arrays import Ints, pack_tokens
from pipeline.examples.selection import FeatureSelection
from pipeline.examples.windows import WindowGather
from pipeline.models.sae import SAE, SAEHeader
from pipeline.recipe import ExamplesConfig
from tests.benchmarks.table import Row
from tests.support.fakes import make_corpus

WIDTH, FEATURES, L0 = 576, 4096, 70
DOCUMENTS, DOCUMENT_TOKENS = 40, 2048


def run() -> list[Row]:
    torch.manual_seed(0)
    sae, config = random_sae(), ExamplesConfig()
    with tempfile.TemporaryDirectory() as folder:
        documents = np.random.default_rng(1).integers(0, 50_000, (DOCUMENTS, DOCUMENT_TOKENS)).tolist()
        corpus = make_corpus(Path(folder), documents, context_length=512)
        blocks = random_blocks(corpus)
        W_FD = sae.W_enc_FD.bfloat16()
        product = seconds(lambda: [torch.nn.functional.linear(x_ND, W_FD) for x_ND, _ in blocks])
        selection = FeatureSelection(sae, config, corpus)
        passing = seconds(lambda: [selection.add(*block) for block in blocks])
        gather = WindowGather(sae, selection.candidates(), corpus, config.context)
        filling = seconds(lambda: [gather.add(*block) for block in blocks])
    tokens = DOCUMENTS * DOCUMENT_TOKENS
    reference = f"{product:.2f} s"
    return [
        Row("examples: pass", f"{passing:.2f} s", reference, passing / product,
            f"bfloat16 product alone; {tokens:,} tokens, {FEATURES:,} features, {L0} active"),
        Row("examples: windows", f"{filling:.2f} s", reference, filling / product,
            "all but contrast; its share falls as the corpus grows"),
    ]  # fmt: skip


def random_sae() -> SAE:
    directions_FD = torch.nn.functional.normalize(torch.randn(FEATURES, WIDTH), dim=1)
    density_F = torch.exp(1.3 * torch.randn(FEATURES))
    density_F = (density_F / density_F.sum() * L0).clamp(max=0.4)
    header = SAEHeader("random", "relu", "relu", FEATURES, WIDTH, "none", 0, activation_scale=WIDTH**0.5)
    zeros_F, bias_F = torch.zeros(FEATURES), torch.special.ndtri(density_F)
    return SAE(header, directions_FD, bias_F, directions_FD.clone(), torch.zeros(WIDTH), zeros_F)


def random_blocks(corpus: TokenizedCorpus) -> list[tuple[Tensor, Ints]]:
    """Four sequences each, as the stage gets them."""
    numbers = np.random.default_rng(0).permutation(len(corpus.sequences))
    blocks = []
    for start in range(0, len(numbers), 4):
        parts = []
        for number in numbers[start : start + 4].tolist():
            _, first, length = corpus.sequences[number].tolist()
            parts.append(pack_tokens(np.full(length, number), np.arange(first, first + length)))
        tokens = np.concatenate(parts)
        blocks.append((torch.randn(len(tokens), WIDTH).bfloat16(), tokens))
    return blocks


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main() -> None:
    for row in run():
        print(row)


if __name__ == "__main__":
    main()
