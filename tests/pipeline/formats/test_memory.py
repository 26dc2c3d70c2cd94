"""Importing an SAE of 2^16 features takes at most the memory of its weights and 736 MiB."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

FEATURES, WIDTH = 1 << 16, 576
WEIGHTS, MOST = 2 * 4 * FEATURES * WIDTH, 736 << 20
SCRIPT = """
import sys
from pathlib import Path
from pipeline.formats.reading import look_at_sae
source, target, status = map(Path, (*sys.argv[1:], "/proc/self/status"))
look_at_sae(source).fold(name="x", model="m", layer=1, activation_scale=1.0, input_scale=None).save(target)
print(next(line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM")))
"""


def matrices() -> dict[str, torch.Tensor]:
    """Whose rows repeat, so that they are made in no time."""
    part = torch.randn(WIDTH, 512, generator=torch.Generator().manual_seed(0))
    W_enc = part.repeat(1, FEATURES // 512)
    zeros = {"b_enc": torch.zeros(FEATURES), "b_dec": torch.zeros(WIDTH)}
    return {"W_enc": W_enc, "W_dec": W_enc.T.contiguous(), **zeros}


def write_saelens(folder: Path, *, normalise: str = "none") -> None:
    save_file(matrices(), folder / "sae_weights.safetensors")
    config = {"d_in": WIDTH, "d_sae": FEATURES, "architecture": "standard", "normalize_activations": normalise}
    (folder / "cfg.json").write_text(json.dumps(config))


def write_whitened(folder: Path) -> None:
    write_saelens(folder, normalise="covariance_whitening")
    square = {"mean": torch.zeros(WIDTH), "matrix": torch.eye(WIDTH), "inverse_matrix": torch.eye(WIDTH)}
    save_file(square, folder / "activation_whitening.safetensors")


def write_pickle(folder: Path) -> None:
    found = matrices()
    linear = {"encoder.weight": found["W_enc"].T.contiguous(), "decoder.weight": found["W_dec"].T.contiguous()}
    torch.save({**linear, "encoder.bias": found["b_enc"], "bias": found["b_dec"]}, folder / "ae.pt")
    (folder / "config.json").write_text(json.dumps({"trainer": {"dict_class": "AutoEncoder", "layer": 1}}))


def write_npz(folder: Path) -> None:
    arrays = {name: one.numpy() for name, one in matrices().items()}
    np.savez(folder / "params.npz", threshold=np.zeros(FEATURES, np.float32), **arrays)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="this system does not tell how much was in memory")
@pytest.mark.parametrize("write", [write_saelens, write_whitened, write_pickle, write_npz])
def test_an_import_takes_its_weights_and_little_more(tmp_path: Path, write: Callable[[Path], None]) -> None:
    (folder := tmp_path / "sae").mkdir()
    write(folder)
    command = [sys.executable, "-c", SCRIPT, str(folder), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    print(write.__name__, f"{int(done.stdout) / 1024:,.0f} MiB, weights {WEIGHTS / 2**20:,.0f} MiB")
    assert int(done.stdout) * 1024 <= WEIGHTS + MOST
