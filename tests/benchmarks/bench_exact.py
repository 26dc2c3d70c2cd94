"""The stored examples of the sample's run against all its tokens in float32, for some features of each SAE.

It needs the run that `make demo` leaves, in the store that MONOSEMA_STORE names.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch

from data.arrow import read_arrow
from data.artifacts.corpus import TokenizedCorpus
from data.artifacts.features import (
    BOTTOM,
    EXAMPLES_FILE,
    INTERVAL,
    STATISTICS_FILE,
    TOP,
    bottom_floor,
)
from data.errors import MonosemaError
from data.layout import RunPaths, default_store
from pipeline.activations.residuals import residual_blocks
from pipeline.arrays import Floats, Ints, pack_tokens
from pipeline.examples.bands import bands_of
from pipeline.models.sae import SAE
from pipeline.recipe import ExamplesConfig, Recipe, load_recipe
from tests.benchmarks.table import Row

SUM_ORDER = 5e-5
"""Difference that the order of a sum in float32 may make in the sample's stream: so near the floor or the last example,
either token is right."""
FEATURES, BLOCK_TOKENS = 64, 2048
"""Live features of each SAE: their activations on the whole corpus, 90 MB, are in memory."""


class Missing(NamedTuple):
    """Examples that should be stored and are not, of so many."""

    kind: str
    missing: int
    total: int


def run() -> list[Row]:
    recipe, paths = load_recipe("sample"), default_store().run("sample")
    try:
        found = compare(recipe, paths)
    except MonosemaError as error:
        return [Row("examples: exactness", "not measured", "", math.nan, str(error))]
    note = f"{FEATURES} live features of each SAE, all tokens in float32"
    return [
        Row(f"examples: missing of {one.kind}", f"{one.missing:,}", f"{one.total:,}", one.missing / one.total, note)
        for one in found
    ]


def compare(recipe: Recipe, paths: RunPaths, floor: float | None = None) -> list[Missing]:
    """Sums over all SAEs. floor: where `bottom` begins, if not where it does now."""
    corpus = TokenizedCorpus(paths.stage("tokenize"))
    saes = [SAE.load(paths.stage("train") / name) for name in recipe.sae_names]
    chosen = [chosen_features(paths, sae) for sae in saes]
    token_N, acts = activations(recipe, paths, saes, chosen)
    found: list[Missing] = []
    for sae, features, acts_NU in zip(saes, chosen, acts, strict=True):
        lowest = bottom_floor(sae.header.activation_scale) if floor is None else floor
        table = read_arrow(paths.stage("examples") / sae.header.name / EXAMPLES_FILE)
        names = ("index", "kind", "band", "document", "position", "activation")
        columns = {name: table[name].to_numpy() for name in names}
        statistics = read_arrow(paths.stage("examples") / sae.header.name / STATISTICS_FILE)
        max_F = statistics["max"].to_numpy()
        for u, feature in enumerate(features.tolist()):
            mine = {name: values[columns["index"] == feature] for name, values in columns.items()}
            stored = {kind: pack_tokens(*(mine[n][mine["kind"] == kind] for n in ("document", "position")))
                      for kind in (TOP, BOTTOM, INTERVAL)}  # fmt: skip
            bands = mine["band"][mine["kind"] == INTERVAL]
            found += missing_of(corpus, token_N, acts_NU[:, u], stored, bands, lowest, recipe.examples)
            true = float(acts_NU[:, u].max())
            found.append(Missing("maxima", int(abs(true - max_F[feature]) > 1e-5 * true), 1))
    kinds = list(dict.fromkeys(one.kind for one in found))
    return [
        Missing(kind, *(sum(numbers) for numbers in zip(*(one[1:] for one in found if one.kind == kind), strict=True)))
        for kind in kinds
    ]


def chosen_features(paths: RunPaths, sae: SAE) -> Ints:
    live = np.flatnonzero(read_arrow(paths.stage("examples") / sae.header.name / STATISTICS_FILE)["max"].to_numpy() > 0)
    return np.sort(np.random.default_rng(0).permutation(live)[:FEATURES])


def activations(recipe: Recipe, paths: RunPaths, saes: list[SAE], chosen: list[Ints]) -> tuple[Ints, list[Floats]]:
    """Tokens [N] in corpus order, and activations [N, U] of the chosen features of each SAE."""
    tokens, acts = [], [[] for _ in saes]  # type: ignore[var-annotated]
    for block in residual_blocks(recipe, paths, block_tokens=BLOCK_TOKENS, max_tokens=recipe.examples.max_tokens):
        tokens.append(pack_tokens(block.index_N["sequence"], block.index_N["position"]))
        for parts, sae, features in zip(acts, saes, chosen, strict=True):
            parts.append(sae.encode(block.x_ND, torch.from_numpy(features)).numpy())
    token_N = np.concatenate(tokens)
    order = np.argsort(token_N)
    return token_N[order], [np.concatenate(parts)[order] for parts in acts]


def missing_of(
    corpus: TokenizedCorpus,
    token_N: Ints,
    acts_N: Floats,
    stored: dict[int, Ints],
    bands: np.ndarray,
    floor: float,
    config: ExamplesConfig,
) -> Iterator[Missing]:
    """Of one feature."""
    active = np.flatnonzero(acts_N > 0)
    document = corpus.sequences["document"][token_N[active] >> 32].astype(np.int64)
    name, value = document << 32 | token_N[active] & 0xFFFFFFFF, acts_N[active]
    strongest = np.argsort(-value, kind="stable")
    firsts = np.sort(np.unique(document[strongest], return_index=True)[1])
    top = name[strongest[firsts[: config.top]]]
    yield Missing("top", int((~np.isin(top, stored[TOP])).sum()), len(top))
    reaches = np.flatnonzero((value >= floor) & (value > 0))
    lowest = reaches[np.argsort(value[reaches], kind="stable")[: config.bottom]]
    last = value[lowest[-1]] if len(lowest) == config.bottom else np.inf
    surely = (value[lowest] > floor + SUM_ORDER) & (value[lowest] < last - SUM_ORDER)
    yield Missing("bottom", int((surely & ~np.isin(name[lowest], stored[BOTTOM])).sum()), len(lowest))
    band = bands_of(value, np.full(len(value), value.max(initial=0), np.float32), config.bands)
    true = np.minimum(np.bincount(band, minlength=config.bands), config.per_band)
    right = np.bincount(bands[np.isin(stored[INTERVAL] << 3 | bands, name << 3 | band)], minlength=config.bands)
    yield Missing("intervals", int(np.maximum(true - right, 0).sum()), int(true.sum()))
