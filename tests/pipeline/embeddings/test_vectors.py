from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.embeddings import vectors
from pipeline.embeddings.vectors import encode_all
from pipeline.models.sentences import SentenceEncoder
from tests.support.sentences import make_encoder


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 1e-2)])
def test_many_texts_are_encoded_as_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, tolerance: float
) -> None:
    monkeypatch.setattr(vectors, "product_dtype", lambda *_: dtype)
    encoder = SentenceEncoder.load(make_encoder(tmp_path))
    texts = [f"{'bad ' * (n % 7)}weather {n}" for n in range(90)]
    told: list[int] = []
    found = encode_all(encoder, texts, told.append)
    np.testing.assert_allclose(found, np.concatenate([encoder.encode([text]) for text in texts]), atol=tolerance)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    assert sum(told) == len(texts)
