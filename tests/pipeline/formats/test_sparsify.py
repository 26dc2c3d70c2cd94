"""Folders of sparsify, against its own forward formula written out in float64."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from data.errors import FormatError
from pipeline.formats.foreign import Foreign
from pipeline.formats.reading import look_at_sae
from tests.support.foreign import D, F, agree, folded, random_tensor

K = 6
CONFIG = {"activation": "topk", "expansion_factor": 32, "normalize_decoder": True, "num_latents": F, "k": K,
          "multi_topk": False, "skip_connection": False, "transcode": False, "d_in": D}  # fmt: skip


def weights(*, unit: bool = True) -> dict[str, Tensor]:
    W_dec_FD = random_tensor(F, D, seed=2)
    return {
        "encoder.weight": random_tensor(F, D, seed=1), "encoder.bias": 0.3 * random_tensor(F, seed=4),
        "W_dec": torch.nn.functional.normalize(W_dec_FD) if unit else W_dec_FD, "b_dec": random_tensor(D, seed=3),
    }  # fmt: skip


def write(folder: Path, config: dict[str, Any], tensors: dict[str, Tensor]) -> Foreign:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cfg.json").write_text(json.dumps(config))
    save_file(tensors, folder / "sae.safetensors")
    return look_at_sae(folder)


@pytest.mark.parametrize("unit", [True, False])
def test_activations_and_reconstruction_are_the_librarys(tmp_path: Path, unit: bool) -> None:
    tensors = weights(unit=unit)
    (tmp_path / "config.json").write_text(json.dumps({"model": "org/model", "dataset": "org/texts", "ctx_len": 256}))
    found = write(tmp_path / "layers.7", CONFIG, tensors)
    assert (found.format, found.architecture, found.k, found.num_features) == ("sparsify", "topk", K, F)
    assert found.provenance == ("org/model", "layers.7", 256, None, "org/texts")
    x_ND = random_tensor(50, D, seed=9)
    w = {name: one.double() for name, one in tensors.items()}
    pre_NF = ((x_ND.double() - w["b_dec"]) @ w["encoder.weight"].T + w["encoder.bias"]).relu()
    top = pre_NF.topk(K, dim=1)
    acts_NF = torch.zeros_like(pre_NF).scatter(1, top.indices, top.values)
    agree(folded(found), x_ND, acts_NF * w["W_dec"].norm(dim=1), acts_NF @ w["W_dec"] + w["b_dec"])


def test_the_number_of_features_may_be_a_multiple_of_the_width(tmp_path: Path) -> None:
    found = write(tmp_path / "layers.7", CONFIG | {"num_latents": 0, "expansion_factor": 2}, weights())
    assert found.num_features == 2 * D
    with pytest.raises(FormatError, match=r"encoder\.weight has shape \[40, 24\]"):
        folded(found)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"skip_connection": True}, "has a skip connection"),
        ({"transcode": True}, "is a transcoder"),
        ({"signed": True}, "absolute values"),
        ({"activation": "groupmax"}, "activation 'groupmax'"),
        ({"k": None}, "gives no k"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    with pytest.raises(FormatError, match=said):
        write(tmp_path / "layers.7", CONFIG | change, weights())


def test_a_skip_connection_in_the_weights_alone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="skip connection"):
        folded(write(tmp_path / "layers.7", CONFIG, weights() | {"W_skip": torch.zeros(D, D)}))
