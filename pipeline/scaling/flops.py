"""Operations of training, counted as dense products: what a GPU does, and what does not depend on how sparse it is."""

PRODUCTS = 5
"""Of [B, D] with [D, F] in one step: encoder and decoder forward; backward, the gradients of the decoder, of the
activations and of the encoder. None is needed for what is read. A test counts them."""


def flops_per_step(batch_size: int, width: int, num_features: int) -> float:
    """Multiplications and additions of one step."""
    return float(PRODUCTS * 2 * batch_size * width * num_features)
