"""The doctor finds what is wrong with a published run."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest
import torch
from safetensors.torch import load_file, save_file
from sqlalchemy import text
from sqlalchemy.orm import Session

from data import CONTRACT_VERSION
from data.arrow import write_arrow
from data.artifacts.features import EXAMPLE_KINDS, ExampleKind
from data.errors import ContractError
from data.layout import StorePaths
from data.manifests import hash_folder, write_manifest
from data.published.rows import row_file_path
from data.published.state import SAES_FOLDER, open_published
from data.sql.records import SAERecord
from pipeline.doctor import doctor
from pipeline.doctor.doctor import Doctor, run_doctor
from pipeline.stages import publish
from tests.support.fake_run import CONTEXT_LENGTH, fake_recipe
from tests.support.published import in_sql


@pytest.fixture
def store(copied_store: StorePaths) -> StorePaths:
    return copied_store


@pytest.fixture(autouse=True)
def without_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    """The made run's curves over strengths are made up; tests of whole runs compare those of models."""
    monkeypatch.setattr(doctor, "check_strengths", lambda *arguments: [])


def test_another_contract_version_is_refused(store: StorePaths) -> None:
    in_sql(store, lambda s: s.execute(text("UPDATE runs SET contract = 0")) and None)
    with pytest.raises(ContractError, match="published under contract version 0"):
        run_doctor(store, None)
    assert CONTRACT_VERSION != 0


def test_a_sound_run_holds(made: StorePaths, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_doctor(made, "fake", deep=True)
    shown = capsys.readouterr().out
    assert "DOES NOT HOLD" not in shown
    assert "1-relu-256: activations" in shown


def test_a_sequence_is_read_once_for_all_its_examples(made: StorePaths, monkeypatch: pytest.MonkeyPatch) -> None:
    tested, rows = Doctor(made, open_published(made, "fake")), []
    documents, positions = [0, 0, 0, 1, 0, 2], [9, CONTEXT_LENGTH + 20, 3, 0, 9, 4]
    alone = [tested._residuals_at([row], [position])[0] for row, position in zip(documents, positions, strict=True)]
    read = tested.model.residuals
    monkeypatch.setattr(tested.model, "residuals", lambda tokens_BL: rows.append(len(tokens_BL)) or read(tokens_BL))
    torch.testing.assert_close(tested._residuals_at(documents, positions), torch.stack(alone))
    assert sum(rows) == 4, "two of document 0, one of each of the others"
    assert not torch.equal(alone[0], alone[2])


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
