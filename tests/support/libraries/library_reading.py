"""How each library reads its SAEs: activations, reconstruction and norms of its decoder. For its environment alone."""

import torch


def read_saelens(folder, x):
    from sae_lens import SAE

    sae = SAE.load_from_disk(folder)
    acts = sae.encode(x)
    rescaled = getattr(sae.cfg, "rescale_acts_by_decoder_norm", False)  # activations have the norm already
    return acts, sae.decode(acts), torch.ones(sae.cfg.d_sae) if rescaled else sae.W_dec.norm(dim=1)


def read_sparsify(folder, x):
    from sparsify import SparseCoder

    sae = SparseCoder.load_from_disk(folder)
    found = sae.encode(x)
    acts = torch.zeros(len(x), sae.num_latents).scatter(1, found.top_indices, found.top_acts)
    return acts, sae.decode(found.top_acts, found.top_indices), sae.W_dec.norm(dim=1)


def read_dictionary_learning(folder, x):
    from dictionary_learning.utils import load_dictionary

    sae, _ = load_dictionary(str(folder), device="cpu")
    acts = sae.encode(x)
    decoder = sae.W_dec if hasattr(sae, "W_dec") else sae.decoder.weight.T
    return acts, sae.decode(acts), decoder.norm(dim=1)


def read(library, folder, x):
    """The SAE of a folder on rows, by its library."""
    return globals()[f"read_{library}"](folder, x)
