"""A script for the environment of sae-lens: an SAE of its list of releases, from a stand-in for the Hub, by our code.

    python library_registry.py ROOT FOLDER X.safetensors OUT.safetensors

ROOT is that of this repository, whose reader is imported; FOLDER is where it saves the SAE. The stand-in is asked for
what SAELens's own loader asks the Hub for. OUT is as that of library_saes.py.
"""

import json
import sys
from pathlib import Path

import torch
from huggingface_hub.errors import EntryNotFoundError
from library_reading import read
from safetensors.torch import load_file, save_file

RELEASE, ID = "gpt2-small-res-jb", "blocks.8.hook_resid_pre"
REPOSITORY = "jbloom/GPT2-Small-SAEs-Reformatted"
FEATURES = 48


def write_repository(folder, width):
    """An SAE as that repository holds one: in the layout of version 3."""
    folder.mkdir(parents=True)
    generator = torch.Generator().manual_seed(0)
    shapes = {"W_enc": (width, FEATURES), "b_enc": (FEATURES,), "W_dec": (FEATURES, width), "b_dec": (width,)}
    weights = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    save_file(weights, folder / "sae_weights.safetensors")
    config = {
        "d_in": width, "d_sae": FEATURES, "dtype": "torch.float32", "hook_point": ID, "hook_point_layer": 8,
        "model_name": "gemma-2b", "dataset_path": "org/texts", "context_size": 128, "prepend_bos": True,
    }  # fmt: skip
    (folder / "cfg.json").write_text(json.dumps(config))


def stand_in(root):
    def download(repo_id, filename, force_download=False):
        assert repo_id == REPOSITORY, repo_id
        if not (root / filename).is_file():
            raise EntryNotFoundError(filename)
        return str(root / filename)

    return download


def main():
    root, folder, x_file, out = sys.argv[1:]
    sys.path.append(root)
    from sae_lens.loading import pretrained_sae_loaders

    from pipeline.formats.registry import save_pretrained

    x = load_file(x_file)["x"]
    repository = Path(out).parent / "repository"
    write_repository(repository / ID, x.shape[1])
    pretrained_sae_loaders.hf_hub_download = stand_in(repository)
    save_pretrained(RELEASE, ID, Path(folder))
    with torch.no_grad():
        acts, decoded, norms = read("saelens", Path(folder), x)
    save_file({"acts": acts.contiguous(), "decoded": decoded.contiguous(), "norms": norms.contiguous()}, out)
    try:
        save_pretrained(RELEASE, "blocks.99.hook_resid_pre", Path(folder).parent / "none")
    except Exception as error:
        Path(out).with_suffix(".txt").write_text(f"{type(error).__name__}: {error}")


main()
