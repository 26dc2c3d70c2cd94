"""A script for the environment of other libraries: makes SAEs with them, and reads those that are given.

    python library_saes.py make KIND FOLDER X.safetensors OUT.safetensors
    python library_saes.py read KIND FOLDER X.safetensors OUT.safetensors

X holds rows `x`; OUT gets the library's own activations `acts`, reconstruction `decoded` and the norms of its decoder.
"""

import json
import sys
from pathlib import Path

import torch
from library_reading import read
from safetensors.torch import load_file, save_file

FEATURES, K = 48, 6


def randomise(module):
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in sorted(module.named_parameters()):
            scale = 0.3 if parameter.ndim == 1 else 1.0
            parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))
            if "threshold" in name:
                parameter.abs_()


def make_saelens(kind, folder, width):
    from sae_lens import saes

    name, *options = kind.split("+")
    common = {"d_in": width, "d_sae": FEATURES, "normalize_activations": options[0] if options else "none"}
    classes = {
        "standard": (saes.StandardSAE, saes.StandardSAEConfig, {}),
        "jumprelu": (saes.JumpReLUSAE, saes.JumpReLUSAEConfig, {}),
        "gated": (saes.GatedSAE, saes.GatedSAEConfig, {}),
        "topk": (saes.TopKSAE, saes.TopKSAEConfig, {"k": K}),
        "rescaled_topk": (saes.TopKSAE, saes.TopKSAEConfig, {"k": K, "rescale_acts_by_decoder_norm": True}),
        "batchtopk": (saes.BatchTopKTrainingSAE, saes.BatchTopKTrainingSAEConfig, {"k": K}),
        "matryoshka": (
            saes.MatryoshkaBatchTopKTrainingSAE,
            saes.MatryoshkaBatchTopKTrainingSAEConfig,
            {"k": K, "matryoshka_widths": [16, FEATURES]},
        ),
    }
    made, config, more = classes[name]
    sae = made(config(**common, **more))
    randomise(sae)
    if hasattr(sae, "topk_threshold"):
        sae.topk_threshold.fill_(0.8)
        sae.save_inference_model(folder)
    else:
        sae.save_model(folder)


def make_sparsify(kind, folder, width):
    from sparsify import SparseCoder, SparseCoderConfig

    sae = SparseCoder(width, SparseCoderConfig(num_latents=FEATURES, k=K, normalize_decoder=kind != "loose"))
    randomise(sae)
    if kind != "loose":
        sae.set_decoder_norm_to_unit_norm()
    sae.save_to_disk(folder)


def make_dictionary_learning(kind, folder, width):
    from dictionary_learning import dictionary
    from dictionary_learning.trainers import batch_top_k, matryoshka_batch_top_k, top_k

    classes = {
        "AutoEncoder": lambda: dictionary.AutoEncoder(width, FEATURES),
        "AutoEncoderNew": lambda: dictionary.AutoEncoderNew(width, FEATURES),
        "GatedAutoEncoder": lambda: dictionary.GatedAutoEncoder(width, FEATURES),
        "JumpReluAutoEncoder": lambda: dictionary.JumpReluAutoEncoder(width, FEATURES),
        "AutoEncoderTopK": lambda: top_k.AutoEncoderTopK(width, FEATURES, K),
        "BatchTopKSAE": lambda: batch_top_k.BatchTopKSAE(width, FEATURES, K),
        "MatryoshkaBatchTopKSAE": lambda: matryoshka_batch_top_k.MatryoshkaBatchTopKSAE(
            width, FEATURES, K, [16, FEATURES - 16]
        ),
    }
    sae = classes[kind]()
    randomise(sae)
    if hasattr(sae, "k"):
        sae.threshold.fill_(0.8)
    folder.mkdir(parents=True)
    torch.save(sae.state_dict(), folder / "ae.pt")
    trainer = {"dict_class": kind, "k": K, "layer": 1, "lm_name": "org/model"}
    (folder / "config.json").write_text(json.dumps({"trainer": trainer, "buffer": {"ctx_len": 128}}))


def main():
    todo, library, kind, folder, x_file, out_file = sys.argv[1:]
    x = load_file(x_file)["x"]
    if todo == "make":
        globals()[f"make_{library}"](kind, Path(folder), x.shape[1])
    with torch.no_grad():
        acts, decoded, norms = read(library, Path(folder), x)
    save_file({"acts": acts.contiguous(), "decoded": decoded.contiguous(), "norms": norms.contiguous()}, out_file)


main()
