"""`monosema show` on the sample model and an SAE of 16,384 features, against its own harvest and examples.

The SAE is made of the model's residual stream: each feature is the direction of one token's row, with the threshold
that makes it as rare as features of trained SAEs are. MONOSEMA_SHOW_TOKENS sets another number of tokens.
"""

import os
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from data.layout import StorePaths, default_store
from data.manifests import require_stage
from pipeline.commands.showing import SAMPLE_SINK_FACTOR
from pipeline.corpus import open_source
from pipeline.fetching.local import sample_corpus_folder
from pipeline.formats import saelens
from pipeline.formats.exported import Exported
from pipeline.models.language_model import LanguageModel
from pipeline.models.left_out import are_sinks, measure_sink_norm, row_norms
from pipeline.models.sae import SAE, SAEHeader
from pipeline.models.tokenizer import Tokenizer
from pipeline.recipe import load_recipe
from pipeline.stages import STAGES
from tests.benchmarks.bench_harvest import sample_model
from tests.benchmarks.table import Row

TOKENS = int(os.environ.get("MONOSEMA_SHOW_TOKENS", "360000"))
FEATURES, DENSITY, LAYER, LENGTH, MEASURED, TILE, RIDGE = 16_384, 0.002, 14, 512, 8192, 1024, 0.3
SPARE = 64
"""Rows that are read beyond those, in place of the sinks among them."""
RUN = "show"


def run() -> list[Row]:
    source = default_store()
    model = sample_model(load_recipe("sample"))
    with tempfile.TemporaryDirectory() as folder:
        store = StorePaths(Path(folder) / "store")
        store.root.mkdir()
        for kept in ("models", "corpora"):
            (store.root / kept).symlink_to(source.root / kept, target_is_directory=True)
        sae = made_sae(rows(model, source))
        (Path(folder) / "sae").mkdir()
        density = torch.full((FEATURES,), DENSITY)
        saelens.write(Exported(sae, "sample", "sample", LENGTH, True, density, {}), Path(folder) / "sae")
        seconds = timed_show(Path(folder) / "sae", store)
        stages = {name: require_stage(store.run(RUN), name).seconds for name in STAGES}
    own = stages["harvest"] + stages["examples"]
    others = ", ".join(f"{name} {spent:.0f}" for name, spent in stages.items() if spent >= 1)
    return [
        Row("monosema show", f"{seconds:.0f} s", f"{own:.0f} s", seconds / own,
            f"harvest and examples alone; {TOKENS:,} tokens, {FEATURES:,} features; at most 1.3; of it: {others}"),
    ]  # fmt: skip


def rows(folder: Path, store: StorePaths) -> Tensor:
    """As many rows of the residual stream as there are features.

    The first of each sequence is left out, and attention sinks are, by the rule of the harvest: one of them, a hundred
    times as long as others, would be all that the decoder is fitted to.
    """
    model, tokenizer = LanguageModel.load(folder, layer=LAYER), Tokenizer.load(folder)
    source = open_source(load_recipe("sample").corpus, sample_corpus_folder(store))
    parts: list[Tensor] = []
    for document in islice(source.documents(), 500):
        tokens = [*tokenizer.opening, *tokenizer.encode(document.text)[: LENGTH - 1]]
        parts.append(model.residuals(torch.tensor([tokens]))[0, len(tokenizer.opening) :].float())
        if sum(map(len, parts)) >= FEATURES + SPARE:
            break
    x_ND = torch.cat(parts)
    sink_norm = measure_sink_norm(row_norms(x_ND), SAMPLE_SINK_FACTOR)
    return x_ND[~are_sinks(x_ND, sink_norm)][:FEATURES]


def made_sae(x_FD: Tensor) -> SAE:
    """A direction of each row, active where a token goes along with it as the highest few do."""
    mean_D = x_FD.median(0).values
    W_FD = torch.nn.functional.normalize(x_FD - mean_D, dim=1)
    some_ND = x_FD[torch.randperm(len(x_FD), generator=torch.Generator().manual_seed(0))[:MEASURED]] - mean_D
    threshold_F = torch.cat([
        torch.quantile(some_ND @ W_FD[start : start + TILE].T, 1 - DENSITY, dim=0)
        for start in range(0, FEATURES, TILE)
    ]).clamp(min=1e-3)  # fmt: skip
    W_dec_FD = decoder(torch.where(some_ND @ W_FD.T > threshold_F, some_ND @ W_FD.T, 0.0), some_ND)
    norm_F = W_dec_FD.norm(dim=1).clamp(min=1e-6)
    W_enc_FD, threshold_F = W_FD * norm_F[:, None], threshold_F * norm_F
    header = SAEHeader("made", "jumprelu", "jumprelu", FEATURES, x_FD.shape[1], "sample", LAYER)
    return SAE(header, W_enc_FD, -W_enc_FD @ mean_D, W_dec_FD / norm_F[:, None], mean_D, threshold_F)


def decoder(acts_NF: Tensor, x_ND: Tensor) -> Tensor:
    """The decoder [F, D] that explains rows best by their activations, by ridge regression.

    Of RIDGE 0.1 to 30 this one explains most of other rows of the same text: 60%.
    """
    gram_NN = acts_NF @ acts_NF.T
    return acts_NF.T @ torch.linalg.solve(gram_NN + RIDGE * gram_NN.diagonal().mean() * torch.eye(len(x_ND)), x_ND)


def timed_show(sae: Path, store: StorePaths) -> float:
    command = [
        sys.executable, "-m", "pipeline.cli", "show", str(sae), "--model", "sample", "--corpus", "sample", "--tokens",
        str(TOKENS), "--name", RUN, "--no-serve", "--anyway", "--store", str(store.root),
    ]  # fmt: skip
    start = time.perf_counter()
    subprocess.run(command, check=True)
    return time.perf_counter() - start


if __name__ == "__main__":
    for row in run():
        print(*row, sep="\t")
