"""Folders of dictionary_learning, against the forward formulas of its classes written out in float64."""

import json
import os
from pathlib import Path

import pytest
import torch
from torch import Tensor

from data.errors import FormatError
from pipeline.formats.foreign import Foreign
from pipeline.formats.reading import look_at_sae
from tests.support.foreign import D, F, agree, folded, random_tensor

K = 6
LINEAR = ("AutoEncoder", "AutoEncoderNew", "GatedAutoEncoder", "AutoEncoderTopK", "BatchTopKSAE")
"""Classes whose matrices are those of linear layers."""


def state_dict(kind: str) -> dict[str, Tensor]:
    W_enc_FD, W_dec_FD = random_tensor(F, D, seed=1), 1.5 * random_tensor(F, D, seed=2)
    b_enc_F, b_dec_D = 0.3 * random_tensor(F, seed=4), random_tensor(D, seed=3)
    if kind in LINEAR:
        found = {"encoder.weight": W_enc_FD, "decoder.weight": W_dec_FD.T.contiguous(), "encoder.bias": b_enc_F}
    else:
        found = {"W_enc": W_enc_FD.T.contiguous(), "W_dec": W_dec_FD, "b_enc": b_enc_F}
    bias = {"AutoEncoder": "bias", "AutoEncoderNew": "decoder.bias", "GatedAutoEncoder": "decoder_bias"}
    found[bias.get(kind, "b_dec")] = b_dec_D
    if kind == "GatedAutoEncoder":
        del found["encoder.bias"]
        found |= {"r_mag": 0.3 * random_tensor(F, seed=5), "gate_bias": random_tensor(F, seed=6), "mag_bias": b_enc_F}
    if kind in ("AutoEncoderTopK", "BatchTopKSAE", "MatryoshkaBatchTopKSAE"):
        found |= {"k": torch.tensor(K, dtype=torch.int), "threshold": torch.tensor(0.6)}
    if kind == "MatryoshkaBatchTopKSAE":
        found["group_sizes"] = torch.tensor([10, F - 10])
    if kind == "JumpReluAutoEncoder":
        found["threshold"] = torch.linspace(0, 1, F)
    return found


def reference(kind: str, x_ND: Tensor) -> tuple[Tensor, Tensor]:
    """Activations by the class's formulas, times the length of what each writes; and the reconstruction."""
    w = {name: one.double() for name, one in state_dict(kind).items()}
    W_enc_FD = w["encoder.weight"] if kind in LINEAR else w["W_enc"].T
    W_dec_FD = w["decoder.weight"].T if kind in LINEAR else w["W_dec"]
    b_dec_D = next(w[name] for name in ("b_dec", "bias", "decoder_bias", "decoder.bias") if name in w)
    read = x_ND.double() if kind in ("JumpReluAutoEncoder", "AutoEncoderNew") else x_ND.double() - b_dec_D
    plain = read @ W_enc_FD.T
    if kind == "GatedAutoEncoder":
        acts = (plain + w["gate_bias"] > 0) * (w["r_mag"].exp() * plain + w["mag_bias"]).relu()
    else:
        acts = (plain + w["encoder.bias" if kind in LINEAR else "b_enc"]).relu()
    if kind == "AutoEncoderTopK":
        top = acts.topk(K, dim=1)
        acts = torch.zeros_like(acts).scatter(1, top.indices, top.values)
    elif "threshold" in w:
        acts = acts * (acts > w["threshold"])
    return acts * W_dec_FD.norm(dim=1), acts @ W_dec_FD + b_dec_D


def write(folder: Path, kind: str, state: object) -> Foreign:
    folder.mkdir(parents=True, exist_ok=True)
    trainer = {"dict_class": kind, "layer": 5, "lm_name": "org/model", "k": K, "activation_dim": D, "dict_size": F}
    (folder / "config.json").write_text(json.dumps({"trainer": trainer, "buffer": {"ctx_len": 128}}))
    torch.save(state, folder / "ae.pt")
    return look_at_sae(folder)


@pytest.mark.parametrize("kind", [*LINEAR, "JumpReluAutoEncoder", "MatryoshkaBatchTopKSAE"])
def test_every_class_gives_what_the_library_gives(tmp_path: Path, kind: str) -> None:
    found = write(tmp_path, kind, state_dict(kind))
    assert found.provenance == ("org/model", "5", 128, None, None)
    x_ND = random_tensor(50, D, seed=9)
    agree(folded(found), x_ND, *reference(kind, x_ND))


class Runs:
    """A pickle that would make a file when it is read."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.file),)


def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="more than tensors, which can run code"):
        write(tmp_path / "sae", "AutoEncoder", state_dict("AutoEncoder") | {"extra": Runs(tmp_path / "ran")})
    assert not (tmp_path / "ran").exists()


def test_bad_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="the class 'CrossCoder'"):
        write(tmp_path, "CrossCoder", state_dict("AutoEncoder"))
    with pytest.raises(FormatError, match="no tensors by name"):
        write(tmp_path, "AutoEncoder", [torch.zeros(3)])
    with pytest.raises(FormatError, match=r"lacks encoder\.weight"):
        write(tmp_path, "AutoEncoder", {"other": torch.zeros(3)})
    write(tmp_path, "AutoEncoder", state_dict("AutoEncoder"))
    (tmp_path / "ae.pt").write_bytes((tmp_path / "ae.pt").read_bytes()[:2000])
    with pytest.raises(FormatError, match="cut off"):
        look_at_sae(tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.raises(FormatError, match=r"has no config\.json"):
        look_at_sae(tmp_path)
