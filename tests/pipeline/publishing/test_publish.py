import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from safetensors.torch import load_file, save_file
from sqlalchemy import text
from sqlalchemy.orm import Session

from data import CONTRACT_VERSION
from data.arrow import read_arrow, write_arrow
from data.artifacts.corpus import TokenizedCorpus
from data.artifacts.features import EXAMPLE_KINDS, EXAMPLES_FILE, ExampleKind
from data.artifacts.scaling import ScalingReport
from data.errors import ArtifactError, ConfigError, ContractError, StorageError
from data.layout import StorePaths
from data.manifests import hash_folder, load_manifest, write_manifest
from data.published.maps import PublishedMap
from data.published.rows import row_file_path
from data.published.schemas import TOKENS_PER_CHUNK
from data.published.state import SAES_FOLDER, Published, open_published
from data.published.tables import PublishedRun, write_table
from data.published.terms import terms
from data.sql.database import connect, database_url
from data.sql.records import ListEntryRecord, ListRecord, PublishedRunRecord, SAERecord
from pipeline.commands.removing import unpublish
from pipeline.doctor import doctor
from pipeline.doctor.doctor import run_doctor
from pipeline.models.sae import load_header
from pipeline.publishing import columns, corpus_tables, folder, tables
from pipeline.publishing.folder import _copy_sae, finite, thin
from pipeline.publishing.searchable import NUM_TEXTS
from pipeline.stage import alone
from pipeline.stages import publish
from tests.support.fake_run import fake_recipe
from tests.support.fakes import publish_fake_run
from tests.support.models import tiny_sae


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> StorePaths:
    store = StorePaths(tmp_path_factory.mktemp("made") / "store")
    publish_fake_run(store)
    return store


@pytest.fixture
def store(made: StorePaths, tmp_path: Path) -> StorePaths:
    """A copy of a store with a published run, to do harm to."""
    shutil.copytree(made.root, tmp_path / "store")
    return StorePaths(tmp_path / "store")


@pytest.fixture(autouse=True)
def without_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    """The made run's curves over strengths are made up; tests of whole runs compare those of models."""
    monkeypatch.setattr(doctor, "check_strengths", lambda *arguments: [])


def tables_of(published: Published) -> PublishedRun:
    return PublishedRun(published.folder)


def in_sql(store: StorePaths, work: Callable[[Session], None]) -> None:
    engine = connect(database_url(store))
    with Session(engine) as session, session.begin():
        work(session)
    engine.dispose()


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


def test_unpublishing_removes_the_run_and_leaves_what_people_made(store: StorePaths) -> None:
    before = open_published(store)
    noon = datetime(2026, 1, 1, 12)
    mine = {"id": "a", "secret_hash": "", "name": "mine", "note": "", "created": noon, "changed": noon}
    entry = {"list_id": "a", "position": 0, "model": "tiny", "sae": "1-relu-64", "index": 3, "note": "look"}
    in_sql(store, lambda s: s.add_all([ListRecord(**mine), ListEntryRecord(**entry)]))
    with pytest.raises(ConfigError, match="there is no published run 'other': use one of fake"):
        unpublish(store, "other")
    assert open_published(store).manifest == before.manifest
    unpublish(store, "fake")
    assert not before.folder.parent.exists()
    with pytest.raises(ArtifactError, match="nothing is published"):
        open_published(store)
    engine = connect(database_url(store))
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM saes")).scalar_one() == 0
        assert connection.execute(text("SELECT note FROM list_entries")).scalars().all() == ["look"]
    engine.dispose()
    with pytest.raises(ConfigError, match="there is no published run 'fake': nothing is published here"):
        unpublish(store, "fake")
    publish.run(fake_recipe(), store.run("fake"))
    assert open_published(store).record.key == before.record.key


