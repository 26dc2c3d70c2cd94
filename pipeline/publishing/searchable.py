"""Search terms of features: words of their labels, of the tokens they promote, at and around their strongest tokens.

Shapes: F features of one SAE, B features of a batch, M examples.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data.artifacts.features import FeatureKinds
from data.published.schemas import SEARCH
from data.published.terms import terms
from pipeline.examples.peaks import Peak
from pipeline.examples.texts import ExampleTexts, of_features

NUM_TEXTS = 5
"""Of the strongest examples of a feature."""
OFTEN = 1000
"""A feature that is active on so many tokens is not ranked down for its rarity."""


class Surroundings:
    """What stands at and around the strongest tokens of features."""

    def __init__(
        self, texts: ExampleTexts, examples: pa.Table, first_B: npt.NDArray[np.int64], num_B: npt.NDArray[np.int64]
    ) -> None:
        """first_B, num_B: the place of each feature's top examples in the table."""
        self.texts: list[list[str]] = of_features(examples, first_B, np.minimum(num_B, NUM_TEXTS), texts.around)
        self.peaks: list[list[Peak]] = of_features(examples, first_B, num_B, texts.peak)


def priors(num_active_F: npt.NDArray[np.int64], max_F: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """How much of a feature there is [F], 0 to 1: it falls when it is active on few tokens, or weak for its SAE.

    By the logarithm of the number of tokens, up to OFTEN, times m / (m + half the median of the SAE's maxima).
    """
    often_F = np.minimum(np.log1p(num_active_F) / np.log1p(OFTEN), 1)
    live = max_F > 0
    typical = float(np.median(max_F[live])) if live.any() else 1.0
    prior_F: npt.NDArray[np.float64] = often_F * (max_F / (max_F + typical / 2))
    return prior_F


def searchable(statistics: pa.Table, kinds: FeatureKinds, explanations: pa.Table) -> pa.Table:
    """What `search_batch` needs to know of the features of one SAE, from the artifacts."""
    features = statistics.select(["num_active", "density"])
    prior_F = priors(statistics["num_active"].to_numpy(), statistics["max"].to_numpy())
    features = features.append_column("prior", pa.array(prior_F))
    for column, mask_F in (("live", kinds.live_F), ("rare", kinds.rare_F), ("negligible", kinds.negligible_F)):
        features = features.append_column(column, pa.array(mask_F))
    for column in ("label", "promoted"):
        features = features.append_column(column, explanations[column])
    return features


def search_batch(
    sae: str,
    first_row: int,
    features: Mapping[str, pa.Array],
    found: Surroundings,
    vocabulary: Sequence[bytes],
) -> pa.RecordBatch:
    """Some rows of data.published.schemas.SEARCH, for features of one SAE that follow one another from `first_row` on.

    `features` has columns num_active, live, rare, negligible, density, prior, label, promoted.
    """
    size = len(found.texts)
    promoted = [
        terms(vocabulary[token].decode(errors="ignore") for token in tokens)
        for tokens in features["promoted"].to_pylist()
    ]
    peak_words = [[peak.word for peak in peaks] for peaks in found.peaks]
    columns = {
        "row": np.arange(first_row, first_row + size),
        "sae": [sae] * size,
        "alive": features["num_active"].to_numpy() > 0,
        **{kind: features[kind] for kind in ("live", "rare", "negligible")},
        "density": features["density"],
        "prior": features["prior"],
        "texts": found.texts,
        "peak_words": peak_words,
        "beside_words": [[f"{peak.before} {peak.after}" for peak in peaks] for peaks in found.peaks],
        "label": [terms([label]) for label in features["label"].to_pylist()],
        "peaks": [terms(some) for some in peak_words],
        "promoted": promoted,
        "examples": [terms(some) for some in found.texts],
    }
    arrays = [pa.array(columns[field.name], field.type) for field in SEARCH]
    return pa.RecordBatch.from_arrays(arrays, schema=SEARCH)
