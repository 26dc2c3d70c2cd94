"""What a device has for a grid: memory, and operations each second of a training step.

Light to import: torch is asked where its answer is needed. Shapes: B rows, D width, F features.
"""

import time
from functools import cache

from pipeline.scaling.flops import flops_per_step
from pipeline.scaling.room import USABLE_SHARE, usable_memory

TIMED_STEPS = 2
TIMED_FEATURES = 8192
"""Of the step that is timed, at most: larger ones are about as fast."""


def free_memory(device: str) -> int:
    """Bytes that training may use on a device."""
    if device == "cpu":
        return usable_memory()
    import torch

    if device == "mps":  # its memory is the machine's, and Metal takes no more of it than it recommends
        left = torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
        return min(usable_memory(), int(USABLE_SHARE * left))
    return int(USABLE_SHARE * torch.cuda.mem_get_info(device)[0])


@cache
def flops_per_second(batch_size: int, width: int, num_features: int, device: str) -> float:
    """Operations each second of a training step as it begins, when all features are active: later ones are faster.

    Its dense products and Adam's pass over the weights are made on numbers of no meaning.
    """
    import torch

    from pipeline.models.onednn import product_dtype

    num_features = min(num_features, TIMED_FEATURES)
    low = product_dtype(torch.bfloat16, device)
    x_BD = torch.ones(batch_size, width, dtype=low, device=device)
    W_enc_FD, W_dec_FD = (torch.full((num_features, width), 1e-3, device=device) for _ in range(2))
    adam = torch.optim.Adam([W_enc_FD, W_dec_FD], lr=1e-4, fused=True)

    def step() -> float:
        start = time.perf_counter()
        encoder_FD, decoder_FD = W_enc_FD.to(low), W_dec_FD.to(low)
        acts_BF = x_BD @ encoder_FD.T
        error_BD = acts_BF @ decoder_FD - x_BD
        W_dec_FD.grad = (acts_BF.T @ error_BD).float()
        W_enc_FD.grad = ((error_BD @ decoder_FD.T).T @ x_BD).float()
        adam.step()
        float(W_enc_FD[0, 0])  # waits for a device that works ahead
        return time.perf_counter() - start

    seconds = min(step() for _ in range(1 + TIMED_STEPS))
    return flops_per_step(batch_size, width, num_features) / seconds
