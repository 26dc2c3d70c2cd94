"""Gemma Scope, OpenMOSS, our own, and what holds no SAE."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from data.errors import FormatError
from data.hooks import HOOKS, Hook, hook_address
from pipeline.formats.hooks import hook_name, module_name, place_of, submodule_name
from pipeline.formats.places import split_source
from pipeline.formats.reading import look_at_sae
from pipeline.models.sae import SAE
from tests.support.foreign import D, F, agree, folded, random_tensor
from tests.support.models import tiny_sae

W_ENC_DF, W_DEC_FD = random_tensor(D, F, seed=1), 1.5 * random_tensor(F, D, seed=2)
B_ENC_F, B_DEC_D, THRESHOLD_F = 0.3 * random_tensor(F, seed=4), random_tensor(D, seed=3), torch.linspace(0, 1, F)


def jumprelu(x_ND: Tensor, scale: float = 1.0) -> tuple[Tensor, Tensor]:
    """Without a bias taken off the input; of scale * x, in the stream's own units."""
    pre_NF = scale * x_ND.double() @ W_ENC_DF.double() + B_ENC_F.double()
    acts_NF = pre_NF.relu() * (pre_NF > THRESHOLD_F.double())
    decoded_ND = acts_NF @ W_DEC_FD.double() + B_DEC_D.double()
    return acts_NF * W_DEC_FD.double().norm(dim=1) / scale, decoded_ND / scale


@pytest.mark.parametrize("second", [False, True])
def test_gemma_scope(tmp_path: Path, second: bool) -> None:
    folder = tmp_path / "google--gemma-scope-2b-pt-res" / "layer_20/width_16k/average_l0_71"
    folder.mkdir(parents=True)
    arrays = {"W_enc": W_ENC_DF, "W_dec": W_DEC_FD, "b_enc": B_ENC_F, "b_dec": B_DEC_D, "threshold": THRESHOLD_F}
    if second:
        save_file({name.lower(): one for name, one in arrays.items()}, folder / "params.safetensors")
        config = {
            "architecture": "jump_relu",
            "model_name": "google/gemma-3-1b-pt",
            "hf_hook_point_in": "model.layers.9.output",
        }
        (folder / "config.json").write_text(json.dumps(config))
    else:
        np.savez(folder / "params.npz", **{name: one.numpy() for name, one in arrays.items()})
    found = look_at_sae(folder)
    x_ND = random_tensor(40, D, seed=9)
    agree(folded(found), x_ND, *jumprelu(x_ND))
    assert found.provenance[:2] == (
        ("google/gemma-3-1b-pt", "model.layers.9.output") if second else ("google/gemma-2-2b", "20")
    )


def test_objects_in_an_archive_of_numbers_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "params.npz", W_enc=np.array([{"a": 1}], dtype=object))
    with pytest.raises(FormatError, match="NumPy archive of numbers alone"):
        look_at_sae(tmp_path)


OPENMOSS = {"act_fn": "jumprelu", "hook_point_in": "blocks.15.hook_resid_post", "use_decoder_bias": True,
            "hook_point_out": "blocks.15.hook_resid_post", "norm_activation": "dataset-wise", "d_model": D,
            "sparsity_include_decoder_norm": False, "apply_decoder_bias_to_pre_encoder": False}  # fmt: skip
LINEAR = {"encoder.weight": W_ENC_DF.T.contiguous(), "encoder.bias": B_ENC_F, "decoder.bias": B_DEC_D,
          "decoder.weight": W_DEC_FD.T.contiguous()}  # fmt: skip
LOG = {"log_jumprelu_threshold": (THRESHOLD_F + 1e-30).log()}


def write_openmoss(folder: Path, config: dict[str, Any], tensors: dict[str, Tensor], *, old: bool = False) -> None:
    weights = folder / ("checkpoints/final.safetensors" if old else "sae_weights.safetensors")
    weights.parent.mkdir(parents=True, exist_ok=True)
    (folder / ("hyperparams.json" if old else "config.json")).write_text(json.dumps(config))
    save_file(tensors, weights)


