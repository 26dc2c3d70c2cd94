"""Examples against a naive dense implementation of the same definitions, exactly.

Weights and residuals are small binary fractions, so that every sum is exact whatever its order, and equal activations
are common enough to show that ties are broken as they should be.
"""

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from data.artifacts.features import (
    EXAMPLE_KINDS,
    EXAMPLES,
    EXAMPLES_FILE,
    STATISTICS,
    STATISTICS_FILE,
    bottom_floor,
    histogram_edges,
)
from data.artifacts.shards import ROW
from data.layout import StorePaths
from data.manifests import Manifest
from pipeline.activations.residuals import ResidualBlock
from pipeline.arrays import pack_tokens
from pipeline.examples import contrast, shortlist, windows
from pipeline.examples.selection import FeatureSelection
from pipeline.models import sae as sae_module
from pipeline.models.sae import SAE, SAEHeader
from pipeline.recipe import ExamplesConfig, Recipe, make_recipe
from pipeline.stage import Work
from pipeline.stages import examples as stage
from tests.support.fakes import make_corpus

WIDTH = 8
VOCAB = 12
Row = dict[str, Any]


def make_recipe_with(**examples: Any) -> Recipe:
    return make_recipe(
        {
            "name": "test",
            "corpus": {"source": "sample"},
            "model": {"name": "tiny", "source": "sample", "layer": 1},
            "train": {"saes": [{"architecture": "relu", "num_features": 12}]},
            "examples": {"dtype": "float32", "context": 3, "contrast_occurrences": 6} | examples,
        }
    )


def make_sae(nonlinearity: str, num_features: int = 12, seed: int = 0) -> SAE:
    """Weights of few bits; feature 1 never fires, feature 2 fires rarely."""
    generator = torch.Generator().manual_seed(seed)
    # topk chooses within a token, where a tie may go either way: finer weights make ties improbable
    steps = 2**14 if nonlinearity == "topk" else 4
    W_FD = torch.randint(-steps, steps + 1, (num_features, WIDTH), generator=generator) / steps
    b_F = torch.full((num_features,), -1.0)
    b_F[1], b_F[2] = -100.0, -3.5
    threshold_F = torch.full((num_features,), 0.5) if nonlinearity == "jumprelu" else torch.zeros(num_features)
    header = SAEHeader(
        "1-relu-12", "relu", nonlinearity, num_features, WIDTH, "tiny", 1, 4 if nonlinearity == "topk" else None, 0.75
    )  # type: ignore[arg-type]
    return SAE(header, W_FD, b_F, W_FD / W_FD.norm(dim=1, keepdim=True), torch.zeros(WIDTH), threshold_F)


