"""Writing with the sample model: our decoder against `transformers.generate`, alone, in pairs and for eight at once.

Each figure is the best of several rounds in turn, so that a busy moment does not favour one side.
"""

import time
from collections.abc import Callable

import torch
from torch import Tensor

from pipeline.models.decoder import Decoder
from pipeline.models.generate import Row as Text
from pipeline.models.generate import Sampling, generate
from pipeline.models.language_model import LanguageModel
from pipeline.models.sae import SAE, SAEHeader
from pipeline.models.steering import Clamp
from pipeline.recipe import load_recipe
from tests.benchmarks.bench_harvest import sample_model
from tests.benchmarks.table import Row

ROUNDS, PROMPT, TOKENS, FEATURES = 3, 32, 48, 4096


def run() -> list[Row]:
    recipe = load_recipe("sample")
    model = LanguageModel.load(sample_model(recipe), layer=recipe.model.layer)
    decoder, sae = Decoder(model), random_sae(model)
    decoder.stop_ids = frozenset()
    prompt = [
        1,
        *torch.randint(3, model.vocab_size, (PROMPT - 1,), generator=torch.Generator().manual_seed(0)).tolist(),
    ]
    held = [Clamp(sae, 7, 30.0)]
    measures: dict[str, Callable[[], float]] = {
        "transformers": lambda: transformers_rate(model, prompt, held[0]),
        "plain": lambda: our_rate(decoder, prompt, [[]]),
        "steered": lambda: our_rate(decoder, prompt, [held]),
        "pair": lambda: our_rate(decoder, prompt, [[], held]),
        "eight": lambda: our_rate(decoder, prompt, [held] * 8),
    }
    best = dict.fromkeys(measures, 0.0)
    for _ in range(ROUNDS):
        best = {name: max(best[name], measure()) for name, measure in measures.items()}
    rows = [
        ("steered text", "steered", "plain", "the same without steering; at least 0.95"),
        ("steered text", "steered", "transformers", "transformers.generate with a hook; at least 1.1"),
        ("baseline and steered", "pair", "transformers", "two such calls one after the other; at least 1.9"),
        ("eight at once", "eight", "steered", "one after the other; at least 4"),
    ]
    return [
        Row(name, f"{best[ours]:.1f} tok/s", f"{best[theirs]:.1f} tok/s", best[ours] / best[theirs], note)
        for name, ours, theirs, note in rows
    ]


def random_sae(model: LanguageModel) -> SAE:
    generator = torch.Generator().manual_seed(0)
    W_FD = torch.nn.functional.normalize(torch.randn(FEATURES, model.width, generator=generator))
    header = SAEHeader("random", "relu", "relu", FEATURES, model.width, "sample", model.layer)
    return SAE(
        header, W_FD.clone(), torch.full((FEATURES,), -20.0), W_FD, torch.zeros(model.width), torch.zeros(FEATURES)
    )


def our_rate(decoder: Decoder, prompt: list[int], rows: list[list[Clamp]]) -> float:
    """Tokens a second, of all rows together."""
    texts = [Text(prompt, clamps, Sampling(max_new_tokens=TOKENS)) for clamps in rows]
    start = time.perf_counter()
    for _ in generate(decoder, texts, sink_norm=1500.0):
        pass
    return TOKENS * len(rows) / (time.perf_counter() - start)


def transformers_rate(model: LanguageModel, prompt: list[int], clamp: Clamp) -> float:
    sae, feature = clamp.sae, torch.tensor([clamp.feature])

    def hook(module: object, inputs: object, output: Tensor) -> Tensor:
        x_BLD = output.float()
        f_BL1 = sae.encode(x_BLD.flatten(0, 1), feature).view(*x_BLD.shape[:2], 1)
        return (x_BLD + (30.0 - f_BL1) * sae.W_dec_FD[clamp.feature]).to(output.dtype)

    handle = model.layers[model.layer].register_forward_hook(hook)
    tokens = torch.tensor([prompt])
    options = {"max_new_tokens": TOKENS, "min_new_tokens": TOKENS, "do_sample": False, "pad_token_id": 2}
    start = time.perf_counter()
    with torch.no_grad():
        model.model.generate(tokens, attention_mask=torch.ones_like(tokens), **options)
    seconds = time.perf_counter() - start
    handle.remove()
    return TOKENS / seconds
