"""Vectors of many texts on all cores.

Shapes: N texts, D width.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from threadpoolctl import threadpool_limits

from pipeline.models.sentences import Floats, SentenceEncoder, batches_by_length


def encode_all(encoder: SentenceEncoder, texts: Sequence[str], workers: int, advance: Callable[[int], None]) -> Floats:
    """The vectors of the texts [N, D]; `advance` is told of each batch's texts.

    Batches are spread over `workers` threads with one of the matrix library's own each: half of the work is not in
    products of matrices, and would be done by one thread alone.
    """
    tokens = encoder.tokenize(texts)
    vectors_ND = np.empty((len(texts), encoder.width), np.float32)

    def encode(batch: list[int]) -> int:
        vectors_ND[batch] = encoder.encode_tokens(np.array([tokens[n] for n in batch]))
        return len(batch)

    with threadpool_limits(1), ThreadPoolExecutor(workers) as pool:
        for done in pool.map(encode, batches_by_length([len(ids) for ids in tokens])):
            advance(done)
    return vectors_ND
