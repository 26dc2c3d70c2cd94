"""Check by `monosema doctor` of curves over strengths: some are measured anew, and a text of each is written again."""

from pathlib import Path
from typing import Any

import numpy as np

from data.published.tables import PublishedRun
from pipeline.doctor.checks import Check, some
from pipeline.influence.strengths import HeldFeature, StrengthMeter
from pipeline.influence.writing import Hold, Opening, Writer
from pipeline.models.language_model import LanguageModel
from pipeline.models.sae import SAE
from pipeline.models.tokenizer import Tokenizer
from pipeline.progress import track
from pipeline.recipe.influence import StrengthsConfig

NUM_CURVES = 6
MOST_ROWS = 10_000
"""Features of which those are drawn."""
COLUMNS = ["sae", "index", "max", "strength_words", "first_strength", "num_strengths"]
PROBABILITY_TOLERANCE = {"bfloat16": 0.01, "float16": 0.005, "float32": 0.001}
"""Allowed deviation of the probability of a feature's words, by the model's dtype: rows are read in another company."""
PERPLEXITY_TOLERANCE = {"bfloat16": 0.05, "float16": 0.02, "float32": 0.005}
"""The same of the logarithm of a perplexity, in nats."""


def check_strengths(
    run: PublishedRun,
    model: LanguageModel,
    saes: dict[str, SAE],
    folder: Path,
    recipe: dict[str, Any],
    sink_norm: float,
) -> list[Check]:
    """What features do at each strength comes out again, and so do texts, letter by letter; no checks where no curve
    was measured. folder: of the model."""
    rows = run.list_features("num_strengths > 0", COLUMNS, limit=MOST_ROWS).to_pylist()
    if not rows:
        return []
    config = StrengthsConfig(**{**recipe["strengths"], "text_strengths": ()})
    openings = [Opening(text, False) for text in config.openings]
    writer = Writer(model, Tokenizer.load(folder, opening=recipe["tokenize"].get("opening", "bos")), saes, sink_norm)
    meter = StrengthMeter(writer, openings, config, {})
    chosen = [rows[place] for place in some(len(rows), NUM_CURVES).tolist()]
    probabilities, losses, texts = [], [], []
    with track("doctor: strengths", len(chosen), "features") as progress:
        for row in chosen:
            feature = HeldFeature(
                row["sae"], row["index"], "", row["max"], tuple(row["strength_words"]), "", random=False
            )
            stored = _stored(run, row)
            for old, new in zip(stored, meter.measure([feature])[0], strict=True):
                probabilities.append(abs(old["probability"] - new.probability))
                losses.append(abs(np.log(old["perplexity"] / new.perplexity)))
            texts += _same_texts(writer, feature, openings, stored, config.new_tokens)
            progress.advance()
    dtype = str(model.dtype).removeprefix("torch.")
    found = [
        _within("strengths: probability", probabilities, PROBABILITY_TOLERANCE[dtype]),
        _within("strengths: ln perplexity", losses, PERPLEXITY_TOLERANCE[dtype]),
    ]
    return [*found, Check("strengths: texts", sum(texts), len(texts), "same letters", "")] if texts else found


def _stored(run: PublishedRun, row: dict[str, Any]) -> list[dict[str, Any]]:
    """The points of a feature: with nothing held, then at every strength."""
    rows = range(row["first_strength"], row["first_strength"] + row["num_strengths"])
    points: list[dict[str, Any]] = run.take("strengths", rows).to_pylist()
    return points


def _same_texts(
    writer: Writer, feature: HeldFeature, openings: list[Opening], stored: list[dict[str, Any]], new_tokens: int
) -> list[bool]:
    """Whether the texts at the highest strength that has some are written again as they are."""
    held = [point for point in stored if point["texts"] and point["strength"] is not None]
    if not held:
        return []
    point = max(held, key=lambda one: one["strength"])
    holds = [Hold(opening, feature, point["strength"]) for opening in openings]
    written = writer.write_together(holds, new_tokens)
    return [new.text == old for new, old in zip(written, point["texts"], strict=True)]


def _within(what: str, deviations: list[float], tolerance: float) -> Check:
    agree = sum(one <= tolerance for one in deviations)
    return Check(what, agree, len(deviations), f"± {tolerance:g}", f"max {max(deviations):.2g}")