def test_openmoss_with_its_mean_norm_in_the_weights_in_the_configuration_or_nowhere(tmp_path: Path) -> None:
    x_ND, norm = random_tensor(40, D, seed=9), torch.tensor(3.5)
    scale = float(D**0.5 / norm)
    expected = jumprelu(x_ND, scale)
    write_openmoss(
        tmp_path, OPENMOSS, LINEAR | LOG | {"dataset_average_activation_norm.blocks.15.hook_resid_post": norm}
    )
    agree(folded(look_at_sae(tmp_path)), x_ND, *expected)
    write_openmoss(tmp_path, OPENMOSS | {"dataset_average_activation_norm": {"in": 3.5, "out": 3.5}}, LINEAR | LOG)
    agree(folded(look_at_sae(tmp_path)), x_ND, *expected)
    write_openmoss(tmp_path, OPENMOSS, LINEAR | LOG)
    found = look_at_sae(tmp_path)
    assert found.needs_scale
    agree(folded(found, input_scale=scale), x_ND, *expected)


def test_openmoss_normalises_each_token_or_none(tmp_path: Path) -> None:
    x_ND = random_tensor(40, D, seed=9)
    write_openmoss(tmp_path, OPENMOSS | {"norm_activation": "inference"}, LINEAR | LOG)
    agree(folded(look_at_sae(tmp_path)), x_ND, *jumprelu(x_ND))
    write_openmoss(tmp_path, OPENMOSS | {"norm_activation": "token-wise"}, LINEAR | LOG)
    scale_N1 = D**0.5 / x_ND.norm(dim=1, keepdim=True)
    acts_NF, decoded_ND = jumprelu(x_ND * scale_N1)
    agree(folded(look_at_sae(tmp_path)), x_ND, acts_NF, decoded_ND / scale_N1)


def test_llama_scope_has_one_threshold_in_the_streams_own_units(tmp_path: Path) -> None:
    x_ND, scale = random_tensor(40, D, seed=9), D**0.5 / 3.5
    config = OPENMOSS | {"jump_relu_threshold": 0.4, "dataset_average_activation_norm": {"in": 3.5, "out": 3.5}}
    folder = tmp_path / "Llama3_1-8B-Base-L15R-8x"
    write_openmoss(folder, config, LINEAR, old=True)
    found = look_at_sae(folder)
    assert found.provenance[:2] == ("meta-llama/Llama-3.1-8B", "blocks.15.hook_resid_post")
    pre_NF = scale * x_ND.double() @ W_ENC_DF.double() + B_ENC_F.double()
    acts_NF = pre_NF.relu() * (pre_NF / scale > 0.4)
    decoded_ND = acts_NF @ W_DEC_FD.double() + B_DEC_D.double()
    agree(folded(found), x_ND, acts_NF * W_DEC_FD.double().norm(dim=1) / scale, decoded_ND / scale)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"act_fn": "batchtopk"}, "act_fn='batchtopk'"),
        ({"use_glu_encoder": True}, "use_glu_encoder"),
        ({"norm_activation": "batch-wise"}, "norm_activation='batch-wise'"),
        ({"hook_point_out": "blocks.15.hook_mlp_out"}, "is a transcoder"),
    ],
)
def test_other_kinds_of_openmoss_are_refused_by_name(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    write_openmoss(tmp_path, OPENMOSS | change, LINEAR | LOG)
    with pytest.raises(FormatError, match=said):
        look_at_sae(tmp_path)


@pytest.mark.parametrize("nonlinearity", ["relu", "jumprelu", "topk"])
def test_our_own(tmp_path: Path, nonlinearity: Any) -> None:
    sae = tiny_sae(nonlinearity=nonlinearity)
    sae.save(tmp_path)
    found = look_at_sae(tmp_path)
    x_ND = random_tensor(20, 32, seed=9)
    agree(folded(found), x_ND, sae.encode(x_ND).double(), sae.reconstruct(x_ND).double())
    assert (found.format, found.provenance.hook) == ("monosema", "1")
    SAE(replace(sae.header, hook="mlp"), sae.W_enc_FD, sae.b_enc_F, sae.W_dec_FD, sae.b_dec_D, sae.threshold_F).save(
        tmp_path
    )
    assert look_at_sae(tmp_path).provenance.hook == "1-mlp"


def test_a_folder_without_an_sae_names_those_below_it(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="holds no SAE of a known format: give the folder that holds its"):
        look_at_sae(tmp_path)
    for name in ("layers.1", "deep/layers.2"):
        tiny_sae().save(tmp_path / name)
    with pytest.raises(FormatError, match=r"give one of those below it: deep/layers\.2, layers\.1$"):
        look_at_sae(tmp_path)


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("blocks.14.hook_resid_post", (14, "resid_post")), ("blocks.14.hook_resid_pre", (14, "resid_pre")),
        ("blocks.0.hook_resid_mid", (0, "resid_mid")), ("blocks.3.hook_mlp_out", (3, "mlp")),
        ("blocks.3.hook_attn_out", (3, "attn")), ("model.layers.3", (3, "resid_post")), ("layers.3", (3, "resid_post")),
        ("h.3", (3, "resid_post")), ("gpt_neox.layers.3", (3, "resid_post")), ("layers.3.mlp", (3, "mlp")),
        ("h.3.attn", (3, "attn")), ("model.layers.3.self_attn", (3, "attn")), ("layers.3.attention", (3, "attn")),
        ("model.layers.3.output", (3, "resid_post")), ("model.layers.3.input", (3, "resid_pre")),
        ("model.layers.3.post_feedforward_layernorm.output", (3, "mlp")), ("resid_post_layer_8", (8, "resid_post")),
        ("7", (7, "resid_post")), ("7-pre", (7, "resid_pre")), ("7-mlp", (7, "mlp")),
    ],
)  # fmt: skip
def test_places(name: str, place: tuple[int, str]) -> None:
    assert place_of(name) == place


