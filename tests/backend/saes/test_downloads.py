"""What is taken away is read back: weights as published, features as the tables hold them."""

import io
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient
from safetensors.numpy import load as load_safetensors

from backend.published.catalogue import OpenSAE
from backend.saes import downloads

SAE = "/api/v1/saes/tiny/1-relu-256"


@pytest.fixture
def sae(client: TestClient) -> OpenSAE:
    found: OpenSAE = client.app.state.library.catalogue().saes["tiny", "1-relu-256"]
    return found


@pytest.mark.parametrize("vectors", [False, True])
@pytest.mark.parametrize("rows", [100, 4096])
def test_features_as_parquet_are_those_of_the_tables(client, sae, monkeypatch, vectors: bool, rows: int):
    monkeypatch.setattr(downloads, "ROWS_PER_BATCH", rows)
    answer = client.get(f"{SAE}/features.parquet?vectors={str(vectors).lower()}")
    assert answer.status_code == 200
    file = pq.ParquetFile(io.BytesIO(answer.content))
    assert file.metadata.num_row_groups == -(-256 // rows)
    columns = [*downloads.PARQUET_COLUMNS, *(["vector"] if vectors else [])]
    expected = sae.run.tables.take("features", range(sae.row(0), sae.row(256)), columns)
    assert file.read().to_pylist() == expected.to_pylist()
    said = file.schema_arrow.metadata
    assert (said[b"monosema.sae"], said[b"monosema.model"]) == (b"1-relu-256", b"tiny")


def test_vectors_are_the_decoder_of_the_weights_that_are_downloaded(client):
    table = pq.read_table(io.BytesIO(client.get(f"{SAE}/features.parquet?vectors=true").content))
    weights = load_safetensors(client.get(f"{SAE}/sae.safetensors").content)
    np.testing.assert_allclose(np.stack(table["vector"].to_numpy()), weights["W_dec"], atol=1e-6)
    assert table["index"].to_pylist() == list(range(256))


def test_a_batch_holds_no_more_than_its_limit(sae, monkeypatch):
    """Of vectors: the wider the model, the fewer rows at once."""
    monkeypatch.setattr(downloads, "VALUES_PER_BATCH", 32 * 10)
    file = pq.ParquetFile(io.BytesIO(b"".join(downloads.parquet_of(sae, vectors=True))))
    assert [file.metadata.row_group(group).num_rows for group in range(3)] == [10, 10, 10]


def test_weights_are_the_published_files_under_sensible_names(client, sae):
    for name in ("cfg.json", "sae.safetensors"):
        answer = client.get(f"{SAE}/{name}", headers={"accept-encoding": "gzip"})
        assert answer.content == (sae.folder / name).read_bytes()
        assert answer.headers["content-disposition"] == f'attachment; filename="tiny_1-relu-256_{name}"'
        assert int(answer.headers["content-length"]) == len(answer.content)
    part = client.get(f"{SAE}/sae.safetensors", headers={"range": "bytes=8-15"})
    assert (part.status_code, part.content) == (206, (sae.folder / "sae.safetensors").read_bytes()[8:16])


def test_the_downloaded_folder_loads_as_an_sae(client, tmp_path):
    from pipeline.models import sae as models_sae

    for name in ("cfg.json", "sae.safetensors"):
        (tmp_path / name).write_bytes(client.get(f"{SAE}/{name}").content)
    loaded = models_sae.SAE.load(tmp_path)
    assert (loaded.header.num_features, loaded.header.name) == (256, "1-relu-256")


def test_every_link_of_the_page_is_a_file_and_described(client):
    described = json.dumps(client.get("/api/v1/openapi.json").json()["paths"])
    page = client.get("/tiny/1-relu-256").text
    for file in downloads.downloads(client.app.state.library.catalogue().saes["tiny", "1-relu-256"]):
        assert f'href="{file.href}"' in page
        answer = client.get(file.href)
        assert answer.status_code == 200
        assert answer.headers["content-disposition"].startswith("attachment")
        assert file.bytes in (None, len(answer.content))
        assert file.href.split("/")[-1].split("?")[0] in described
    docs = client.get("/docs").text
    assert "features.parquet" in docs
    assert "sae.safetensors" in docs


def test_what_is_not_there_is_a_problem(client):
    for path in ("tiny/none/cfg.json", "tiny/none/features.parquet", "tiny/1-relu-256/other.bin"):
        answer = client.get(f"/api/v1/saes/{path}")
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/problem+json"
    assert client.get(f"{SAE}/features.parquet?vectors=perhaps").status_code == 422
