from collections.abc import Callable, Iterator

import numpy as np
import pytest
from fastapi.testclient import TestClient
from lancedb.table import LanceTable
from sqlalchemy import event

from backend.html.tokens import visible_text
from backend.published import selection
from backend.published.catalogue import OpenSAE
from backend.published.features import get_feature
from backend.published.selection import Selection, list_features, random_feature, scores_of
from data.published.rows import RowFile
from tests.support.fake_run import DEAD, NEGLIGIBLE, RARE
from tests.support.scores import SCORED


@pytest.fixture
def table(sae: OpenSAE) -> list[dict]:
    """Every feature of the SAE, read plainly."""
    return sae.run.tables.take("features", range(sae.row(0), sae.row(sae.num_features))).to_pylist()


@pytest.mark.parametrize("sort", ["index", "label", "density", "max", "mean"])
@pytest.mark.parametrize("order", ["asc", "desc"])
def test_lists_sort_as_python_does(sae, table, sort, order):
    found = [f.index for f in list_features(sae, Selection(sort=sort, order=order, per_page=200, minor=True)).features]
    rows = sorted(table, key=lambda row: row["index"])
    rows.sort(key=lambda row: row[sort], reverse=order == "desc")
    assert found == [row["index"] for row in rows]


@pytest.mark.parametrize(
    ("asked", "keep"),
    [
        (Selection(alive=True), lambda row: row["num_active"] > 0),
        (Selection(alive=False), lambda row: row["num_active"] == 0),
        (Selection(labelled=True), lambda row: row["label"] != ""),
        (Selection(labelled=False), lambda row: row["label"] == ""),
        (Selection(min_density=0.05), lambda row: row["density"] >= 0.05),
        (Selection(max_density=0.049), lambda row: row["density"] <= 0.049),
        (Selection(q="OXF"), lambda row: "oxf" in row["label"].lower()),
        (Selection(q="<svg"), lambda row: "<svg" in row["label"]),
        (Selection(q="%"), lambda row: "%" in row["label"]),
        (Selection(q="_"), lambda row: "_" in row["label"]),
        (Selection(q="' OR 1=1 --"), lambda row: "' or 1=1 --" in row["label"].lower()),
        (Selection(q="\\"), lambda row: "\\" in row["label"]),
    ],
)
def test_filters_keep_what_python_keeps(sae, table, asked, keep: Callable[[dict], bool]):
    found = list_features(sae, asked.changed(per_page=200, minor=True))
    assert {f.index for f in found.features} == {row["index"] for row in table if keep(row)}
    assert found.total == len(found.features)


def test_pages_follow_one_another_without_gap_or_overlap(sae):
    asked = Selection(sort="density", per_page=7, minor=True)
    pages = [list_features(sae, asked.changed(page=page)) for page in range(1, 11)]
    indices = [f.index for page in pages for f in page.features]
    assert sorted(indices) == list(range(sae.num_features))


def test_features_that_are_not_live_are_listed_when_they_are_asked_for(sae, table):
    kinds = {DEAD: "dead", RARE: "rare", NEGLIGIBLE: "negligible"}
    every, usual = (list_features(sae, Selection(per_page=200, minor=minor)) for minor in (True, False))
    assert {f.index for f in every.features} - {f.index for f in usual.features} == set(kinds)
    assert usual.total == sae.num_features - len(kinds)
    assert all(f.minor == (f.index in kinds) and f.kind == kinds.get(f.index, "") for f in every.features)
    assert [row["live"] for row in table] == [row["index"] not in kinds for row in table]


def test_dead_features_are_listed_by_their_own_filter_too(sae):
    assert [f.index for f in list_features(sae, Selection(alive=False)).features] == [DEAD]


@pytest.mark.parametrize(
    ("kind", "before"),
    [
        ("live", Selection()),
        ("live", Selection(alive=True)),
        ("dead", Selection(alive=False)),
        ("dead", Selection(alive=False, minor=True)),
        ("active", Selection(alive=True, minor=True)),
        ("all", Selection(minor=True)),
    ],
)
def test_what_alive_and_minor_ask_for_is_read_as_a_kind(sae, kind, before):
    named = list_features(sae, Selection(kind=kind, per_page=200))
    assert list_features(sae, before.changed(per_page=200)) == named
    asked = before.changed(per_page=200, page=2)
    assert asked.named() == Selection(kind=None if kind == "live" else kind, per_page=200, page=2)


