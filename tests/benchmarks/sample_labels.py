"""Draws features to judge labels by hand: each with its label and with what it fires on.

    python -m tests.benchmarks.sample_labels STORE/runs/sample 14-batchtopk-4096 14-relu-4096 [--explain FOLDER]

The same seed draws the same features for the same SAEs, so that labels of two versions of the code can be compared:
`--explain` names another artifact of the stage. Judgements of the sample are kept in docs/labels.md.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from data.arrow import read_arrow
from data.artifacts.corpus import TokenizedCorpus
from data.artifacts.features import (
    EXAMPLES_FILE,
    EXPLANATIONS_FILE,
    INTERVAL,
    STATISTICS_FILE,
    TOP,
    negligible_features,
)
from data.manifests import load_manifest
from pipeline.models.tokenizer import Tokenizer

PER_SAE = 40
SEED = 5
LEAST_ACTIVE = 100
"""Tokens on which a feature must be active to be drawn: lists leave rarer ones out."""
BEFORE, AFTER = 9, 5


def draw(run: Path, sae: str) -> list[int]:
    """Features that are neither negligible nor rare, with equal probability."""
    statistics = read_arrow(run / "examples" / sae / STATISTICS_FILE)
    negligible_F = negligible_features(statistics["sum_squares"].to_numpy())
    live = np.flatnonzero((statistics["num_active"].to_numpy() >= LEAST_ACTIVE) & ~negligible_F)
    return sorted(np.random.default_rng(SEED).choice(live, PER_SAE, replace=False).tolist())


def contexts(run: Path, sae: str, index: int, corpus: TokenizedCorpus, pieces: list[bytes]) -> Iterator[str]:
    """Seven top examples, and the strongest of each band from the highest on."""
    table = read_arrow(run / "examples" / sae / EXAMPLES_FILE)
    low, high = np.searchsorted(table["index"].to_numpy(), (index, index + 1)).tolist()
    rows = table.slice(low, high - low).to_pylist()
    top = [row for row in rows if row["kind"] == TOP][:7]
    intervals = [row for row in rows if row["kind"] == INTERVAL]  # ranked through all bands, the highest first
    bands = {row["band"]: row for row in reversed(intervals)}
    for row in [*top, *(bands[band] for band in sorted(bands, reverse=True))]:
        first = max(row["position"] - BEFORE, row["start"])  # what the model had read of it, as pages show it
        ids = corpus.stretch(row["document"], first, row["position"] - first + 1 + AFTER).tolist()
        at = row["position"] - first
        parts = [b"".join(pieces[i] for i in part).decode("utf-8", "replace") for part in (ids[:at], ids[at : at + 1])]
        after = b"".join(pieces[i] for i in ids[at + 1 :]).decode("utf-8", "replace")
        text = f"{parts[0]}[{parts[1]}]{after}".replace("\n", "⏎")
        yield f"{row['activation']:6.1f} {'' if row['band'] < 0 else row['band']}|{text}"


def main() -> None:
    """Print the sample."""
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("saes", nargs="+")
    parser.add_argument("--explain", type=Path)
    parser.add_argument("--short", action="store_true", help="labels alone")
    asked = parser.parse_args()
    corpus = TokenizedCorpus(asked.run / "tokenize")
    model = load_manifest(asked.run / "fetch").counts["model"]
    pieces = Tokenizer.load(asked.run.parent.parent / model).token_bytes(49152)
    for sae in asked.saes:
        labels = read_arrow((asked.explain or asked.run / "explain") / sae / EXPLANATIONS_FILE).to_pylist()
        for number, index in enumerate(draw(asked.run, sae), 1):
            said = labels[index]
            score = {
                name: round(said[name], 2)
                for name in said
                if name.startswith("label_")
                and said[name]
                and name in ("label_score", "label_precision", "label_recall", "label_said")
            }
            words = "" if said["label"] else ", ".join(said.get("top_words", []))
            print(f"{number:2} {sae}/{index}  {said['label'] or 'unlabelled: ' + words}  {json.dumps(score)}")
            for line in () if asked.short else contexts(asked.run, sae, index, corpus, pieces):
                print("     ", line)


if __name__ == "__main__":
    main()
