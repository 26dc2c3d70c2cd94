"""What is published: tables, what takes their place, and what keeps them from being published."""

import shutil
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import text

from data.arrow import read_arrow, write_arrow
from data.artifacts.corpus import TokenizedCorpus
from data.artifacts.features import EXAMPLE_KINDS, EXAMPLES_FILE
from data.artifacts.scaling import ScalingReport
from data.errors import ArtifactError, ConfigError
from data.layout import StorePaths
from data.manifests import load_manifest
from data.published.maps import PublishedMap
from data.published.schemas import TOKENS_PER_CHUNK
from data.published.state import open_published
from data.published.tables import PublishedRun, write_table
from data.published.terms import terms
from data.sql.database import connect, database_url
from data.sql.records import ListRecord, PublishedRunRecord
from pipeline import processes
from pipeline.models.sae import load_header
from pipeline.publishing import columns, corpus_tables, folder, tables
from pipeline.publishing.folder import _copy_sae, finite, thin
from pipeline.publishing.searchable import NUM_TEXTS
from pipeline.stages import publish
from tests.support.fake_run import fake_recipe
from tests.support.fakes import publish_fake_run
from tests.support.models import tiny_sae
from tests.support.published import in_sql, tables_of


@pytest.fixture
def store(copied_store: StorePaths) -> StorePaths:
    return copied_store


def test_every_feature_finds_its_examples(made: StorePaths) -> None:
    published = open_published(made)
    run = tables_of(published)
    for record in published.record.saes:
        artifact = read_arrow(made.run("fake").stage("examples") / record.name / EXAMPLES_FILE).to_pylist()
        for index in (0, 5, 6, record.num_features - 1):
            feature = run.take("features", [record.first_row + index]).to_pylist()[0]
            assert (feature["sae"], feature["index"]) == (record.name, index)
            for kind in range(len(EXAMPLE_KINDS)):
                found = run.examples(feature["first_example"], feature["num_examples"], kind).to_pylist()
                expected = [row for row in artifact if (row["index"], row["kind"]) == (index, kind)]
                assert [row.pop("row") for row in found] == [record.first_row + index] * len(expected)
                assert found == [{k: v for k, v in row.items() if k != "index"} for row in expected]