class Planted:
    """A corpus with a residual row for every token but some that are left out."""

    def __init__(
        self, folder: Path, *, num_documents: int = 40, repeats: int = 1, copies: int = 0, seed: int = 0
    ) -> None:
        """copies: paragraphs that a random half of the documents share, with nearly the same residuals."""
        rng = np.random.default_rng(seed)
        lengths = rng.integers(1, 40, num_documents)
        documents = [rng.integers(0, VOCAB, n).tolist() for n in lengths] * repeats
        values = [rng.integers(-2, 3, (n, WIDTH)).astype(np.float32) / 2 for n in lengths] * repeats
        for _ in range(copies):
            paragraph, stream = rng.integers(0, VOCAB, 22).tolist(), rng.integers(-2, 3, (22, WIDTH)) / 2
            for number in np.flatnonzero(rng.random(len(documents)) < 0.5).tolist():
                at = int(rng.integers(len(documents[number]) + 1))
                documents[number][at:at] = paragraph
                moved = np.where(rng.random((22, WIDTH)) < 0.02, 0, stream).astype(np.float32)
                values[number] = np.concatenate([values[number][:at], moved, values[number][at:]])
        lengths = np.array([len(document) for document in documents[: len(documents) // repeats]])
        self.corpus = make_corpus(folder, documents, context_length=17, held_out=(3, 5))
        left_out = [rng.random(n) < 0.05 for n in lengths] * repeats
        self.order_S = rng.permutation(self.corpus.sequence_numbers(held_out=False))
        self.rows_S = {}
        for number in self.order_S.tolist():
            document, start, length = self.corpus.sequences[number].tolist()
            here = np.flatnonzero(~left_out[document][start : start + length]) + start
            self.rows_S[number] = [(number, p, values[document][p]) for p in here.tolist()]

    def blocks(self, block_tokens: int) -> Iterator[ResidualBlock]:
        block: list[tuple[int, int, np.ndarray]] = []
        for number in [*self.order_S.tolist(), None]:
            more = self.rows_S[number] if number is not None else []
            if block and (number is None or len(block) + len(more) > block_tokens):
                index = np.array([(0, p, s) for s, p, _ in block], ROW)
                yield ResidualBlock(torch.from_numpy(np.stack([x for _, _, x in block])), index)
                block = []
            block = block + more

    def all_rows(self) -> tuple[list[tuple[int, int]], torch.Tensor]:
        """Tokens (sequence, position) in corpus order, and their residuals."""
        rows = sorted((row for rows in self.rows_S.values() for row in rows), key=lambda row: row[:2])
        return [row[:2] for row in rows], torch.from_numpy(np.stack([row[2] for row in rows]))


def run_stage(
    planted: Planted, sae: SAE, recipe: Recipe, root: Path, monkeypatch: pytest.MonkeyPatch, block_tokens: int = 64
) -> tuple[list[Row], list[Row], dict[str, Any]]:
    """The stage itself on given residual blocks: statistics, examples, counts."""
    name = recipe.sae_names[0]
    paths = StorePaths(root).run("test")
    sae.save(paths.stage("train") / name)
    if not paths.stage("tokenize").exists():
        paths.stage("tokenize").symlink_to(planted.corpus.folder)
    counts = {
        "tokenize": {"vocab_size": VOCAB},
        "harvest": {"num_tokens": 1, "storage": "bfloat16"},
        "fetch": {},
        "train": {},
    }
    config = {"harvest": {"keep_fraction": 1.0}}
    inputs = {n: Manifest(n, "0" * 16, config, {}, 0, c, {}, "", 0.0, "") for n, c in counts.items()}
    monkeypatch.setattr(stage, "residual_blocks", lambda *a, **k: planted.blocks(block_tokens))
    folder = root / f"out-{block_tokens}"
    folder.mkdir()
    found = stage.find_examples(Work(recipe, paths, folder, inputs, "0" * 16, resumed=False))
    statistics = read(folder / name / STATISTICS_FILE, STATISTICS)
    return statistics, read(folder / name / EXAMPLES_FILE, EXAMPLES), found


def read(path: Path, schema: pa.Schema) -> list[Row]:
    with pa.memory_map(str(path)) as source:
        table = pa.ipc.open_file(source).read_all()
    assert table.schema.equals(schema)
    return table.to_pylist()


# ---- The naive implementation: dense, one feature after the other, plain Python


def mix(number: int) -> int:
    mask = 2**64 - 1
    number = (number + 0x9E3779B97F4A7C15) & mask
    number = ((number ^ (number >> 30)) * 0xBF58476D1CE4E5B9) & mask
    number = ((number ^ (number >> 27)) * 0x94D049BB133111EB) & mask
    return number ^ (number >> 31)


def hash_of(token: tuple[int, int], feature: int) -> int:
    mask = 2**64 - 1
    mixed = ((mix((token[0] << 32) | token[1]) ^ feature) * 0xFF51AFD7ED558CCD) & mask
    return (((mixed ^ (mixed >> 33)) * 0xC4CEB9FE1A85EC53) & mask) >> 32


class Naive:
    def __init__(self, planted: Planted, sae: SAE, config: ExamplesConfig) -> None:
        self.corpus, self.sae, self.config = planted.corpus, sae, config
        self.tokens, x_ND = planted.all_rows()
        pre_NF = (x_ND.double() @ sae.W_enc_FD.double().T + sae.b_enc_F.double()).float()
        if sae.header.nonlinearity == "topk":
            kept_NK = pre_NF.topk(sae.header.k or 0).indices
            chosen_NF = torch.zeros_like(pre_NF, dtype=torch.bool).scatter(1, kept_NK, True) & (pre_NF > 0)
        else:
            chosen_NF = pre_NF > sae.threshold_F
        self.pre_NF = pre_NF.numpy()
        self.inner_edges = histogram_edges(sae.header.activation_scale)[1:-1].tolist()
        self.acts_NF = torch.where(chosen_NF, pre_NF, 0.0).numpy()
        self.place = {token: row for row, token in enumerate(self.tokens)}
        self.ids = [self.id_of(token) for token in self.tokens]
        self.contexts = [self.context_of(token) for token in self.tokens]
        self.num_places = Counter(self.contexts)
        by_id = defaultdict(list)
        for row, token in enumerate(self.tokens):
            by_id[self.ids[row]].append((hash_of(token, 0), row))
        self.sample = {i: [row for _, row in sorted(rows)[: config.contrast_occurrences]] for i, rows in by_id.items()}

    def id_of(self, token: tuple[int, int]) -> int:
        sequence, position = token
        _, start, _ = self.corpus.sequences[sequence].tolist()
        return int(self.corpus.sequence_tokens(sequence)[position - start])

    def context_of(self, token: tuple[int, int]) -> tuple[int, ...]:
        """The token and eight on either side; -1 where the document has none."""
        document = int(self.corpus.sequences[token[0]]["document"])
        tokens = [-1] * 8 + self.corpus.document_tokens(document).tolist() + [-1] * 8
        return tuple(tokens[token[1] : token[1] + 17])

    def distinct(self, rows: list[int]) -> list[int]:
        """The first of each context."""
        first: dict[tuple[int, ...], int] = {}
        for row in rows:
            first.setdefault(self.contexts[row], row)
        return list(first.values())

    def statistics(self) -> list[Row]:
        return [self.statistics_of(feature) for feature in range(self.sae.num_features)]

    def statistics_of(self, feature: int) -> Row:
        active = [float(a) for a in self.acts_NF[:, feature] if a > 0]
        edges = histogram_edges(self.sae.header.activation_scale)
        histogram = [0] * (len(edges) - 1)
        for value in active:
            histogram[self.bin_of(value)] += 1
        return {
            "index": feature,
            "num_active": len(active),
            "density": np.float32(len(active) / len(self.tokens)).item(),
            "max": max(active, default=0.0),
            "mean": np.float32(sum(active) / len(active)).item() if active else 0.0,
            "sum_squares": sum(value**2 for value in active),
            "histogram": histogram,
            "num_above_floor": sum(value >= bottom_floor(self.sae.header.activation_scale) for value in active),
            "band_counts": self.band_counts(active),
        }

    def band_counts(self, active: list[float]) -> list[int]:
        bands = [self.band_of(value, max(active)) for value in active]
        return [bands.count(band) for band in range(self.config.bands)]

    def bin_of(self, value: float) -> int:
        return bisect_right(self.inner_edges, float(value))

    def examples(self) -> list[Row]:
        return [example for feature in range(self.sae.num_features) for example in self.examples_of(feature)]

    def examples_of(self, feature: int) -> list[Row]:
        acts, pre = self.acts_NF[:, feature], self.pre_NF[:, feature]
        active = [row for row in range(len(acts)) if acts[row] > 0]
        best: dict[int, int] = {}
        for row in sorted(active, key=lambda row: (-acts[row], row)):
            best.setdefault(self.document(row), row)
        top = self.distinct(sorted(best.values(), key=lambda row: (-acts[row], row)))[: self.config.top]
        reaches = [row for row in active if acts[row] >= bottom_floor(self.sae.header.activation_scale)]
        bottom = self.distinct(sorted(reaches, key=lambda row: (acts[row], row)))[: self.config.bottom]
        wanted = {self.ids[row] for row in top}
        listed = {self.contexts[row] for row in top}
        sampled = [row for i in wanted for row in self.sample[i] if self.contexts[row] not in listed]
        lowest = self.distinct(sorted(sampled, key=lambda row: (pre[row], row)))[: self.config.contrast]
        interval = sorted(self.interval(feature, active), key=lambda pair: (-acts[pair[0]], pair[0]))
        found = []
        for kind, rows in zip(EXAMPLE_KINDS, (top, bottom, lowest, [row for row, _ in interval]), strict=True):
            for rank, row in enumerate(rows):
                band = interval[rank][1] if kind == "interval" else -1
                found.append(self.example(feature, kind, rank, row, band))
        return found

    def interval(self, feature: int, active: list[int]) -> list[tuple[int, int]]:
        if not active:
            return []
        acts, size = self.acts_NF[:, feature], self.config.per_band
        highest = max(acts[row] for row in active)
        lowest_bin = max(self.bin_of(float(highest / np.float32(self.config.bands))) - 4, 0)
        bins = defaultdict(list)
        for row in active:
            bins[max(self.bin_of(acts[row]), lowest_bin)].append((hash_of(self.tokens[row], feature), row))
        in_band = defaultdict(list)
        for kept in bins.values():
            for key, row in sorted(kept)[: 2 * size]:
                in_band[self.band_of(acts[row], highest)].append((key, row))
        everything = defaultdict(list)
        for row in active:
            everything[self.band_of(acts[row], highest)].append((hash_of(self.tokens[row], feature), row))
        for band, all_there_are in everything.items():
            if len(self.distinct([row for _, row in in_band[band]])) < size:
                in_band[band] = all_there_are
        return [
            (row, band)
            for band, kept in in_band.items()
            for row in self.distinct([row for _, row in sorted(kept)])[:size]
        ]

    def band_of(self, value: Any, highest: Any) -> int:
        return min(int(float(value) / float(highest) * self.config.bands), self.config.bands - 1)

    def place_of(self, example: Row) -> int:
        """The row of an example's token."""
        return next(
            r
            for (s, p), r in self.place.items()
            if p == example["position"] and self.document(r) == example["document"]
        )

    def document(self, row: int) -> int:
        return int(self.corpus.sequences[self.tokens[row][0]]["document"])

    def example(self, feature: int, kind: str, rank: int, row: int, band: int) -> Row:
        sequence, position = self.tokens[row]
        document, first, length = self.corpus.sequences[sequence].tolist()
        start = max(first, position - self.config.context)
        stop = min(first + length, position + self.config.context + 1)
        window = [self.place.get((sequence, p)) for p in range(start, stop)]
        values = [float(self.acts_NF[row, feature]) if row is not None else 0.0 for row in window]
        return {
            "index": feature,
            "kind": EXAMPLE_KINDS.index(kind),  # type: ignore[arg-type]
            "rank": rank,
            "band": band,
            "document": document,
            "document_id": int(self.corpus.document_ids[document]),
            "position": position,
            "start": start,
            "length": stop - start,
            "activation": float(self.acts_NF[row, feature]),
            "pre_activation": float(self.pre_NF[row, feature]),
            "offsets": [offset for offset, value in enumerate(values) if value > 0],
            "values": [value for value in values if value > 0],
            "repeats": self.num_places[self.contexts[row]] - 1,
        }


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes at which every boundary is crossed many times."""
    monkeypatch.setattr(sae_module, "TILE_FEATURES", 5)
    monkeypatch.setattr(shortlist, "PENDING", 50)
    monkeypatch.setattr(contrast, "PENDING_ROWS", 30)
    monkeypatch.setattr(contrast, "CHUNK_ROWS", 10)
    monkeypatch.setattr(contrast, "CHUNK_PAIRS", 7)
    monkeypatch.setattr(windows, "SEGMENT_ROWS", 11)
    monkeypatch.setattr(windows, "SEGMENT_WINDOWS", 9)


def check_statistics(found: list[Row], expected: list[Row], per_band: int) -> None:
    """All are equal but the counts of bands: these may be low where there are more than examples asked for."""
    for row, true in zip(found, expected, strict=True):
        assert row | {"band_counts": []} == true | {"band_counts": []}
        for count, all_there_are in zip(row["band_counts"], true["band_counts"], strict=True):
            assert min(per_band, all_there_are) <= count <= all_there_are


@pytest.mark.parametrize("nonlinearity", ["relu", "jumprelu", "topk"])
@pytest.mark.parametrize("block_tokens", [16, 100, 10_000])
def test_agrees_with_the_naive_implementation(
    nonlinearity: str, block_tokens: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted, sae = Planted(tmp_path / "corpus"), make_sae(nonlinearity)
    recipe = make_recipe_with()
    naive = Naive(planted, sae, recipe.examples)
    statistics, examples, counts = run_stage(planted, sae, recipe, tmp_path, monkeypatch, block_tokens)
    check_statistics(statistics, naive.statistics(), recipe.examples.per_band)
    assert examples == naive.examples()
    assert counts["num_tokens"] == len(naive.tokens)
    name = recipe.sae_names[0]
    assert counts["saes"][name]["num_examples"] == len(examples)
    assert counts["saes"][name]["num_dead"] == sum(row["num_active"] == 0 for row in statistics) >= 1


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("top", [4, 8, 20])
def test_copies_are_one_example_with_their_number(
    seed: int, top: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted, sae = Planted(tmp_path / "corpus", copies=3, seed=seed), make_sae("relu", seed=seed)
    recipe = make_recipe_with(top=top, bottom=5, contrast=5, contrast_occurrences=40)
    naive = Naive(planted, sae, recipe.examples)
    statistics, examples, counts = run_stage(planted, sae, recipe, tmp_path, monkeypatch)
    check_statistics(statistics, naive.statistics(), recipe.examples.per_band)
    assert examples == naive.examples()
    of_top = [row for row in examples if row["kind"] == EXAMPLE_KINDS.index("top")]
    assert max(row["repeats"] for row in of_top) > 5
    assert counts["saes"][recipe.sae_names[0]]["num_with_repeats"] == sum(row["repeats"] > 0 for row in examples)


def test_a_corpus_of_copies_has_one_example_of_each_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One document forty times over: every kind has each of its places once, 38 times more among those trained on."""
    planted, sae, recipe = (
        Planted(tmp_path / "corpus", num_documents=1, repeats=40),
        make_sae("relu"),
        make_recipe_with(),
    )
    _, examples, _ = run_stage(planted, sae, recipe, tmp_path, monkeypatch)
    assert examples == Naive(planted, sae, recipe.examples).examples()
    assert {row["repeats"] for row in examples} == {37}
    assert max(row["rank"] for row in examples if row["kind"] == EXAMPLE_KINDS.index("top")) == 0


def test_few_examples_of_each_kind_and_a_narrow_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planted, sae = Planted(tmp_path / "corpus", seed=1), make_sae("relu", seed=1)
    recipe = make_recipe_with(top=2, bottom=3, contrast=2, bands=3, per_band=1, contrast_occurrences=2, context=40)
    _, examples, _ = run_stage(planted, sae, recipe, tmp_path, monkeypatch)
    assert examples == Naive(planted, sae, recipe.examples).examples()


def test_rows_are_cut_into_tiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.examples.selection.TILE_ROWS", 7)
    planted, sae, recipe = Planted(tmp_path / "corpus"), make_sae("relu"), make_recipe_with()
    _, examples, _ = run_stage(planted, sae, recipe, tmp_path, monkeypatch)
    assert examples == Naive(planted, sae, recipe.examples).examples()


def test_dead_and_rare_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planted, sae = Planted(tmp_path / "corpus"), make_sae("relu")
    statistics, examples, _ = run_stage(planted, sae, make_recipe_with(), tmp_path, monkeypatch)
    assert not [row for row in examples if row["index"] == 1]
    assert (statistics[1]["max"], statistics[1]["num_active"], sum(statistics[1]["histogram"])) == (0.0, 0, 0)
    rare = [row for row in examples if row["index"] == 2 and row["kind"] == EXAMPLE_KINDS.index("bottom")]
    assert 0 < len(rare) == statistics[2]["num_active"] < 20


@pytest.mark.parametrize("nonlinearity", ["relu", "jumprelu"])
@pytest.mark.parametrize("scale", [0.75, 30.0])
def test_a_search_in_bfloat16_finds_what_float32_does(
    nonlinearity: str, scale: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Values a few roundings apart, many of them near zero: all that is found is that of the exact values."""
    planted, sae = Planted(tmp_path / "corpus"), make_fine_sae(nonlinearity, scale)
    recipe = make_recipe_with(dtype="bfloat16")
    naive = Naive(planted, sae, recipe.examples)
    rounded = sae.pre_activations(planted.all_rows()[1], dtype=torch.bfloat16).numpy()
    assert ((rounded > sae.threshold_F.numpy()) != (naive.acts_NF > 0)).sum() > 100, "rounding decides somewhere"
    statistics, examples, _ = run_stage(planted, sae, recipe, tmp_path, monkeypatch)
    check_statistics(statistics, naive.statistics(), recipe.examples.per_band)
    assert examples == naive.examples()


def make_fine_sae(nonlinearity: str, scale: float) -> SAE:
    """Weights with parts that bfloat16 rounds off: many activations are nearly equal, many near the threshold."""
    sae = make_sae("topk")
    sae.header = SAEHeader(**(vars(sae.header) | {"nonlinearity": nonlinearity, "k": None, "activation_scale": scale}))
    fine_FD = torch.randint(-7, 8, (9, WIDTH), generator=torch.Generator().manual_seed(1)) / 2**13
    sae.W_enc_FD[3:] = (2 * sae.W_enc_FD[3:]).round() / 2 + fine_FD
    sae.b_enc_F[3:9], sae.b_enc_F[9:] = 0, -1.5
    sae.threshold_F.fill_(1 / 2**12 if nonlinearity == "jumprelu" else 0)
    return sae


def test_every_shortage_is_that_of_the_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is short of examples has a count beside it that says so."""
    planted, sae = Planted(tmp_path / "corpus", num_documents=12), make_fine_sae("relu", 30.0)
    config = (recipe := make_recipe_with(dtype="bfloat16", per_band=12)).examples
    statistics, examples, _ = run_stage(planted, sae, recipe, tmp_path, monkeypatch)
    by_kind = defaultdict(list)
    for row in examples:
        by_kind[row["index"], EXAMPLE_KINDS[row["kind"]]].append(row["band"])
    short = 0
    for row in statistics:
        bands = by_kind[row["index"], "interval"]
        for band, count in enumerate(row["band_counts"]):
            assert bands.count(band) == min(count, config.per_band)
            short += 0 < count < config.per_band
        assert len(by_kind[row["index"], "bottom"]) == min(row["num_above_floor"], config.bottom)
        assert (len(by_kind[row["index"], "top"]) == 0) == (row["num_active"] == 0)
    assert short > 5


def test_memory_does_not_grow_with_the_corpus(tmp_path: Path) -> None:
    """The corpus four times over leaves a state of the same bound, and no more than that in use."""
    sae, config = make_sae("relu"), make_recipe_with(top=5, bottom=5, per_band=2).examples
    kept = []
    for repeats in (1, 4):
        planted = Planted(tmp_path / str(repeats), num_documents=60, repeats=repeats)
        selection = FeatureSelection(sae, config, planted.corpus)
        occurrences = contrast.Occurrences(planted.corpus, VOCAB, config.contrast_occurrences)
        for block in planted.blocks(100):
            tokens = pack_tokens(block.index_N["sequence"], block.index_N["position"])
            selection.add(block.x_ND, tokens)
            occurrences.add(block.x_ND, tokens)
        sizes = [len(s.result().group_N) for s in (selection.top, selection.bottom, selection.interval)]
        kept.append([*sizes, len(occurrences.settled()[2])])
    assert kept[1][3] == kept[0][3] == VOCAB * config.contrast_occurrences
    most = (12 * 5, 12 * 5, 12 * 2 * 40)
    assert all(size <= bound for sizes in kept for size, bound in zip(sizes, most, strict=False))
    assert kept[1][0] == kept[0][0]
