from pathlib import Path

import lancedb
import numpy as np
import pyarrow as pa
import pytest

from data.artifacts.features import COSINE_BINS, HISTOGRAM_BINS, histogram_edges, neighbours_schema
from data.published.lance import LANCE_FOLDER, index_search
from data.published.schemas import (
    CHUNKS,
    PUBLISHED_DOCUMENTS,
    PUBLISHED_EXAMPLES,
    SEARCH,
    TOKENS_PER_CHUNK,
    VOCABULARY,
    features_schema,
    splitting_schema,
)
from data.published.tables import PublishedRun, write_table
from data.published.terms import terms

NUM_FEATURES = 300
LENGTHS = [700, 1, TOKENS_PER_CHUNK, TOKENS_PER_CHUNK + 1, 40]
NUM_SAES, K = 2, 3
Columns = dict[str, list[object]]


def make_features() -> Columns:
    rng = np.random.default_rng(0)
    densities = rng.choice([0.0, 0.1, 0.2, 0.3], NUM_FEATURES)
    return {
        "sae": ["a" if i < 200 else "b" for i in range(NUM_FEATURES)],
        "index": [i if i < 200 else i - 200 for i in range(NUM_FEATURES)],
        "num_active": densities.tolist(),
        "density": densities.tolist(),
        "max": rng.random(NUM_FEATURES).tolist(),
        "mean": [0.0] * NUM_FEATURES,
        **{name: [None] * NUM_FEATURES for name in ("best_strength", "peak_strength", "break_strength")},
        **{name: [0] * NUM_FEATURES for name in ("first_strength", "num_strengths")},
        "strength_words": [[]] * NUM_FEATURES,
        "strength_words_from": [""] * NUM_FEATURES,
        "squared_share": [1 / NUM_FEATURES] * NUM_FEATURES,
        "live": [True] * NUM_FEATURES,
        "rare": [False] * NUM_FEATURES,
        "negligible": [False] * NUM_FEATURES,
        "num_above_floor": [0] * NUM_FEATURES,
        "band_counts": [[0] * 5] * NUM_FEATURES,
        "histogram": [[0] * HISTOGRAM_BINS] * NUM_FEATURES,
        "label": [f"label {i % 7} 'quoted'" for i in range(NUM_FEATURES)],
        "label_origin": ["statistics"] * NUM_FEATURES,
        **{name: [None] * NUM_FEATURES for name in ("label_score", "label_precision", "label_recall", "label_said")},
        **{name: [None] * NUM_FEATURES for name in ("specificity", "interest", "x", "y")},
        **{name: [""] * NUM_FEATURES for name in ("label_rule", "label_tested")},
        **{name: [[]] * NUM_FEATURES for name in ("label_levels", "top_words")},
        "at_start": [0.0] * NUM_FEATURES,
        **{name: [[]] * NUM_FEATURES for name in ("promoted", "promoted_logits", "suppressed", "suppressed_logits")},
        **{name: [[]] * NUM_FEATURES for name in ("raised", "raised_change", "lowered", "lowered_change")},
        **{name: [0] * NUM_FEATURES for name in ("num_measured", "num_readings", "first_reading")},
        **{name: [0] * NUM_FEATURES for name in ("first_judged", "num_judged", "first_score", "num_scores")},
        **{name: [0] * NUM_FEATURES for name in ("first_candidate", "num_candidates", "first_tried", "num_tried")},
        **{name: [None] * NUM_FEATURES for name in ("neuron_tokens", "highest_r")},
        **{name: [[]] * NUM_FEATURES for name in ("neuron_r", "neuron_layer", "neuron")},
        **{name: [[]] * NUM_FEATURES for name in ("first_neuron_example", "num_neuron_examples")},
        "first_example": [0] * NUM_FEATURES,
        "num_examples": [[2, 1, 0, 2]] * NUM_FEATURES,
        **{f"cosine_{position}": rng.random(NUM_FEATURES).tolist() for position in range(2)},
        "vector": rng.random((NUM_FEATURES, 4)).tolist(),
    }


def make_examples() -> Columns:
    kinds = [0, 0, 1, 3, 3]
    constant = {"row": 0, "band": -1, "document": 0, "document_id": 1, "position": 0, "start": 0, "length": 1}
    return {
        **{name: [value] * 5 for name, value in constant.items()},
        "kind": list(kinds),
        "rank": [0, 1, 0, 0, 1],
        **{name: [1.0] * 5 for name in ("activation", "pre_activation")},
        **{name: [[]] * 5 for name in ("offsets", "values")},
        "repeats": [0] * 5,
    }


