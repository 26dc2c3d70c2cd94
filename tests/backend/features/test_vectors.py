"""A feature's vectors as a file, against the SAE's own weights."""

import io

import numpy as np
import pytest
import torch

from backend.features.vectors import TENSORS
from pipeline.models.sae import SAE


@pytest.mark.parametrize(("name", "index"), [("1-relu-64", 0), ("1-relu-256", 255), ("1-batchtopk-64", 7)])
def test_the_file_has_the_vectors_with_which_the_feature_is_computed(client, name, index):
    answer = client.get(f"/api/v1/features/tiny/{name}/{index}/vectors.npz")
    assert answer.headers["content-disposition"] == f'attachment; filename="tiny_{name}_{index}.npz"'
    found = np.load(io.BytesIO(answer.content))
    assert set(found.files) == set(TENSORS)
    sae = SAE.load(client.app.state.library.catalogue().saes["tiny", name].folder)
    x_BD = torch.randn(50, sae.header.width, generator=torch.Generator().manual_seed(0)) * 10
    pre_B = x_BD.numpy() @ found["encoder"] + found["bias"]
    activation_B = np.where(pre_B > found["threshold"], pre_B, 0)
    np.testing.assert_allclose(activation_B, sae.encode(x_BD)[:, index], rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(found["decoder"], sae.W_dec_FD[index])


def test_the_page_offers_the_file_and_an_unknown_feature_has_none(client):
    assert "/api/v1/features/tiny/1-relu-64/3/vectors.npz" in client.get("/tiny/1-relu-64/3").text
    assert client.get("/api/v1/features/tiny/1-relu-64/64/vectors.npz").status_code == 404


def test_weights_that_are_not_here_are_named_with_the_remedy(client, monkeypatch, tmp_path):
    monkeypatch.setattr("backend.published.catalogue.OpenSAE.folder", tmp_path)
    answer = client.get("/api/v1/features/tiny/1-relu-64/3/vectors.npz")
    assert (answer.status_code, "publish the run 'fake' again" in answer.text) == (404, True)
