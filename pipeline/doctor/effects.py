"""Check by `monosema doctor` of measured effects: some are computed anew, by whole passes through the layers after N.

Shapes: L positions, D width, V vocabulary.
"""

from typing import Any

import numpy as np
import torch

from data.artifacts.corpus import Cutting
from data.published.tables import PublishedRun
from pipeline.doctor.checks import Check, some
from pipeline.models.exact import ExactModel
from pipeline.models.language_model import LanguageModel
from pipeline.models.sae import SAE
from pipeline.progress import track

NUM_READINGS = 24
EFFECT_TOLERANCE = {"bfloat16": 0.25, "float16": 0.02, "float32": 0.001}
"""Allowed deviation, in nats, of the change of a log-probability below one nat, by the model's dtype; of a larger
change in proportion. The keys and values that a case looks back at are rounded in it: of 24 examples of small SAEs of
the sample in bfloat16, one deviated by 0.16, one by 0.06, the others by at most 0.03."""
MEDIAN_SHARE = 0.2
"""Of the tolerance, that the deviation of half of the examples may have: rounding is seldom so large."""


def check_effects(run: PublishedRun, model: LanguageModel, saes: dict[str, SAE], cutting: Cutting) -> list[Check]:
    """What features changed at some published examples comes out again; no checks where no effect was measured."""
    rows = some(run.count("readings"), NUM_READINGS)
    if len(rows) == 0:
        return []
    exact, deviations = ExactModel(model), []
    tolerance = EFFECT_TOLERANCE[str(model.dtype).removeprefix("torch.")]
    readings = run.take("readings", rows.tolist()).to_pylist()
    with track("doctor: effects", len(readings), "examples") as progress:
        for reading in readings:
            deviations.append(_deviation(run, exact, model, saes, reading, cutting))
            progress.advance()
    agree, median = sum(one <= tolerance for one in deviations), float(np.median(deviations))
    limit = MEDIAN_SHARE * tolerance
    return [
        Check("effects", agree, len(readings), f"± {tolerance:g} nats a nat", f"max {max(deviations):.2g}"),
        Check("effects: median deviation", int(median <= limit), 1, f"{limit:g} nats a nat", f"{median:.2g}"),
    ]


@torch.no_grad()
def _deviation(
    run: PublishedRun,
    exact: ExactModel,
    model: LanguageModel,
    saes: dict[str, SAE],
    reading: dict[str, Any],
    cutting: Cutting,
) -> float:
    """The largest deviation of a published change from the one computed now."""
    feature = run.take("features", [reading["row"]], ["sae", "index", "first_example"]).to_pylist()[0]
    columns = ["document", "position", "activation"]
    example = run.take("examples", [feature["first_example"] + reading["rank"]], columns).to_pylist()[0]
    start = cutting.start(example["position"]) - cutting.first
    tokens = run.windows([example["document"]], [start], [example["position"] - start + 1])[0]
    x_LD, beside_LD = model.read(torch.tensor([cutting.opened(tokens)])).of_row(0)
    x_LD, exact = x_LD.to(exact.dtype), exact.of_text(beside_LD)
    without_LD = x_LD.clone()
    sae = saes[feature["sae"]]
    without_LD[-1] -= example["activation"] * sae.token_scale(x_LD[-1]) * sae.W_dec_FD[feature["index"]]
    hidden_2D = exact.hidden_from(torch.stack([x_LD, without_LD]))[:, -1]
    with_V, without_V = exact.log_probabilities(hidden_2D).cpu().numpy()
    names = ("raised", "lowered")
    token_K = np.array([token for name in names for token in reading[name]], np.int64)
    published_K = np.concatenate(
        [np.subtract(reading[f"{name}_with"], reading[f"{name}_without"], dtype=np.float64) for name in names]
    )
    change_K = with_V[token_K] - without_V[token_K]
    return float((np.abs(change_K - published_K) / np.maximum(1.0, np.abs(change_K))).max(initial=0.0))