@pytest.mark.parametrize("kind", ["live", "rare", "negligible", "dead", "active", "all"])
def test_a_kind_lists_its_own_features(sae, table, kind):
    kinds = {DEAD: "dead", RARE: "rare", NEGLIGIBLE: "negligible"}
    keep = {"all": {"live", *kinds.values()}, "active": {"live", "rare", "negligible"}}.get(kind, {kind})
    for more in ({}, {"alive": True}, {"minor": True}, {"alive": False}):
        found = list_features(sae, Selection(kind=kind, per_page=200, **more))
        assert {f.index for f in found.features} == {
            row["index"] for row in table if kinds.get(row["index"], "live") in keep
        }


def test_a_page_beyond_the_end_is_empty(sae):
    assert list_features(sae, Selection(page=1000)).features == []


def test_random_features_are_alive_and_differ(catalogue):
    drawn = {random_feature(list(catalogue.runs[0].saes), seed).name for seed in range(20)}
    assert len(drawn) > 5
    assert not any(name.endswith(f"/{DEAD}") for name in drawn)


def test_no_random_feature_is_rare_or_negligible_unless_asked(sae, monkeypatch):
    monkeypatch.setattr(selection, "RANDOM_DRAWS", 1)
    drawn = [random_feature([sae], seed) for seed in range(400)]
    assert None in drawn
    assert not any(feature.minor for feature in drawn if feature)
    every = {f.index for seed in range(400) if (f := random_feature([sae], seed, minor=True))}
    assert {RARE, NEGLIGIBLE} <= every
    assert DEAD not in every


def test_a_feature_reads_as_it_was_published(sae, table):
    feature = get_feature(sae, 3)
    assert feature.label == visible_text(table[3]["label"])
    assert [weight.token for weight in feature.promoted] == table[3]["promoted"]
    assert sum(feature.histogram) == feature.num_active
    assert np.isclose(feature.density, table[3]["density"])


@pytest.fixture
def reads(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Every read of LanceDB, SQL or a file of rows, as it happens."""
    seen: list[str] = []

    def note(name: str, plain: Callable) -> Callable:
        return lambda *args, **options: seen.append(name) or plain(*args, **options)

    for name in ("take_offsets", "search", "count_rows"):
        monkeypatch.setattr(LanceTable, name, note(name, getattr(LanceTable, name)))
    monkeypatch.setattr(RowFile, "take", note("rows", RowFile.take))
    engine, listener = client.app.state.library._engine, lambda *args: seen.append("sql")
    event.listen(engine, "before_cursor_execute", listener)
    yield seen
    event.remove(engine, "before_cursor_execute", listener)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/tiny/{sae}/9", 10),
        ("/tiny/{sae}/9?kind=interval", 10),
        ("/tiny/{sae}/9?context=full", 12),
        ("/tiny/{sae}/9?embed=1", 3),
        ("/tiny/{sae}", 3),
        ("/tiny/{sae}?sort=label_score&labelled=true&min_density=0.001", 3),
        ("/", 2),
        ("/search?q=a&sae={sae}", 6),
        ("/api/v1/search?q=ri&sae={sae}&in=label&min_density=0.001&per_page=100", 6),
    ],
)
def test_reads_of_a_page_do_not_depend_on_the_number_of_features(client, reads, path, expected):
    counts = []
    for sae in ("1-relu-64", "1-relu-256"):
        client.get(path.format(sae=sae))  # what is worked out once
        reads.clear()
        assert client.get(path.format(sae=sae)).status_code == 200
        counts.append(sorted(reads))
    assert counts[0] == counts[1]
    assert len(counts[0]) == expected


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_features_without_a_score_come_last_either_way(sae, table, order):
    found = list_features(sae, Selection(sort="label_score", order=order, per_page=200, minor=True)).features
    scored = sorted((row for row in table if row["label_score"] is not None), key=lambda row: row["index"])
    scored.sort(key=lambda row: row["label_score"], reverse=order == "desc")
    assert 0 < len(scored) < len(table)
    assert [f.index for f in found[: len(scored)]] == [row["index"] for row in scored]
    assert all(f.label_score is None for f in found[len(scored) :])


def test_scores_are_those_that_any_feature_has(sae, table):
    assert scores_of(sae) == ["label_precision", "label_recall", "specificity", "highest_r", "interest"]
    judged = {row["index"] for row in table if row["specificity"] is not None}
    assert judged
    assert judged <= set(SCORED)
