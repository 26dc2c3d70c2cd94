"""Explaining an output of the sample model: attribution of all features and ablation of 50, on a prompt of 30 tokens.

The reference is the same by transformers with a hook, in float32, one forward pass for each ablated feature. Each
figure is the best of several rounds in turn, so that a busy moment does not favour one side.
"""

import time
from collections.abc import Callable

import torch
from torch import Tensor

from pipeline.models.attribution import Target, Trace, ablate, attribute, trace
from pipeline.models.exact import ExactModel
from pipeline.models.language_model import LanguageModel
from pipeline.models.sae import SAE
from pipeline.recipe import load_recipe
from tests.benchmarks.bench_generate import random_sae
from tests.benchmarks.bench_harvest import sample_model
from tests.benchmarks.table import Row

ROUNDS, PROMPT, ABLATED, SINK_NORM = 3, 30, 50, 1500.0


def run() -> list[Row]:
    recipe = load_recipe("sample")
    folder, layer = sample_model(recipe), recipe.model.layer
    packed = LanguageModel.load(folder, layer=layer)
    plain = LanguageModel.load(folder, layer=layer, dtype="float32", fused=False)
    model, sae = ExactModel(packed), random_sae(packed)
    generator = torch.Generator().manual_seed(0)
    tokens_L = torch.cat([torch.tensor([1]), torch.randint(3, packed.vocab_size, (PROMPT - 1,), generator=generator)])
    one = traced(packed, model, tokens_L)
    features = torch.arange(ABLATED).tolist()
    measures: dict[str, Callable[[], float]] = {
        "attribution": lambda: seconds(lambda: attribute(traced(packed, model, tokens_L), sae)),
        "ablation": lambda: seconds(lambda: list(ablate(model, one, sae, features))),
        "hooks": lambda: seconds(lambda: [hooked(plain, sae, feature, tokens_L) for feature in features]),
    }
    best = dict.fromkeys(measures, float("inf"))
    for _ in range(ROUNDS):
        best = {name: min(best[name], measure()) for name, measure in measures.items()}
    ours = best["attribution"] + best["ablation"]
    note = f"{PROMPT} tokens, {ABLATED} features; attribution alone {best['attribution']:.2f} s"
    return [Row("attribution and ablation", f"{ours:.2f} s", f"{best['hooks']:.2f} s", best["hooks"] / ours, note)]


def traced(packed: LanguageModel, model: ExactModel, tokens_L: Tensor) -> Trace:
    """From tokens to the gradient of the first token's logit."""
    x_LD = packed.residuals(tokens_L[None])[0].float()
    return trace(model, x_LD, x_LD.norm(dim=1) > SINK_NORM, Target(int(tokens_L[-1])))


def hooked(plain: LanguageModel, sae: SAE, feature: int, tokens_L: Tensor) -> float:
    """The logit with a feature taken out by a hook, one whole forward pass."""

    def hook(module: object, inputs: object, output: Tensor) -> Tensor:
        acts_L = sae.encode(output[0], torch.tensor([feature]))[:, 0] * (output[0].norm(dim=1) <= SINK_NORM)
        return output - (acts_L[:, None] * sae.W_dec_FD[feature])[None]

    handle = plain.layers[plain.layer].register_forward_hook(hook)
    logits = plain.logits(tokens_L[None])[0, -1]
    handle.remove()
    return float(logits[tokens_L[-1]])


def seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start