@pytest.mark.parametrize(
    "name",
    ["blocks.3.attn.hook_z", "hook_embed", "model.layers.3.self_attn.o_proj.input", "blocks.3.ln2.hook_normalized"],
)
def test_other_places_are_refused(name: str) -> None:
    with pytest.raises(FormatError, match="others not yet"):
        place_of(name)


@pytest.mark.parametrize("hook", HOOKS)
def test_the_names_that_are_written_are_read_as_the_same_place(hook: Hook) -> None:
    for name in (hook_name(5, hook), submodule_name(5, hook), hook_address(5, hook)):
        assert place_of(name) == (5, hook)
    if hook == "resid_mid":
        with pytest.raises(FormatError, match="none's: use saelens"):
            module_name(5, hook)
    else:
        assert place_of(module_name(5, hook)) == ((4, "resid_post") if hook == "resid_pre" else (5, hook))


def test_gemma_scope_of_mlps_attention_and_transcoders(tmp_path: Path) -> None:
    arrays = {"W_enc": W_ENC_DF, "W_dec": W_DEC_FD, "b_enc": B_ENC_F, "b_dec": B_DEC_D, "threshold": THRESHOLD_F}
    for part, name in (("mlp", "blocks.20.hook_mlp_out"), ("att", "blocks.20.attn.hook_z")):
        folder = tmp_path / f"google--gemma-scope-2b-pt-{part}" / "layer_20/width_16k/average_l0_71"
        folder.mkdir(parents=True)
        np.savez(folder / "params.npz", **{name: one.numpy() for name, one in arrays.items()})
        assert look_at_sae(folder).provenance.hook == name
    save_file({name.lower(): one for name, one in arrays.items()}, tmp_path / "params.safetensors")
    between = {"hf_hook_point_in": "model.layers.9.pre_feedforward_layernorm.output",
               "hf_hook_point_out": "model.layers.9.post_feedforward_layernorm.output"}  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps({"model_name": "google/gemma-3-1b-pt"} | between))
    with pytest.raises(FormatError, match="is a transcoder"):
        look_at_sae(tmp_path)


def test_a_hub_id_may_have_a_folder(tmp_path: Path) -> None:
    assert split_source("org/repo/layer_3/width_16k") == ("org/repo", "layer_3/width_16k")
    assert split_source("org/repo") == ("org/repo", "")
    assert split_source(str(tmp_path)) == (str(tmp_path), "")
    assert split_source("./a/b/c/d") == ("./a/b/c/d", "")
