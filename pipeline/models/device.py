"""Devices on which models and autoencoders run. Light to import: torch is asked about CUDA alone."""

import re

from pipeline.models.errors import ModelError

_DEVICE = re.compile(r"cpu|cuda(:(?P<index>\d+))?")


def check_device(device: str) -> None:
    """Raise ModelError when `device` ("cpu", "cuda", "cuda:N") is not there. It is never chosen for you."""
    asked = _DEVICE.fullmatch(device)
    if asked is None:
        raise ModelError(f"this code does not run on device '{device}': set model.device=cpu, cuda or cuda:N")
    if device == "cpu":
        return
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if int(asked["index"] or 0) >= count:
        found = f"{count} CUDA device(s)" if count else "no CUDA device"
        raise ModelError(
            f"device '{device}' was asked for, but there is {found} here: set model.device=cpu, or repair CUDA"
        )
