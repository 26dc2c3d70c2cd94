"""SAEs of other libraries, folded, against the formulas of these libraries."""

import torch
from torch import Tensor

from pipeline.formats.foreign import Foreign
from pipeline.models.sae import SAE, SAEHeader

D, F = 24, 40


def random_tensor(*shape: int, seed: int) -> Tensor:
    """Normal values, float32."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def folded(found: Foreign, input_scale: float | None = None) -> SAE:
    """The SAE as one of ours."""
    return found.fold(name="3-x-40", model="tiny", layer=3, activation_scale=1.0, input_scale=input_scale)


def agree(sae: SAE, x_ND: Tensor, acts_NF: Tensor, decoded_ND: Tensor) -> None:
    """Assert that activations and reconstructions are as expected, to 1e-5, and that it is like one of ours.

    acts_NF: times the norm of the direction that each of them writes.
    """
    assert (sae.W_dec_FD.norm(dim=1) - 1).abs().max() < 1e-5
    found_NF = sae.encode(x_ND)
    scale = max(1.0, float(acts_NF.abs().max()))
    assert (found_NF - acts_NF).abs().max() < 1e-5 * scale
    assert 0 < (acts_NF > 0).double().mean() < 1
    assert (sae.reconstruct(x_ND) - decoded_ND).abs().max() < 1e-5 * max(1.0, float(decoded_ND.abs().max()))
    assert torch.equal(found_NF > 0, acts_NF > 0)


def principal_sae(x_ND: Tensor, num_directions: int, layer: int = 1) -> SAE:
    """An SAE that fits these rows: two features, forth and back, for each of their first principal directions."""
    mean_D = x_ND.mean(0)
    directions = torch.linalg.svd(x_ND - mean_D, full_matrices=False).Vh[:num_directions]
    W_FD = torch.cat([directions, -directions]).contiguous()
    header = SAEHeader("principal", "relu", "relu", len(W_FD), x_ND.shape[1], "tiny", layer)
    return SAE(header, W_FD, -W_FD @ mean_D, W_FD.clone(), mean_D, torch.zeros(len(W_FD)))
