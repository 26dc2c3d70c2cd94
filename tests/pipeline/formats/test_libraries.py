"""SAEs of the installed sae-lens, sparsify and dictionary-learning, in and out, against these libraries themselves.

They run in an environment of their own: MONOSEMA_FORMATS_PYTHON names its interpreter; else this one, if it has them.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from pipeline.formats import dictionary_learning, saelens, sparsify
from pipeline.formats.exported import Exported
from pipeline.formats.reading import look_at_sae
from pipeline.models.sae import SAE
from tests.support.foreign import agree, folded, random_tensor
from tests.support.libraries import run_script
from tests.support.models import WIDTH, tiny_sae

MADE = [
    *(
        ("saelens", kind)
        for kind in ("standard", "jumprelu", "gated", "topk", "rescaled_topk", "batchtopk", "matryoshka")
    ),
    ("saelens", "standard+layer_norm"),
    ("saelens", "jumprelu+constant_norm_rescale"),
    ("sparsify", "unit"),
    ("sparsify", "loose"),
    *(("dictionary_learning", kind) for kind in dictionary_learning.CLASSES),
]
WRITERS = {"saelens": saelens.write, "sparsify": sparsify.write, "dictionary_learning": dictionary_learning.write}


def run_library(todo: str, library: str, kind: str, folder: Path, x_ND: Tensor) -> dict[str, Tensor]:
    """Activations, reconstruction and decoder norms by the library itself."""
    x_file, out = folder.parent / "x.safetensors", folder.parent / "out.safetensors"
    save_file({"x": x_ND}, x_file)
    run_script("library_saes", library, todo, library, kind, folder, x_file, out)
    return load_file(out)


@pytest.mark.parametrize(("library", "kind"), MADE)
def test_what_a_library_saves_is_read_as_it_reads_it(tmp_path: Path, library: str, kind: str) -> None:
    x_ND, folder = random_tensor(64, WIDTH, seed=9) + 0.5, tmp_path / "layers.1"
    theirs = run_library("make", library, kind, folder, x_ND)
    found = look_at_sae(folder)
    assert found.format == library
    agree(folded(found), x_ND, theirs["acts"] * theirs["norms"], theirs["decoded"])


def with_selection(sae: SAE) -> SAE:
    """A TopK that chooses by other values than it gives."""
    return SAE(
        sae.header, sae.W_enc_FD, sae.b_enc_F, sae.W_dec_FD, sae.b_dec_D, sae.threshold_F,
        selection_F=torch.linspace(0.5, 2.0, sae.num_features),
    )  # fmt: skip


OURS = [(library, kind) for library in WRITERS for kind in ("relu", "topk", "jumprelu")]
OURS += [(library, "chosen") for library in WRITERS]


@pytest.mark.parametrize(("library", "kind"), [one for one in OURS if one != ("sparsify", "jumprelu")])
def test_what_we_export_a_library_reads_as_we_do(tmp_path: Path, library: str, kind: Any) -> None:
    sae = tiny_sae(40, nonlinearity="topk" if kind == "chosen" else kind)
    sae.b_dec_D = 0.5 * random_tensor(WIDTH, seed=2)
    sae = with_selection(sae) if kind == "chosen" else sae
    folder = tmp_path / "layers.1"
    folder.mkdir()
    WRITERS[library](Exported(sae, "org/model", "texts", 128, True, torch.full((40,), 0.1), {}), folder)
    x_ND = random_tensor(64, WIDTH, seed=9) + 0.5
    theirs = run_library("read", library, kind, folder, x_ND)
    torch.testing.assert_close(theirs["acts"] * theirs["norms"], sae.encode(x_ND), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(theirs["decoded"], sae.reconstruct(x_ND), rtol=1e-5, atol=5e-5)
    agree(folded(look_at_sae(folder)), x_ND, sae.encode(x_ND).double(), sae.reconstruct(x_ND).double())
