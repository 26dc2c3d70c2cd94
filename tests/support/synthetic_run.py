"""A published run of any size with no model behind it: what the server needs, written straight into its tables.

For benchmarks and tests of size: a million features with eight examples each take about half a minute, 700 MB of memory
and 1.3 GB on disk. The server serves every page of it but the live ones.

What is planted: a feature stands in its SAE at the share u = index / F, and everything about it follows from u.
Features of any SAE with nearly the same u are of one cluster: their vectors are near, they are each other's neighbours,
they lie together on the map, and the first word of their labels is the cluster's.

Shapes: F features of one SAE, R features of all SAEs, B rows of a batch, S SAEs, K neighbours, D width.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import torch

from data import CONTRACT_VERSION
from data.artifacts.comparison import COMPARED
from data.artifacts.completeness import ACTIVITY, CONCEPTS
from data.artifacts.features import (
    EXAMPLE_KINDS,
    HELD_OUT,
    MINOR_NEIGHBOURS,
    cosine_column,
    neighbours_schema,
)
from data.artifacts.neurons import NEURON_EXAMPLES
from data.artifacts.responses import Responses
from data.layout import StorePaths
from data.manifests import digest
from data.published.lance import index_search
from data.published.maps import MAP_FOLDER, world_of, write_map
from data.published.regions import write_regions
from data.published.schemas import (
    CHUNKS,
    PUBLISHED_CANDIDATES,
    PUBLISHED_DOCUMENTS,
    PUBLISHED_EXAMPLES,
    PUBLISHED_JUDGED,
    PUBLISHED_LABEL_CANDIDATES,
    PUBLISHED_READINGS,
    PUBLISHED_SCORES,
    PUBLISHED_STRENGTHS,
    PUBLISHED_TRIED,
    SEARCH,
    TOKENS_PER_CHUNK,
    VOCABULARY,
    features_schema,
    splitting_schema,
)
from data.published.state import ROWS_FILE, SAES_FOLDER, make_visible
from data.published.tables import write_table
from data.published.terms import terms
from pipeline.examples.texts import TOKENS_AROUND
from pipeline.models.sae import SAE, SAEHeader
from pipeline.recipe import make_recipe
from tests.support.synthetic_block import (
    CHUNKS_PER_DOCUMENT,
    DEAD_EVERY,
    NUM_DOCUMENTS,
    NUM_TOKENS,
    NUM_WORDS,
    WIDTH,
    Block,
    Floats,
)
from tests.support.synthetic_columns import Columns, batch, ends, fixed, histograms, lists, repeated
from tests.support.synthetic_splitting import best_of, splitting_batches

NO_RESPONSES = Responses("There is no model.").as_json()

ROWS_PER_BATCH = 1 << 15
MODEL, LAYER, NEAREST = "synthetic", 1, 10
SHARES = (1 / 64, 1 / 16, 1 / 4)
"""Of all features, in each SAE but the last, which has the rest."""
WINDOW = 81
AROUND = np.array([-3, -1, 0, 2])
"""Offsets at which an example is active, from the token that made it one."""
STRENGTHS = np.array([0.2, 0.5, 1.0, 0.35])
SYLLABLES = ("ka", "lo", "mi", "ne", "ru", "sta", "ver", "dol", "pin", "gar", "tes", "bo", "fri", "hal", "quo", "ziv")


def publish_synthetic_run(
    store: StorePaths,
    num_features: int,
    *,
    examples_per_feature: int = 8,
    name: str = "synthetic",
    seed: int = 0,
    num_mapped: int | None = None,
) -> "SyntheticRun":
    """Write a run of `num_features` in four SAEs and make it visible. Live features all have as many examples.

    num_mapped: features on the map, where they are others than those of the tables.
    """
    run = SyntheticRun(num_features, examples_per_feature, name, seed)
    key = digest({"synthetic": num_features, "examples": examples_per_feature, "seed": seed})
    folder = store.run(name).published(key)
    folder.mkdir(parents=True)
    for table, (schema, batches) in run.tables().items():
        write_table(folder, table, schema, batches)
    index_search(folder)
    points = list(SyntheticRun(num_mapped or num_features, examples_per_feature, name, seed).points())
    world = world_of(*(np.concatenate([part[axis] for part in points]) for axis in "xy"))
    write_map(folder / MAP_FOLDER, world, sum(len(part["x"]) for part in points), points)
    write_regions(folder / MAP_FOLDER, [])
    for sae in run.trained():
        sae.save(folder / SAES_FOLDER / sae.header.name)
    (folder / ROWS_FILE).write_text(json.dumps(run.rows()))
    make_visible(store.run(name), key)
    return run


@dataclass(frozen=True)
class SyntheticRun:
    """Contents of a synthetic run."""

    num_features: int
    examples_per_feature: int
    name: str
    seed: int
    sizes: list[int] = field(init=False)
    """F of every SAE."""

    def __post_init__(self) -> None:
        first = [max(8, int(self.num_features * share)) for share in SHARES]
        object.__setattr__(self, "sizes", [*first, self.num_features - sum(first)])
        assert self.sizes[-1] > 0, "a synthetic run needs at least 50 features"

    @property
    def saes(self) -> list[str]:
        """Names in their order."""
        return [f"{LAYER}-relu-{size}" for size in self.sizes]

    @property
    def first_rows(self) -> list[int]:
        """Row of feature 0 of every SAE."""
        return [0, *np.cumsum(self.sizes)[:-1].tolist()]

    @cached_property
    def words(self) -> list[str]:
        """The vocabulary: three syllables each, all different."""
        count = len(SYLLABLES)
        return [
            SYLLABLES[i % count] + SYLLABLES[i // count % count] + SYLLABLES[i // count**2] for i in range(NUM_WORDS)
        ]

    @cached_property
    def live(self) -> npt.NDArray[np.bool_]:
        """Mask of the live features [R]."""
        return np.concatenate([np.arange(size) % DEAD_EVERY != DEAD_EVERY - 1 for size in self.sizes])

    @property
    def num_examples(self) -> npt.NDArray[np.int16]:
        """Examples of each kind of a live feature: as even as can be, the first kinds with one more."""
        return np.array([len(part) for part in np.array_split(np.arange(self.examples_per_feature), 4)], np.int16)

    @cached_property
    def tokens(self) -> npt.NDArray[np.int64]:
        """Of all documents, one after the other; the tokens are the words."""
        rng = np.random.default_rng(self.seed + 1)
        return np.minimum(rng.zipf(1.3, NUM_TOKENS), NUM_WORDS) - 1

    @property
    def num_clusters(self) -> int:
        return max(4, self.num_features // 500)

    @cached_property
    def centres(self) -> Floats:
        """Of the clusters on the map [clusters, 2]: groups of clusters along arms of a spiral."""
        rng = np.random.default_rng(self.seed)
        t_C = np.arange(self.num_clusters) / self.num_clusters
        turn_C = 5 * np.pi * t_C + rng.integers(3, size=self.num_clusters) * 2 * np.pi / 3
        spiral_C2 = 10 * np.sqrt(t_C)[:, None] * np.stack([np.cos(turn_C), np.sin(turn_C)], 1)
        return spiral_C2 + rng.normal(0, 0.55, spiral_C2.shape)

    def tables(self) -> dict[str, tuple[pa.Schema, Iterator[pa.RecordBatch]]]:
        """Schema and rows of every published table."""
        made = {
            "features": (features_schema(WIDTH, len(self.sizes)), self._features),
            "examples": (PUBLISHED_EXAMPLES, self._examples),
            "neighbours": (neighbours_schema(len(self.sizes), NEAREST), self.neighbours_of),
            "activity": (HELD_OUT, self._activity),
            "search": (SEARCH, self._search),
        }
        found = {table: (schema, self._batches(schema, make)) for table, (schema, make) in made.items()}
        found["splitting"] = (splitting_schema(WIDTH, len(self.sizes)), splitting_batches(self, self._blocks()))
        found["readings"] = (PUBLISHED_READINGS, iter([]))
        found |= {"judged": (PUBLISHED_JUDGED, iter([])), "scores": (PUBLISHED_SCORES, iter([]))}
        found |= {"candidates": (PUBLISHED_LABEL_CANDIDATES, iter([])), "tried": (PUBLISHED_TRIED, iter([]))}
        found |= {"concepts": (CONCEPTS, iter([])), "concept_features": (PUBLISHED_CANDIDATES, iter([]))}
        found["concept_activity"] = (ACTIVITY, iter([]))
        found["neuron_examples"] = (NEURON_EXAMPLES, iter([]))
        found["strengths"] = (PUBLISHED_STRENGTHS, iter([]))
        found["compared"] = (COMPARED, iter([]))
        found["documents"] = (PUBLISHED_DOCUMENTS, iter([batch(PUBLISHED_DOCUMENTS, self._documents())]))
        found["chunks"] = (CHUNKS, iter([batch(CHUNKS, self._chunks())]))
        found["vocabulary"] = (VOCABULARY, iter([batch(VOCABULARY, {"text": pa.array(self._pieces())})]))
        return found

    def rows(self) -> dict[str, Any]:
        """Rows for SQL."""
        config = [{"architecture": "relu", "num_features": size} for size in self.sizes]
        recipe = make_recipe(
            {
                "name": self.name,
                "corpus": {"source": "text", "path": "texts"},
                "model": {"name": MODEL, "source": "none", "layer": LAYER},
                "train": {"saes": config},
            }
        )
        corpus = {
            "fetch": {"model_name": "Made-up-1M"},
            "harvest": {},
            "tokenize": {"corpus": "made up", "num_documents": NUM_DOCUMENTS},
            "examples": {"num_tokens": NUM_TOKENS},
        }
        run = {
            "contract": CONTRACT_VERSION, "model": MODEL, "model_source": "models/none", "layer": LAYER,
            "recipe": recipe.model_dump(mode="json"), "corpus": corpus,
            "showpieces": [], "responses": NO_RESPONSES, "created": "2026-01-01T00:00:00",
        }  # fmt: skip
        saes = [
            {"position": position, "first_row": first_row, "config": one.model_dump(mode="json"), "name": name,
             "metrics": {"explained_variance": 0.7 + 0.05 * position, "l0": 40.0, "dead_share": 1 / DEAD_EVERY},
             "num_features": size, "architecture": "relu", "curve": [], "histogram_scale": 10.0}
            for position, (first_row, one, name, size) in enumerate(
                zip(self.first_rows, recipe.train.saes, self.saes, self.sizes, strict=True)
            )
        ]  # fmt: skip
        return {"run": run, "saes": saes}

    def _blocks(self) -> Iterator["Block"]:
        for sae, size in enumerate(self.sizes):
            for start in range(0, size, ROWS_PER_BATCH):
                yield Block(self, sae, np.arange(start, min(start + ROWS_PER_BATCH, size)))

    def _batches(self, schema: pa.Schema, make: Any) -> Iterator[pa.RecordBatch]:
        for block in self._blocks():
            yield batch(schema, make(block))

    def _features(self, block: "Block") -> Columns:
        live_B, active_B, size = block.live, block.num_active, len(block.index)
        zeros = pa.array(np.zeros(size, np.int64))
        promoted_B = block.promoted
        logits_B = np.tile(np.linspace(3, 1, 10, dtype=np.float32), (size, 1))
        return {
            "sae": repeated(self.saes[block.sae], size),
            "index": pa.array(block.index.astype(np.int32)),
            "num_active": pa.array(active_B),
            "density": pa.array((active_B / NUM_TOKENS).astype(np.float32)),
            "max": pa.array(np.where(live_B, block.maximum, 0).astype(np.float32)),
            "mean": pa.array(np.where(live_B, 0.4 * block.maximum, 0).astype(np.float32)),
            "squared_share": pa.array(live_B / max(int(self.live.sum()), 1)),
            "live": pa.array(live_B),
            "rare": pa.array(np.zeros(size, bool)),
            "negligible": pa.array(np.zeros(size, bool)),
            "histogram": fixed(histograms(active_B)),
            "num_above_floor": pa.array(active_B),
            "band_counts": lists(active_B[:, None] // np.array([2, 4, 8, 16, 32])),
            "label": block.labels(),
            "label_origin": repeated("statistics", size),
            **{
                name: pa.array(block.score.astype(np.float32), mask=~live_B)
                for name in ("label_score", "label_precision", "label_recall")
            },
            "label_said": pa.array(np.full(size, 40, np.int32), mask=~live_B),
            "label_levels": lists(np.tile(block.score.astype(np.float32)[:, None], 5), live_B),
            "label_rule": repeated("", size),
            "label_tested": repeated("held-out", size),
            "top_words": pa.array([[label] if label else [] for label in block.labels().to_pylist()]),
            "specificity": pa.nulls(size, pa.float32()),
            **{name: pa.nulls(size, pa.float32()) for name in ("best_strength", "peak_strength", "break_strength")},
            "strength_words": lists(np.zeros((size, 0), np.int32)),
            "strength_words_from": repeated("", size),
            "first_strength": zeros,
            "num_strengths": pa.array(np.zeros(size, np.int16)),
            "promoted": lists(promoted_B.astype(np.int32)),
            "promoted_logits": lists(logits_B),
            "suppressed": lists(((promoted_B + 2048) % NUM_WORDS).astype(np.int32)),
            "suppressed_logits": lists(-logits_B),
            "raised": lists(promoted_B[:, :4].astype(np.int32)),
            "raised_change": lists(np.tile(np.float32([0.12, 0.03, 0.01, 0.002]), (size, 1))),
            "lowered": lists(promoted_B[:, 4:5].astype(np.int32)),
            "lowered_change": lists(np.full((size, 1), -0.04, np.float32)),
            "num_measured": pa.array((3 * live_B).astype(np.int16)),
            "num_readings": pa.array(np.zeros(size, np.int16)),
            "first_reading": pa.array(np.zeros(size, np.int64)),
            **{f"first_{name}": zeros for name in ("judged", "score", "candidate", "tried")},
            "num_judged": pa.array(np.zeros(size, np.int32)),
            **{f"num_{name}": pa.array(np.zeros(size, np.int16)) for name in ("scores", "candidates", "tried")},
            "neuron_tokens": pa.array(active_B.astype(np.int32), mask=~live_B),
            "neuron_r": lists(np.tile(np.float32([0.4, -0.3]), (size, 1)), live_B),
            "neuron_layer": lists(np.tile(np.int16([0, 1]), (size, 1)), live_B),
            "neuron": lists(np.tile(np.int32([3, 5]), (size, 1)), live_B),
            "first_neuron_example": lists(np.zeros((size, 0), np.int64)),
            "num_neuron_examples": lists(np.zeros((size, 0), np.int16)),
            "highest_r": pa.array(np.full(size, 0.4, np.float32), mask=~live_B),
            "interest": pa.array(block.score.astype(np.float32), mask=~live_B),
            "at_start": pa.array(np.zeros(size, np.float32)),
            "first_example": pa.array(block.live_rank() * self.examples_per_feature),
            "num_examples": fixed(live_B[:, None] * self.num_examples),
            **{
                axis: pa.array(values_B.astype(np.float32), mask=~live_B)
                for axis, values_B in zip("xy", block.places().T, strict=True)
            },
            **{cosine_column(s): pa.array(best_B) for s, best_B in enumerate(best_of(self, block).T)},
            "vector": fixed(block.vectors()),
        }

    def _examples(self, block: "Block") -> Columns:
        """E examples of every live feature, kind by kind: activations fall from rank to rank."""
        index_B, per_feature = block.index[block.live], self.examples_per_feature
        kind_E = np.repeat(np.arange(len(EXAMPLE_KINDS)), self.num_examples)
        rank_E = np.concatenate([np.arange(n) for n in self.num_examples])
        size = len(index_B) * per_feature
        kind_M, rank_M = np.tile(kind_E, len(index_B)), np.tile(rank_E, len(index_B))
        index_M = np.repeat(index_B, per_feature)
        document_M = (index_M * 13 + np.tile(np.arange(per_feature), len(index_B)) * 7) % NUM_DOCUMENTS
        start_M = self._start(index_M, rank_M)
        activation_M = np.repeat(block.maximum[block.live], per_feature) * (1 - 0.04 * rank_M) * (1 - 0.2 * kind_M)
        contrast_M = kind_M == EXAMPLE_KINDS.index("contrast")
        activation_M = np.where(contrast_M, 0, activation_M)
        values_MA = (activation_M[:, None] * STRENGTHS).astype(np.float32)
        return {
            "row": pa.array(self.first_rows[block.sae] + index_M),
            "kind": pa.array(kind_M.astype(np.int8)),
            "rank": pa.array(rank_M.astype(np.int16)),
            "band": pa.array(np.where(kind_M == EXAMPLE_KINDS.index("interval"), 4, -1).astype(np.int8)),
            "document": pa.array(document_M.astype(np.int32)),
            "document_id": pa.array(document_M),
            "position": pa.array((start_M + WINDOW // 2).astype(np.int32)),
            "start": pa.array(start_M.astype(np.int32)),
            "length": pa.array(np.full(size, WINDOW, np.int16)),
            "activation": pa.array(activation_M.astype(np.float32)),
            "pre_activation": pa.array(np.where(contrast_M, -1, activation_M).astype(np.float32)),
            "offsets": lists(np.tile((WINDOW // 2 + AROUND).astype(np.int16), (size, 1)), ~contrast_M),
            "values": lists(values_MA, ~contrast_M),
            "repeats": pa.array(np.zeros(size, np.int32)),
        }

    @staticmethod
    def _start(index_M: npt.NDArray[np.int64], rank_M: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Start of the window of an example in its document."""
        return (index_M * 31 + rank_M * 97) % (CHUNKS_PER_DOCUMENT * TOKENS_PER_CHUNK - WINDOW)

    @staticmethod
    def _activity(block: "Block") -> Columns:
        """Two held-out tokens of every live feature, near those of its cluster."""
        first_B = (block.u * 20_000).astype(np.int32)
        return {"tokens": lists(np.stack([first_B, first_B + 1], 1), block.live)}

    def neighbours_of(self, block: "Block") -> Columns:
        """The live features of each SAE around the same u, the own one left out; there are no minor ones."""
        parts = []
        for size in self.sizes:
            centre_B = (block.u * size).astype(np.int64)
            first_B = np.clip(centre_B - NEAREST // 2, 0, max(0, size - NEAREST - 1))
            near_BK = first_B[:, None] + np.arange(NEAREST)
            own = size == self.sizes[block.sae]
            near_BK += own & (near_BK >= block.index[:, None])
            near_BK = np.where((near_BK < size) & (near_BK % DEAD_EVERY < DEAD_EVERY - 1), near_BK, -1)
            parts.append(np.take_along_axis(near_BK, np.argsort(near_BK < 0, axis=1, kind="stable"), 1))
        cosines_K = np.linspace(0.9, 0.4, NEAREST, dtype=np.float32)
        indices = np.concatenate(parts, 1).astype(np.int32)
        cosines = np.where(indices >= 0, np.tile(cosines_K, len(parts)), 0).astype(np.float32)
        none = np.zeros((len(indices), len(parts) * min(NEAREST, MINOR_NEIGHBOURS)))
        minor = {"minor_indices": fixed((none - 1).astype(np.int32)), "minor_cosines": fixed(none.astype(np.float32))}
        return {"indices": fixed(indices), "cosines": fixed(cosines), **minor}

    def points(self) -> Iterator[dict[str, npt.NDArray[Any]]]:
        """Points of each SAE on the map."""
        for sae, size in enumerate(self.sizes):
            block = Block(self, sae, np.arange(size))
            live, xy_F2 = block.live, block.places()
            yield {
                "index": block.index[live].astype(np.int32),
                **{axis: values_F[live].astype(np.float32) for axis, values_F in zip("xy", xy_F2.T, strict=True)},
                "density": (block.num_active[live] / NUM_TOKENS).astype(np.float32),
                "label_score": block.score[live].astype(np.float32),
                "live": np.ones(int(live.sum()), bool),
            }

    def _search(self, block: "Block") -> Columns:
        """As `publish` makes them, but of one example each, and a beginning which two words share counts twice."""
        live_B, index_M = block.live, block.index[block.live]
        rank_M = np.zeros_like(index_M)
        document_M = (index_M * 13 + rank_M * 7) % NUM_DOCUMENTS
        at_M = document_M * CHUNKS_PER_DOCUMENT * TOKENS_PER_CHUNK + self._start(index_M, rank_M) + WINDOW // 2
        words_MW = self.tokens[at_M[:, None] + np.arange(-TOKENS_AROUND, TOKENS_AROUND + 1)]
        bounds = pa.array(np.arange(len(at_M) + 1) * words_MW.shape[1], pa.int32())
        texts_M = pc.binary_join(pa.ListArray.from_arrays(bounds, pa.array(self.words).take(words_MW.reshape(-1))), " ")
        centre_M = pa.array(self.words).take(pa.array(words_MW[:, TOKENS_AROUND]))
        return {
            "row": pa.array(self.first_rows[block.sae] + block.index),
            "sae": repeated(self.saes[block.sae], len(block.index)),
            "alive": pa.array(live_B),
            "live": pa.array(live_B),
            "rare": pa.array(np.zeros(len(live_B), bool)),
            "negligible": pa.array(np.zeros(len(live_B), bool)),
            "density": pa.array(block.density.astype(np.float32)),
            "prior": pa.array((np.log1p(block.num_active) / 20).astype(np.float32)),
            "texts": pa.ListArray.from_arrays(ends(live_B.astype(np.int64)), texts_M),
            "peak_words": pa.ListArray.from_arrays(ends(live_B.astype(np.int64)), centre_M),
            "beside_words": pa.ListArray.from_arrays(ends(live_B.astype(np.int64)), texts_M),
            "label": self._terms(block.label_words[live_B], live_B),
            "peaks": self._terms(words_MW[:, TOKENS_AROUND : TOKENS_AROUND + 1], live_B),
            "promoted": self._terms(block.promoted, np.ones(len(live_B), bool)),
            "examples": self._terms(words_MW, live_B),
        }

    def _terms(self, words_NW: npt.NDArray[np.int64], keep_B: npt.NDArray[np.bool_]) -> pa.Array:
        """The terms of the words of those features that are kept, one row each."""
        found = pa.array([terms([word]) for word in self.words]).take(pa.array(words_NW.reshape(-1)))
        length_B = np.zeros(len(keep_B), np.int64)
        length_B[keep_B] = pc.list_value_length(found).to_numpy().reshape(words_NW.shape).sum(1)
        return pa.ListArray.from_arrays(ends(length_B), found.flatten())

    def trained(self) -> Iterator[SAE]:
        """The weights of each SAE: encoder and decoder of the same directions."""
        for sae, (name, size) in enumerate(zip(self.saes, self.sizes, strict=True)):
            W_FD = torch.from_numpy(Block(self, sae, np.arange(size)).vectors())
            header = SAEHeader(name, "relu", "relu", size, WIDTH, MODEL, LAYER, activation_scale=10.0)
            yield SAE(header, W_FD, torch.full((size,), -0.5), W_FD.clone(), torch.zeros(WIDTH), torch.zeros(size))

    def _documents(self) -> Columns:
        numbers = np.arange(NUM_DOCUMENTS)
        return {
            "document_id": pa.array(numbers),
            "source": pa.array([f"Document {number}" for number in numbers]),
            "meta": repeated("{}", NUM_DOCUMENTS),
            "num_tokens": pa.array(np.full(NUM_DOCUMENTS, CHUNKS_PER_DOCUMENT * TOKENS_PER_CHUNK, np.int32)),
            "first_chunk": pa.array(numbers * CHUNKS_PER_DOCUMENT),
        }

    def _chunks(self) -> Columns:
        return {"tokens": lists(self.tokens.reshape(-1, TOKENS_PER_CHUNK).astype(np.int32))}

    def _pieces(self) -> list[bytes]:
        return [f" {word}".encode() for word in self.words]