def test_published_tokens_are_those_of_the_corpus(made: StorePaths) -> None:
    corpus = TokenizedCorpus(made.run("fake").stage("tokenize"))
    run = tables_of(open_published(made))
    rows = list(range(len(corpus.documents)))
    lengths = corpus.documents["num_tokens"].to_pylist()
    assert run.windows(rows, [0] * len(rows), lengths) == [corpus.document_tokens(row).tolist() for row in rows]
    assert run.count("chunks") == sum(-(-length // TOKENS_PER_CHUNK) for length in lengths)
    assert run.vocabulary[1] == b"</s>"
    assert b"<script>alert(1)</script>" in run.vocabulary


def test_points_of_the_map_are_where_their_features_are(made: StorePaths) -> None:
    published = open_published(made)
    run, map_ = tables_of(published), PublishedMap(published.folder / "map")
    columns = ["index", "x", "y", "density", "label_score"]
    for record in published.record.saes:
        points = map_.points(map_.world.view, record.position, minor=True)
        rows = range(record.first_row, record.first_row + record.num_features)
        live = [f for f in run.take("features", rows, columns).to_pylist() if f["x"] is not None]
        order = np.argsort(points["index"])
        found = {name: points[name][order].tolist() for name in columns}
        found["label_score"] = [None if np.isnan(score) else score for score in found["label_score"]]
        assert found == {name: [f[name] for f in live] for name in columns}
    assert map_.num_points == run.count_features("num_active > 0 AND NOT negligible AND NOT rare")
    assert map_.num_minor == run.count_features("rare OR negligible") == 5
    assert map_.num_points + map_.num_minor == published.manifest.counts["tables"]["map"]


def test_features_are_found_by_their_label_promoted_tokens_and_examples(made: StorePaths) -> None:
    run = tables_of(open_published(made))
    rows = range(run.count("features"))
    features = run.take("features", rows).to_pylist()
    vocabulary = run.vocabulary
    for row, feature, found in zip(rows, features, run.take("search", rows).to_pylist(), strict=True):
        assert (found["row"], found["sae"], found["alive"]) == (row, feature["sae"], feature["num_active"] > 0)
        assert all(found[kind] == feature[kind] for kind in ("live", "rare", "negligible"))
        assert found["density"] == feature["density"]
        assert sorted(found["label"]) == sorted(terms([feature["label"]]))
        promoted = [vocabulary[token].decode(errors="ignore") for token in feature["promoted"]]
        assert sorted(found["promoted"]) == sorted(terms(promoted))
        assert sorted(found["examples"]) == sorted(terms(found["texts"]))
        tops = run.examples(feature["first_example"], feature["num_examples"], 0).to_pylist()[: len(found["texts"])]
        assert len(found["texts"]) == min(NUM_TEXTS, feature["num_examples"][0])
        for top, around in zip(tops, found["texts"], strict=True):
            window = run.windows([top["document"]], [top["position"]], [1])[0]
            assert vocabulary[window[0]].decode(errors="ignore") in around


@pytest.mark.parametrize("limit", [1, 10_000])
def test_batches_of_any_size_give_the_same_tables(
    store: StorePaths, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tables_of(open_published(store))
    expected = {name: before.take(name, range(0, before.count(name), 7)).to_pylist() for name in tables_names(before)}
    monkeypatch.setattr(corpus_tables, "TOKENS_PER_BATCH", limit)
    for module in (columns, tables):
        monkeypatch.setattr(module, "TABLE_BATCH_ROWS", max(limit, 97))
    if limit == 1:  # in other processes
        monkeypatch.setattr(processes, "AT_ONCE", 97)
        monkeypatch.setattr(processes, "WORTHWHILE", 0)
    shutil.rmtree(open_published(store).folder)
    publish.run(fake_recipe(), store.run("fake"))
    after = tables_of(open_published(store))
    assert {name: after.take(name, range(0, after.count(name), 7)).to_pylist() for name in expected} == expected


def tables_names(run: PublishedRun) -> list[str]:
    return ["features", "examples", "neighbours", "documents", "chunks", "vocabulary", "search"]


def test_the_report_of_scaling_laws_is_published_as_it_is(made: StorePaths) -> None:
    published = open_published(made)
    counts = load_manifest(made.run(published.record.name).stage("scale")).counts

    assert published.record.corpus["scale"] == counts
    assert ScalingReport.from_json(counts).why_none


def test_a_second_publish_does_nothing(store: StorePaths) -> None:
    before = open_published(store)
    times = {path: path.stat().st_mtime_ns for path in before.folder.rglob("*")}
    publish.run(fake_recipe(), store.run("fake"))
    assert {path: path.stat().st_mtime_ns for path in before.folder.rglob("*")} == times
    assert open_published(store).manifest == before.manifest


def test_a_republish_replaces_the_run_and_leaves_what_people_made(store: StorePaths) -> None:
    before = open_published(store)
    noon = datetime(2026, 1, 1, 12)
    mine = {"id": "a", "secret_hash": "", "name": "mine", "note": "", "created": noon, "changed": noon}
    in_sql(store, lambda s: s.add(ListRecord(**mine)))
    publish.run(fake_recipe(evaluate={"max_cross_entropy_tokens": 7}), store.run("fake"))
    after = open_published(store)
    assert after.record.key != before.record.key
    assert after.record.recipe["evaluate"] == {"max_cross_entropy_tokens": 7}
    assert [(sae.id, sae.name) for sae in after.record.saes] == [(sae.id, sae.name) for sae in before.record.saes]
    engine = connect(database_url(store))
    with engine.connect() as connection:
        assert connection.execute(text("SELECT name FROM lists")).scalars().all() == ["mine"]
    engine.dispose()


def test_a_server_can_finish_what_it_began_before_a_republish(store: StorePaths) -> None:
    """The state that was visible stays until the next publish, so that a request never loses its tables."""
    keys, opened = [open_published(store).record.key], tables_of(open_published(store))
    expected = opened.take("examples", [3]).to_pylist()
    for tokens in (7, 8):
        lazy = tables_of(open_published(store))  # opens nothing before it is asked
        publish.run(fake_recipe(evaluate={"max_cross_entropy_tokens": tokens}), store.run("fake"))
        keys.append(open_published(store).record.key)
        assert lazy.take("examples", [3]).to_pylist() == expected
        assert {path.name for path in open_published(store).folder.parent.iterdir()} == set(keys[-2:])


def test_a_publish_that_fails_leaves_the_earlier_state(store: StorePaths, monkeypatch: pytest.MonkeyPatch) -> None:
    before = open_published(store)

    def fail(*args: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(folder, "write_table", fail)
    with pytest.raises(Exception, match="the disk is full"):
        publish.run(fake_recipe(evaluate={"max_cross_entropy_tokens": 7}), store.run("fake"))
    assert open_published(store).manifest == before.manifest
    monkeypatch.setattr(folder, "write_table", write_table)
    publish.run(fake_recipe(evaluate={"max_cross_entropy_tokens": 7}), store.run("fake"))
    assert open_published(store).record.key != before.record.key


class AtOnce(ThreadPoolExecutor):
    """Has done all work when it is given."""

    def submit(self, work: Any, /, *given: Any, **named: Any) -> Future[Any]:
        future = super().submit(work, *given, **named)
        wait([future])
        return future


def test_a_search_that_cannot_be_indexed_ends_it_at_once(store: StorePaths, monkeypatch: pytest.MonkeyPatch) -> None:
    before, written = open_published(store), []

    def fail(_: Path) -> None:
        raise OSError(28, "No space left on device")

    def write(place: Path, name: str, *given: Any) -> int:
        written.append(name)
        return write_table(place, name, *given)

    monkeypatch.setattr(folder, "ThreadPoolExecutor", AtOnce)
    monkeypatch.setattr(folder, "index_search", fail)
    monkeypatch.setattr(folder, "write_table", write)
    for later in ("write_map", "write_token_index"):
        monkeypatch.setattr(folder, later, lambda *given: pytest.fail("publish goes on"))
    with pytest.raises(Exception, match="the disk is full"):
        publish.run(fake_recipe(evaluate={"max_cross_entropy_tokens": 7}), store.run("fake"))
    assert written == ["search"]
    assert open_published(store).manifest == before.manifest
    shown = [path.name for path in before.folder.parent.iterdir() if not path.name.startswith(".")]
    assert shown == [before.folder.name]


@pytest.mark.parametrize("lost", ["folder", "rows", "both"])
def test_what_was_lost_is_published_again(store: StorePaths, lost: str) -> None:
    before = open_published(store)
    if lost != "rows":
        shutil.rmtree(before.folder)
    if lost != "folder":
        in_sql(store, lambda session: session.delete(session.get(PublishedRunRecord, before.record.id)))
    publish.run(fake_recipe(), store.run("fake"))
    assert open_published(store).record.key == before.record.key


def test_weights_are_published_under_the_name_that_the_model_has_now(tmp_path: Path) -> None:
    tiny_sae().save(tmp_path / "trained")
    _copy_sae(tmp_path / "trained", tmp_path / "published", "renamed")
    trained, published = (load_header(tmp_path / name) for name in ("trained", "published"))
    assert published == replace(trained, model="renamed") != trained
    weights = [(tmp_path / name / "sae.safetensors").read_bytes() for name in ("trained", "published")]
    assert weights[0] == weights[1]


def test_an_address_of_another_run_is_refused_before_any_work(store: StorePaths) -> None:
    with pytest.raises(ConfigError, match=r"/tiny/1-relu-64 and .* belong to run 'fake' already"):
        publish_fake_run(store, name="other")
    assert not store.run("other").partial("publish").exists()
    publish_fake_run(store, name="other", model="tiny-two")
    assert open_published(store).record.name == "other"
    assert open_published(store, "fake").record.name == "fake"


def test_examples_in_the_wrong_order_are_refused(store: StorePaths) -> None:
    path = store.run("fake").stage("examples") / "1-relu-64" / EXAMPLES_FILE
    table = read_arrow(path)
    upside_down = table.take(np.arange(len(table))[::-1].copy())
    write_arrow(path, table.schema, upside_down.to_batches())
    shutil.rmtree(open_published(store).folder)
    with pytest.raises(ArtifactError, match="1-relu-64"):
        publish.run(fake_recipe(), store.run("fake"))


def test_nothing_published_and_unknown_names_say_what_to_do(made: StorePaths, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="monosema run --recipe sample"):
        open_published(StorePaths(tmp_path / "empty"))
    with pytest.raises(ConfigError, match="use one of fake"):
        open_published(made, "nonsense")


def test_curves_are_thinned_and_numbers_finite() -> None:
    assert thin(list(range(1000)), 200)[0] == 0
    assert thin(list(range(1000)), 200)[-1] == 999
    assert len(thin(list(range(1000)), 200)) == 200
    assert [thin(list(range(n)), 200) for n in (0, 1, 3)] == [[], [0], [0, 1, 2]]
    assert finite({"a": [float("nan"), 1.5], "b": float("inf")}) == {"a": [None, 1.5], "b": None}