def test_a_run_is_not_unpublished_while_it_is_published(store: StorePaths) -> None:
    before = open_published(store)
    with (
        alone(store.run("fake"), "publish"),
        pytest.raises(ArtifactError, match="another command is working on stage 'publish' of run 'fake'"),
    ):
        unpublish(store, "fake")
    assert open_published(store).manifest == before.manifest
    with pytest.raises(ConfigError, match="there is no published run"):
        unpublish(store, "other")
    assert not store.run("other").root.exists()
    shutil.rmtree(store.run("fake").root)
    unpublish(store, "fake")
    assert not store.run("fake").root.exists()


def test_published_files_that_cannot_be_removed_are_told(store: StorePaths, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = open_published(store).folder.parent

    def refuse(path: Path, ignore_errors: bool = False) -> None:
        if not ignore_errors:
            raise PermissionError(13, "Permission denied", str(path))

    said = rf"'fake' is off the pages, but {folder} cannot be removed .*: remove it"
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", refuse)
        with pytest.raises(StorageError, match=said):
            unpublish(store, "fake")
    with pytest.raises(ArtifactError, match="nothing is published"):
        open_published(store)
    shutil.rmtree(folder)
    publish.run(fake_recipe(), store.run("fake"))
    unpublish(store, "fake")


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


def test_another_contract_version_is_refused(store: StorePaths) -> None:
    in_sql(store, lambda s: s.execute(text("UPDATE runs SET contract = 0")) and None)
    with pytest.raises(ContractError, match="published under contract version 0"):
        run_doctor(store, None)
    assert CONTRACT_VERSION != 0


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


# ---- The doctor finds what is wrong


def test_a_sound_run_holds(made: StorePaths, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_doctor(made, "fake", deep=True)
    shown = capsys.readouterr().out
    assert "DOES NOT HOLD" not in shown
    assert "1-relu-256: activations" in shown


def finds(store: StorePaths, what: str, capsys: pytest.CaptureFixture[str], deep: bool = False) -> bool:
    """Whether the doctor fails, and names `what`."""
    passed = run_doctor(store, None, deep)
    verdict = capsys.readouterr().out.partition("does not hold:")[2].replace("\n", " ")
    return not passed and what in verdict


def change_weights(store: StorePaths, name: str, change: Callable[[dict[str, object]], None]) -> None:
    path = open_published(store).folder / SAES_FOLDER / "1-relu-64" / "sae.safetensors"
    weights = load_file(path)
    weights[name] = weights[name].clone()
    change(weights)  # type: ignore[arg-type]
    save_file(weights, path)


def test_a_decoder_that_is_not_of_norm_one_is_found(store: StorePaths, capsys: pytest.CaptureFixture[str]) -> None:
    change_weights(store, "W_dec", lambda weights: weights["W_dec"][3].mul_(1.001))  # type: ignore[index]
    assert finds(store, "1-relu-64: decoder norms", capsys)


def test_a_changed_encoder_is_found(store: StorePaths, capsys: pytest.CaptureFixture[str]) -> None:
    change_weights(store, "W_enc", lambda weights: weights["W_enc"].mul_(1.05))  # type: ignore[attr-defined]
    assert finds(store, "1-relu-64: activations", capsys)


def test_shuffled_examples_are_found(store: StorePaths, capsys: pytest.CaptureFixture[str]) -> None:
    """Their values shuffled in place, so that no file has another size."""
    path = row_file_path(open_published(store).folder, "examples")
    batches = pa.ipc.open_file(path.read_bytes()).read_all().to_batches()
    for name in ("activation", "pre_activation"):
        batches = [
            batch.set_column(batch.schema.names.index(name), batch.schema.field(name), batch[name][::-1])
            for batch in batches
        ]
    write_arrow(path, batches[0].schema, batches)
    assert finds(store, "1-batchtopk-64: activations", capsys)


def change_rows(store: StorePaths, table: str, change: Callable[[list[dict[str, Any]]], None]) -> None:
    """Rewrite the rows of a published table that pages and the doctor read, as if they had been published so."""
    published = open_published(store)
    path = row_file_path(published.folder, table)
    found = pa.ipc.open_file(path.read_bytes()).read_all()
    rows = found.to_pylist()
    change(rows)
    write_arrow(path, found.schema, pa.Table.from_pylist(rows, schema=found.schema).to_batches())
    write_manifest(published.folder, replace(published.manifest, files=hash_folder(published.folder)))


@pytest.mark.parametrize(("kind", "other"), [("top", "bottom"), ("bottom", "top")])
def test_an_example_that_is_not_the_extreme_is_found(
    kind: ExampleKind, other: ExampleKind, store: StorePaths, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first example of a kind gives way to another token of the feature, whose activation is true."""

    def change(rows: list[dict[str, Any]]) -> None:
        first = {(row["row"], row["kind"]): row for row in rows if row["rank"] == 0}
        for (feature, number), row in first.items():
            if number == EXAMPLE_KINDS.index(kind) and (feature, EXAMPLE_KINDS.index(other)) in first:
                taken = first[feature, EXAMPLE_KINDS.index(other)]
                row |= {name: taken[name] for name in row if name not in {"row", "kind", "rank", "band"}}

    change_rows(store, "examples", change)
    assert finds(store, f"1-relu-64: {kind}", capsys)


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("maxima", lambda row: row | {"max": row["max"] * 0.9}),
        ("bands", lambda row: row | {"band_counts": [0] * 5}),
        ("shortages", lambda row: row | {"band_counts": [88] * 5}),
        ("shortages", lambda row: row | {"num_above_floor": row["num_above_floor"] + 1}),
    ],
)
def test_false_counts_and_maxima_are_found(
    what: str,
    change: Callable[[dict[str, Any]], dict[str, Any]],
    store: StorePaths,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def change_all(rows: list[dict[str, Any]]) -> None:
        rows[:] = [change(row) for row in rows]

    change_rows(store, "features", change_all)
    assert finds(store, f"1-relu-64: {what}", capsys)


def test_a_changed_metric_is_found(store: StorePaths, capsys: pytest.CaptureFixture[str]) -> None:
    def change(session: Session) -> None:
        sae = session.query(SAERecord).filter_by(name="1-relu-256").one()
        sae.metrics = {**sae.metrics, "explained_variance": sae.metrics["explained_variance"] + 0.02}

    in_sql(store, change)
    assert finds(store, "1-relu-256: explained variance", capsys)
    shutil.rmtree(open_published(store).folder)  # as the doctor says
    publish.run(fake_recipe(), store.run("fake"))
    assert run_doctor(store, None)


def change_metrics(store: StorePaths, name: str, **metrics: object) -> None:
    """Other metrics of an SAE in SQL, which are the ones that pages show."""

    def change(session: Session) -> None:
        sae = session.query(SAERecord).filter_by(name=name).one()
        sae.metrics = {**sae.metrics, **metrics}

    in_sql(store, change)


def test_a_loss_that_another_sample_does_not_give_is_found(
    store: StorePaths, capsys: pytest.CaptureFixture[str]
) -> None:
    change_metrics(store, "1-relu-256", loss_added=2.0, loss_added_ci=[1.9, 2.1])
    assert finds(store, "1-relu-256: loss added", capsys)


def test_losses_without_an_interval_are_not_compared_and_that_is_said(
    store: StorePaths, capsys: pytest.CaptureFixture[str]
) -> None:
    change_metrics(store, "1-relu-256", loss_added_ci=None, num_ce_documents=1)
    run_doctor(store, None)
    said = capsys.readouterr()
    assert "1-relu-64: loss added" in said.out
    assert "1-relu-256: loss added" not in said.out
    assert "fewer than two held-out documents" in said.err


def test_a_flipped_byte_is_found_by_reading_every_byte(store: StorePaths, capsys: pytest.CaptureFixture[str]) -> None:
    path = open_published(store).folder / "rows" / "neighbours.arrow"
    content = bytearray(path.read_bytes())
    content[10] ^= 1
    path.write_bytes(content)
    assert finds(store, "files", capsys, deep=True)
