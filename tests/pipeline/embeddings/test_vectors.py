from pathlib import Path

import numpy as np

from pipeline.embeddings.vectors import encode_all
from pipeline.models.sentences import SentenceEncoder
from tests.support.sentences import make_encoder


def test_many_texts_on_several_threads_are_encoded_as_one_by_one(tmp_path: Path) -> None:
    encoder = SentenceEncoder.load(make_encoder(tmp_path))
    texts = [f"{'bad ' * (n % 7)}weather {n}" for n in range(90)]
    told: list[int] = []
    found = encode_all(encoder, texts, 3, told.append)
    np.testing.assert_allclose(found, np.concatenate([encoder.encode([text]) for text in texts]), atol=1e-6)
    assert sum(told) == len(texts)
