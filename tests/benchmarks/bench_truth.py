"""What loss does not say: how many planted features SAEs find, by size and tokens, beside their loss.

Trained by the product's own trainer on synthetic activations (tests/support/planted.py), and measured on rows that none
of them read. `python -m tests.benchmarks.bench_truth` prints the table of docs/scaling.md.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from pipeline.models.sae import SAEHeader
from pipeline.recipe.training import SAEConfig
from pipeline.stages.train import make_architecture
from pipeline.training.architecture import Architecture
from pipeline.training.tiles import Rows
from pipeline.training.trainee import Normalisation
from pipeline.training.trainer import Trainer, Training, Untrained
from tests.benchmarks.table import Row
from tests.support.planted import Planted, PlantedConfig
from tests.support.recovery import best_cosines, recover

PLANTED = PlantedConfig(
    num_features=512, width=128, num_families=16, children=8, group_size=8, rho=0.5, noise=0.1, seed=1
)
SIZES = (64, 128, 256, 512, 1024)
TOKENS = (2**15, 2**17, 2**19)
BATCH, L1, K = 256, 3.0, 4
LEARNING_RATE = {"relu": 3e-3, "topk": 3e-3}
HELD_OUT = 2**15
RARE = 256
"""Planted features from this one on, by frequency, are rare: active on fewer than 1 row in 500, half of them all."""
TRAIN_SEED, TEST_SEED = 10, 99


@dataclass(frozen=True)
class TruthCell:
    """One SAE: its loss, and what it found. Shares are of planted features."""

    architecture: str
    num_features: int
    tokens: int
    loss: float
    """On rows that were not trained on: the training objective with lambda L1, for topk the squared error with k K."""
    explained_variance: float
    l0: float
    cosine: float
    """Mean over planted features of the nearest direction's cosine."""
    random_cosine: float
    """The same for as many random directions."""
    f1: float
    found: float
    found_rare: float


def run() -> list[Row]:
    return [_row(cell) for cell in cells()]


def cells() -> Iterator[TruthCell]:
    """Every architecture, number of tokens and size."""
    planted = Planted(PLANTED)
    test = list(planted.blocks(HELD_OUT, TEST_SEED))
    for architecture in ("relu", "topk"):
        for tokens in TOKENS:
            with TemporaryDirectory() as scratch:
                yield from _train(planted, architecture, tokens, Path(scratch), test)


def _train(
    planted: Planted, architecture: str, tokens: int, folder: Path, test: list[tuple[Tensor, Tensor]]
) -> Iterator[TruthCell]:
    reader, normalisation = planted.harvest(folder / "rows", tokens, TRAIN_SEED)
    training = Training(BATCH, 1, 0.05, 0.2, float("inf"), 0, "cpu")
    configs = {str(size): _config(architecture, size) for size in SIZES}
    untrained = {n: Untrained(partial(make_architecture, one), one.learning_rate) for n, one in configs.items()}
    trainer = Trainer(training, untrained, reader, normalisation, folder)
    trainer.run(lambda _: None)
    for size in SIZES:
        yield _measure(planted, architecture, tokens, trainer.trainees[str(size)].model, normalisation, test)


def _config(architecture: str, size: int) -> SAEConfig:
    options = {"architecture": architecture, "num_features": size, "learning_rate": LEARNING_RATE[architecture]}
    return SAEConfig.model_validate(options | ({"l1_coefficient": L1} if architecture == "relu" else {"k": K}))


def _measure(
    planted: Planted,
    architecture: str,
    tokens: int,
    model: Architecture,
    normalisation: Normalisation,
    test: list[tuple[Tensor, Tensor]],
) -> TruthCell:
    size, k = model.num_features, K if architecture == "topk" else None
    header = SAEHeader("truth", architecture, "topk" if k else "relu", size, PLANTED.width, "none", 0, k)
    found = recover(planted.directions_FD, model.fold(header, normalisation.scale, normalisation.mean_D), test)
    x_ND = normalisation.apply(torch.cat([x_ND for _, x_ND in test]))
    stats = model.compute_gradients(Rows.of(x_ND, model.low), 1.0)
    random_FD = torch.nn.functional.normalize(torch.randn(size, PLANTED.width, generator=torch.Generator()))
    loss = stats.loss if architecture == "relu" else stats.squared_error / len(x_ND)
    return TruthCell(
        architecture=architecture,
        num_features=size,
        tokens=tokens,
        loss=loss,
        explained_variance=1 - stats.squared_error / stats.squared_norm,
        l0=stats.num_active / len(x_ND),
        cosine=float(found.cosine_P.mean()),
        random_cosine=float(best_cosines(planted.directions_FD, random_FD).mean()),
        f1=float(found.f1_P.mean()),
        found=float(found.found_P.float().mean()),
        found_rare=float(found.found_P[RARE:].float().mean()),
    )


def _row(cell: TruthCell) -> Row:
    return Row(
        f"truth: {cell.architecture} {cell.num_features:,}, {cell.tokens:,} tokens",
        f"mean best cosine {cell.cosine:.3f}",
        f"{cell.random_cosine:.3f} (random directions)",
        cell.cosine / cell.random_cosine,
        f"loss {cell.loss:.2f}, F1 {cell.f1:.3f}, found {cell.found:.1%}, of the rare {cell.found_rare:.1%}",
    )


def main() -> None:
    """Print the table in Markdown, and how long it took."""
    start = time.perf_counter()
    print("| SAE | features | tokens | loss | EV | L0 | best cosine | F1 | found | of the rare |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for c in cells():
        print(
            f"| {c.architecture} | {c.num_features:,} | {c.tokens:,} | {c.loss:.2f} | {c.explained_variance:.3f} "
            f"| {c.l0:.1f} | {c.cosine:.3f} | {c.f1:.3f} | {c.found:.1%} | {c.found_rare:.1%} |",
            flush=True,
        )
    print(f"{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
