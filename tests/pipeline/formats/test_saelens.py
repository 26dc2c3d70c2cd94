"""SAELens folders of several versions, against its own forward formulas written out in float64."""

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

K = 5
VERSION_6 = {"architecture": "standard", "d_in": D, "d_sae": F, "dtype": "float32", "apply_b_dec_to_input": True,
             "normalize_activations": "none", "reshape_activations": "none",
             "metadata": {"sae_lens_version": "6.54.12", "model_name": "org/model",
                          "hook_name": "blocks.3.hook_resid_pre",
                          "context_size": 128, "prepend_bos": False, "dataset_path": "org/texts"}}  # fmt: skip
VERSION_3 = {"architecture": "standard", "d_in": D, "d_sae": F, "dtype": "torch.float32", "activation_fn_str": "relu",
             "apply_b_dec_to_input": True, "finetuning_scaling_factor": False, "normalize_activations": "none",
             "hook_name": "blocks.3.hook_resid_post", "hook_layer": 3, "hook_head_index": None, "prepend_bos": True,
             "context_size": 64, "model_name": "tiny", "dataset_path": "org/texts",
             "activation_fn_kwargs": {}}  # fmt: skip


def weights(architecture: str, *, unit: bool = False) -> dict[str, Tensor]:
    made = {
        "W_enc": random_tensor(D, F, seed=1), "W_dec": random_tensor(F, D, seed=2), "b_dec": random_tensor(D, seed=3),
        "b_enc": 0.3 * random_tensor(F, seed=4),
    }  # fmt: skip
    made["W_dec"] *= torch.linspace(0.3, 2.0, F)[:, None]
    if unit:
        made["W_dec"] /= made["W_dec"].norm(dim=1, keepdim=True)
    if architecture == "jumprelu":
        made["threshold"] = torch.linspace(-0.2, 1.0, F)
    if architecture in ("batchtopk", "matryoshka_batchtopk"):
        made["topk_threshold"] = torch.tensor(0.4, dtype=torch.float64)
    if architecture == "gated":
        del made["b_enc"]
        made |= {f"b_{name}": 0.3 * random_tensor(F, seed=5 + n) for n, name in enumerate(("mag", "gate"))}
        made["r_mag"] = 0.4 * random_tensor(F, seed=8)
    return made


def write(folder: Path, config: dict[str, Any], tensors: dict[str, Tensor]) -> Foreign:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cfg.json").write_text(json.dumps(config))
    save_file({name: one.contiguous() for name, one in tensors.items()}, folder / "sae_weights.safetensors")
    return look_at_sae(folder)


def reference(config: dict[str, Any], tensors: dict[str, Tensor], x_ND: Tensor) -> tuple[Tensor, Tensor]:
    """Activations by the library's formulas, times the length of what each writes; and the reconstruction."""
    w = {name: one.double() for name, one in tensors.items()}
    architecture, kind = config["architecture"], config["normalize_activations"]
    x_ND = x_ND.double()
    mean_N1, scale_N1 = 0.0, torch.ones(len(x_ND), 1).double()
    read = x_ND
    if kind == "constant_norm_rescale":
        scale_N1 = x_ND.norm(dim=1, keepdim=True) / D**0.5
        read = x_ND / scale_N1
    if kind == "layer_norm":
        mean_N1 = x_ND.mean(1, keepdim=True)
        scale_N1 = (x_ND - mean_N1).std(1, keepdim=True)
        read = (x_ND - mean_N1) / (scale_N1 + 1e-5)
    read = read - w["b_dec"] * config["apply_b_dec_to_input"]
    norm_F = w["W_dec"].norm(dim=1)
    if architecture == "gated":
        open_NF = read @ w["W_enc"] + w["b_gate"] > 0
        acts = open_NF * (read @ (w["W_enc"] * w["r_mag"].exp()) + w["b_mag"]).relu()
    else:
        pre = read @ w["W_enc"] + w["b_enc"]
        lengths = norm_F if config.get("rescale_acts_by_decoder_norm") else 1.0
        pre = pre * lengths
        if architecture == "topk":
            top = pre.topk(config["k"], dim=1)
            acts = torch.zeros_like(pre).scatter(1, top.indices, top.values.relu())
        elif architecture == "standard":
            acts = pre.relu()
        else:
            acts = pre.relu() * (pre > w.get("threshold", w.get("topk_threshold")))
        acts = acts / lengths
    factor = w["scaling_factor"] if config.get("finetuning_scaling_factor") else 1.0
    decoded = (acts * factor) @ w["W_dec"] + w["b_dec"]
    return acts * factor * norm_F, decoded * scale_N1 + mean_N1


@pytest.mark.parametrize("normalise", ["none", "layer_norm", "constant_norm_rescale"])
@pytest.mark.parametrize("subtracts", [True, False])
@pytest.mark.parametrize(
    ("architecture", "more"),
    [
        ("standard", {}), ("jumprelu", {}), ("gated", {}), ("topk", {"k": K}),
        ("topk", {"k": K, "rescale_acts_by_decoder_norm": True}), ("batchtopk", {"rescale_acts_by_decoder_norm": True}),
        ("matryoshka_batchtopk", {"rescale_acts_by_decoder_norm": False}),
    ],
)  # fmt: skip
def test_every_architecture_gives_what_the_library_gives(
    tmp_path: Path, architecture: str, more: dict[str, Any], subtracts: bool, normalise: str
) -> None:
    named = {"architecture": architecture, "apply_b_dec_to_input": subtracts, "normalize_activations": normalise}
    config, tensors = VERSION_6 | named | more, weights(architecture)
    found = write(tmp_path / "sae", config, tensors)
    x_ND = 2 * random_tensor(40, D, seed=9) + 1
    agree(folded(found), x_ND, *reference(config, tensors, x_ND))
    assert found.k == (K if architecture == "topk" else None)