def make_documents() -> tuple[Columns, Columns]:
    """Token = 1000 * document + position."""
    chunks = [
        [1000 * d + p for p in range(start, min(start + TOKENS_PER_CHUNK, n))]
        for d, n in enumerate(LENGTHS)
        for start in range(0, n, TOKENS_PER_CHUNK)
    ]
    counts = [-(-n // TOKENS_PER_CHUNK) for n in LENGTHS]
    documents: Columns = {
        "document_id": list(range(5)),
        "source": ["test"] * 5,
        "meta": ["{}"] * 5,
        "num_tokens": list(LENGTHS),
        "first_chunk": np.cumsum([0, *counts])[:-1].tolist(),
    }
    return documents, {"tokens": list(chunks)}


LABELS = ["river", "riverside walk", "old river bank", "war", "", "river river war", "(", "日本 😀"]
PROMOTED = [[" war", " peace"], [], ["river"], [" war"], [" river"], [], ["'"], [" nothing"]]
TEXTS = [["by the river"], ["a war"], [], ["the river", "river"], [], ["walk"], ['"'], ["日", "x"]]


def make_search() -> Columns:
    size = len(LABELS)
    return {
        "row": list(range(size)),
        "sae": ["a"] * 4 + ["b's"] * (size - 4),
        "live": [row != 4 for row in range(size)],
        "rare": [False] * size,
        "negligible": [False] * size,
        "alive": [row != 4 for row in range(size)],
        "density": [row / 10 for row in range(size)],
        "prior": [1.0] * size,
        "peak_words": [[]] * size,
        "beside_words": [[]] * size,
        "peaks": [[]] * size,
        "texts": list(TEXTS),
        "label": [terms([label]) for label in LABELS],
        "promoted": [terms(tokens) for tokens in PROMOTED],
        "examples": [terms(texts) for texts in TEXTS],
    }


def write(folder: Path, name: str, schema: pa.Schema, columns: Columns) -> None:
    batches = pa.table({f.name: pa.array(columns[f.name], f.type) for f in schema}, schema=schema).to_batches(64)
    assert write_table(folder, name, schema, batches) == sum(len(batch) for batch in batches)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> PublishedRun:
    folder = tmp_path_factory.mktemp("published")
    documents, chunks = make_documents()
    write(folder, "features", features_schema(4, 2), make_features())
    write(folder, "examples", PUBLISHED_EXAMPLES, make_examples())
    neighbours = {
        "indices": [[row, -1, 2, 3, 4, 5] for row in range(NUM_FEATURES)],
        "cosines": [[0.5, 0.0, 0.25, 0.125, 0.1, 0.0]] * NUM_FEATURES,
        "minor_indices": [[row + 1, -1, -1, -1, -1, -1] for row in range(NUM_FEATURES)],
        "minor_cosines": [[0.75, 0.0, 0.0, 0.0, 0.0, 0.0]] * NUM_FEATURES,
    }
    write(folder, "neighbours", neighbours_schema(NUM_SAES, K), neighbours)
    write(folder, "documents", PUBLISHED_DOCUMENTS, documents)
    write(folder, "chunks", CHUNKS, chunks)
    write(folder, "vocabulary", VOCABULARY, {"text": [b"\xff", b"\x00", b"</s>"]})
    write(folder, "search", SEARCH, make_search())
    index_search(folder)
    splitting = {
        "sae": ["a", "b"],
        "num_live": [1, 1],
        "num_minor": [0, 0],
        "mean": [[0.0] * 4] * 2,
        "counts": [[0] * 2 * COSINE_BINS] * 2,
        "minor_counts": [[0] * 2 * COSINE_BINS] * 2,
    }
    write(folder, "splitting", splitting_schema(4, 2), splitting)
    return PublishedRun(folder)


def test_take_keeps_order_and_duplicates(run: PublishedRun) -> None:
    rows = [250, 3, 299, 3, 0, 64, 63]
    found = run.take("features", rows, ["index", "sae"])
    assert found.column_names == ["index", "sae"]
    assert found["index"].to_pylist() == [50, 3, 99, 3, 0, 64, 63]
    assert found["sae"].to_pylist() == ["b", "a", "b", "a", "a", "a", "a"]


@pytest.mark.parametrize("name", ["features", "examples"])
def test_what_is_taken_from_a_copy_is_what_lancedb_holds(run: PublishedRun, name: str) -> None:
    table = lancedb.connect(str(run.folder / LANCE_FOLDER)).open_table(name).to_arrow()
    columns = [column for column in table.column_names if column != "vector" and not column.startswith("cosine_")]
    rows = list(range(len(table)))
    assert run.take(name, rows, columns) == table.select(columns).combine_chunks()
    assert run.take(name, rows[3:] + rows[:3]).to_pylist() == table.to_pylist()[3:] + table.to_pylist()[:3]
    assert run.count(name) == len(table)


def test_take_of_nothing_has_the_columns(run: PublishedRun) -> None:
    assert run.take("features", [], ["index"]).schema.names == ["index"]
    assert len(run.take("examples", [])) == 0


def test_take_of_every_column_has_the_schema(run: PublishedRun) -> None:
    assert run.take("features", [7]).schema.names == features_schema(4, 2).names


def test_take_of_a_row_that_is_not_there_fails(run: PublishedRun) -> None:
    with pytest.raises(Exception, match=r"300|lacks rows"):
        run.take("features", [300], ["index"])


@pytest.mark.parametrize("sort", ["index", "density", "max", "label"])
@pytest.mark.parametrize("descending", [False, True])
def test_pages_are_slices_of_one_sorted_list(run: PublishedRun, sort: str, descending: bool) -> None:
    columns = make_features()
    rows = [row for row in range(200) if columns["density"][row] > 0]  # type: ignore[operator]
    rows.sort(key=lambda row: columns[sort][row], reverse=descending)  # type: ignore[arg-type,return-value]
    pages = [
        run.list_features(
            "sae = 'a' AND density > 0", ["index"], sort=sort, descending=descending, limit=30, offset=offset
        )["index"].to_pylist()
        for offset in range(0, len(rows) + 30, 30)
    ]
    assert [index for page in pages for index in page] == rows
    assert run.count_features("sae = 'a' AND density > 0") == len(rows)


ALL = ("label", "promoted", "examples")


@pytest.mark.parametrize(
    ("words", "fields", "where", "expected"),
    [
        (["river"], ALL, None, {0, 1, 2, 3, 4, 5}),
        (["river"], ("label",), None, {0, 1, 2, 5}),
        (["river"], ("promoted",), None, {2, 4}),
        (["river"], ("examples",), None, {0, 3}),
        (["riv"], ("label", "examples"), "alive = true", {0, 1, 2, 3, 5}),
        (["w", "riverside"], ALL, None, {1}),
        (["war", "river"], ALL, None, {5}),  # in one field both
        (["river"], ALL, "sae = 'b''s'", {4, 5}),
        (["river"], ALL, "alive = false", {4}),
        (["river"], ALL, "density >= 0.15 AND density <= 0.35", {2, 3}),
        (["("], ALL, None, {6}),
        (['"'], ALL, None, {6}),
        (["日", "本"], ALL, None, {7}),
        (["😀"], ALL, None, {7}),
        (["rivers"], ALL, None, {1}),
        (["iver"], ALL, None, set()),
    ],
)
def test_search_finds_what_has_all_the_words(run: PublishedRun, words, fields, where, expected) -> None:
    found = run.search(words, fields, where, 100)
    assert {row for row, _ in found} == expected
    assert found == sorted(found, key=lambda pair: (-pair[1], pair[0]))


def test_labels_count_most_and_whole_words_more_than_beginnings(run: PublishedRun) -> None:
    best = [row for row, _ in run.search(["river"], ALL, None, 100)]
    assert best.index(0) < best.index(1)  # river, riverside
    assert best.index(2) < best.index(3)  # in its label, in its examples
    assert [row for row, _ in run.search(["river"], ALL, None, 2)] == best[:2]


def test_examples_of_one_kind_and_of_all(run: PublishedRun) -> None:
    assert run.examples(0, [2, 1, 0, 2])["kind"].to_pylist() == [0, 0, 1, 3, 3]
    assert run.examples(0, [2, 1, 0, 2], kind=3)["rank"].to_pylist() == [0, 1]
    assert len(run.examples(0, [2, 1, 0, 2], kind=2)) == 0


def test_windows_over_chunk_borders(run: PublishedRun) -> None:
    rng = np.random.default_rng(0)
    documents = rng.integers(0, len(LENGTHS), 200).tolist()
    starts = [int(rng.integers(0, LENGTHS[d])) for d in documents]
    lengths = [min(int(rng.integers(0, 300)), LENGTHS[d] - s) for d, s in zip(documents, starts, strict=True)]
    expected = [[1000 * d + p for p in range(s, s + n)] for d, s, n in zip(documents, starts, lengths, strict=True)]
    assert run.windows(documents, starts, lengths) == expected
    assert run.windows([], [], []) == []


def test_neighbours_are_laid_out_by_sae(run: PublishedRun) -> None:
    indices, cosines = run.neighbours(260, NUM_SAES)
    assert indices.tolist() == [[260, -1, 2], [3, 4, 5]]
    assert cosines.shape == (NUM_SAES, K)
    indices, cosines = run.neighbours(260, NUM_SAES, minor=True)
    assert (indices.tolist()[0], cosines.tolist()[0]) == ([261, -1, -1], [0.75, 0, 0])


def test_the_vocabulary_is_bytes(run: PublishedRun) -> None:
    assert run.vocabulary == [b"\xff", b"\x00", b"</s>"]
    assert run.count("vocabulary") == 3


def test_histogram_edges_are_four_to_an_octave() -> None:
    edges = histogram_edges(2.0)
    assert len(edges) == HISTOGRAM_BINS + 1
    assert edges[0] == 2.0 * 2**-12
    np.testing.assert_allclose(edges[4:] / edges[:-4], 2.0)
