"""Devices on which models and autoencoders run, and whether they can. Nothing needs float64 there: mps has none.

Light to import: torch is asked about other devices than the CPU alone.
"""

import re
from collections.abc import Callable

from pipeline.models.errors import ModelError

_DEVICE = re.compile(r"cpu|mps|cuda(:(?P<index>\d+))?")
CPU = "set model.device=cpu"
INSTALL = "install a PyTorch with it (pytorch.org/get-started/locally)"
REASON_CHARACTERS = 200


def check_device(device: str) -> None:
    """Raise ModelError when `device` ("cpu", "cuda", "cuda:N", "mps") is not there, or lacks what is needed of it.

    It is never chosen for you.
    """
    asked = _DEVICE.fullmatch(device)
    if asked is None:
        raise ModelError(f"this code does not run on device '{device}': set model.device=cpu, cuda, cuda:N or mps")
    if device == "cpu":
        return
    missing = _missing_of_mps() if device == "mps" else _missing_of_cuda(int(asked["index"] or 0))
    if missing:
        raise ModelError(f"device '{device}' was asked for, but {missing}")
    if missing := try_operations(device):
        raise ModelError(f"device '{device}' was asked for, but {missing}: {CPU}, or install another PyTorch or driver")


def _missing_of_cuda(index: int) -> str:
    """What keeps a CUDA device from being used, and what to do; "" where nothing does."""
    import torch

    if torch.version.cuda is None and torch.version.hip is None:
        return f"the PyTorch that is installed ({torch.__version__}) is built without CUDA: {CPU}, or {INSTALL}"
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count == 0:
        return (
            f"there is no CUDA device here: {CPU}, or see by `nvidia-smi` whether the driver is installed and new "
            f"enough for CUDA {torch.version.cuda or torch.version.hip}, and that CUDA_VISIBLE_DEVICES hides none"
        )
    if index >= count:
        named = "cuda:0" if count == 1 else f"cuda:0 to cuda:{count - 1}"
        return f"there is no such one, only {named}: set model.device to one of these"
    return _missing_architecture(torch.cuda.get_device_capability(index), torch.cuda.get_arch_list())


def _missing_architecture(capability: tuple[int, int], built_for: list[str]) -> str:
    """Why a build of PyTorch has no code for a device of a compute capability; "" where it has some."""
    major, minor = capability
    kinds = [
        (name.partition("_")[0], int(number)) for name in built_for if (number := name.partition("_")[2]).isdigit()
    ]
    runs = any(kind == "sm" and one // 10 == major and one % 10 <= minor for kind, one in kinds)
    compiles = any(kind == "compute" and one <= major * 10 + minor for kind, one in kinds)
    if not kinds or runs or compiles:
        return ""
    listed = ", ".join(built_for)
    return f"this PyTorch has no code for its compute capability {major}.{minor} ({listed}): {CPU}, or {INSTALL}"


def _missing_of_mps() -> str:
    import torch

    if not torch.backends.mps.is_built():
        return (
            f"the PyTorch that is installed ({torch.__version__}) is built without MPS, which Macs with Apple silicon "
            f"have: {CPU}"
        )
    if not torch.backends.mps.is_available():
        return f"macOS here offers no MPS: {CPU}, or run on macOS 14 or newer, on Apple silicon, outside of a container"
    return ""


def try_operations(device: str) -> str:
    """What a device lacks of the operations that stages need of it, each run once on a few numbers; "" for nothing.

    To find that out here costs a second, in the middle of a run hours.
    """
    for name, operation in _operations(device).items():
        try:
            operation()
        except (NotImplementedError, RuntimeError, TypeError, AssertionError) as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__)[:REASON_CHARACTERS]
            return f"it cannot do {name} ({reason})"
    return ""


def _operations(device: str) -> dict[str, Callable[[], object]]:
    """By what they are for."""
    import torch
    from torch.nn.functional import embedding_bag

    low = torch.ones(4, 4, device=device, dtype=torch.bfloat16)
    x, place = torch.ones(4, 4, device=device), torch.tensor([0, 2], device=device)

    def adam() -> object:
        weight = torch.ones(4, 4, device=device, requires_grad=True)
        weight.grad = torch.ones_like(weight)
        return torch.optim.Adam([weight], fused=True).step()

    return {
        "products in bfloat16": lambda: torch.addmm(low[0], low, low.t(), out=torch.empty_like(low)),
        "sums of rows by weight": lambda: embedding_bag(
            place, x, place[:1] * 0, mode="sum", per_sample_weights=torch.ones(2, device=device)
        ),
        "sums by place": lambda: torch.zeros(4, 4, device=device).index_add_(0, place, x[:2]),
        "the largest of a row": lambda: x.topk(2).values.cpu(),
        "repeats": lambda: torch.repeat_interleave(place).cpu(),
        "Adam in one pass": adam,
    }