def test_a_folder_of_version_3_with_a_fine_tuned_factor(tmp_path: Path) -> None:
    config = VERSION_3 | {"finetuning_scaling_factor": True}
    tensors = weights("standard") | {"scaling_factor": torch.linspace(0.5, 2, F)}
    found = write(tmp_path, config, tensors)
    x_ND = random_tensor(40, D, seed=9)
    agree(folded(found), x_ND, *reference(config, tensors, x_ND))
    assert found.provenance == ("tiny", "blocks.3.hook_resid_post", 64, True, "org/texts")
    ones = {**tensors, "scaling_factor": torch.ones(F)}
    agree(folded(write(tmp_path, VERSION_3, ones)), x_ND, *reference(VERSION_3, ones, x_ND))
    with pytest.raises(FormatError, match="does not use"):
        folded(write(tmp_path, VERSION_3, tensors))


def test_topk_of_version_4_is_told_by_its_activation_function(tmp_path: Path) -> None:
    old = {"activation_fn_str": "topk", "activation_fn_kwargs": {"k": K}}
    tensors = weights("topk", unit=True)
    x_ND = random_tensor(40, D, seed=9)
    found = write(tmp_path, VERSION_3 | old, tensors)
    agree(folded(found), x_ND, *reference(VERSION_3 | {"architecture": "topk", "k": K}, tensors, x_ND))
    assert (found.architecture, found.k) == ("topk", K)


def test_the_scale_and_the_whitening_of_training_are_folded(tmp_path: Path) -> None:
    tensors, x_ND, factor = weights("jumprelu"), 3 * random_tensor(40, D, seed=9), 0.7
    config = VERSION_6 | {"architecture": "jumprelu", "normalize_activations": "expected_average_only_in"}
    inside = config | {"normalize_activations": "none"}
    acts_NF, decoded_ND = reference(inside, tensors, x_ND * factor)
    found = write(tmp_path / "without", config, tensors)
    assert found.needs_scale
    agree(folded(found, input_scale=factor), x_ND, acts_NF / factor, decoded_ND / factor)
    (tmp_path / "with").mkdir()
    (tmp_path / "with/activation_scaler.json").write_text(json.dumps({"scaling_factor": factor}))
    found = write(tmp_path / "with", config, tensors)
    assert not found.needs_scale
    agree(folded(found), x_ND, acts_NF / factor, decoded_ND / factor)

    mean_D, whiten_DD = random_tensor(D, seed=11).double(), random_tensor(D, D, seed=12).double() + 3 * torch.eye(D)
    inverse_DD = whiten_DD.inverse().contiguous()
    acts_NF, decoded_ND = reference(inside, tensors, (x_ND - mean_D) @ whiten_DD)
    lengths_F = (tensors["W_dec"].double() @ inverse_DD).norm(dim=1) / tensors["W_dec"].double().norm(dim=1)
    config["normalize_activations"] = "covariance_whitening"
    statistics = {"mean": mean_D, "matrix": whiten_DD, "inverse_matrix": inverse_DD}
    save_file(statistics, tmp_path / "with/activation_whitening.safetensors")
    found = write(tmp_path / "with", config, tensors)
    agree(folded(found), x_ND, acts_NF * lengths_F, decoded_ND @ inverse_DD + mean_D)
    (tmp_path / "with/activation_whitening.safetensors").unlink()
    with pytest.raises(FormatError, match=r"no activation_whitening"):
        folded(found)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"architecture": "skip_transcoder"}, "is a transcoder"),
        ({"architecture": "temporal"}, "of the architecture 'temporal'"),
        ({"activation_fn": "tanh-relu"}, "activation function 'tanh-relu'"),
        ({"normalize_activations": "mystery"}, "normalize_activations='mystery'"),
        ({"reshape_activations": "hook_z"}, "single attention heads"),
        ({"d_sae": None}, "gives no d_sae"),
        ({"d_sae": F + 1}, "has shape"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    with pytest.raises(FormatError, match=said):
        folded(write(tmp_path, VERSION_6 | change, weights("standard")))


def test_missing_and_damaged_weights(tmp_path: Path) -> None:
    tensors = weights("standard")
    missing = {name: one for name, one in tensors.items() if name != "b_enc"}
    with pytest.raises(FormatError, match="lacks b_enc"):
        folded(write(tmp_path, VERSION_6, missing))
    found = write(tmp_path, VERSION_6, tensors | {"b_dec": torch.full((D,), torch.nan)})
    with pytest.raises(FormatError, match="not finite"):
        folded(found)
    file = tmp_path / "sae_weights.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(FormatError, match="fetch it again"):
        folded(look_at_sae(tmp_path))
    (tmp_path / "cfg.json").write_text("{")
    with pytest.raises(FormatError, match="cannot be read"):
        look_at_sae(tmp_path)
