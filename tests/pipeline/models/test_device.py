"""What keeps a device from being used is said before any work; nothing needs float64 on one."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import pipeline
from pipeline.models import device
from pipeline.models.device import check_device, try_operations
from pipeline.models.errors import ModelError
from pipeline.preflight.device import device_problems


def refusal(name: str) -> str:
    with pytest.raises(ModelError) as error:
        check_device(name)
    assert device_problems(name) == [str(error.value)], "the check before a run says the same"
    return str(error.value)


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A PyTorch with CUDA, and two devices that can do all that is tried."""
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: (9, 0))
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_75", "sm_90"])
    monkeypatch.setattr(device, "try_operations", lambda name: "")
    return monkeypatch


@pytest.fixture
def mps(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(torch.backends.mps, "is_built", lambda: True)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(device, "try_operations", lambda name: "")
    return monkeypatch


def test_names_that_are_none() -> None:
    for name in ("gpu", "cuda:x", "mps:0", "CPU", ""):
        assert f"does not run on device '{name}': set model.device=cpu, cuda, cuda:N or mps" in refusal(name)
    check_device("cpu")


def test_cuda_that_is_there(cuda: pytest.MonkeyPatch) -> None:
    for name in ("cuda", "cuda:0", "cuda:1"):
        check_device(name)
        assert device_problems(name) == []


def test_a_build_without_cuda(cuda: pytest.MonkeyPatch) -> None:
    cuda.setattr(torch.version, "cuda", None)
    cuda.setattr(torch.version, "hip", None)
    assert f"({torch.__version__}) is built without CUDA: set model.device=cpu, or install" in refusal("cuda")


def test_no_device_or_no_driver(cuda: pytest.MonkeyPatch) -> None:
    cuda.setattr(torch.cuda, "is_available", lambda: False)
    said = refusal("cuda:1")
    assert said.startswith("device 'cuda:1' was asked for, but there is no CUDA device here: set model.device=cpu")
    assert "`nvidia-smi` whether the driver is installed and new enough for CUDA 13.0" in said


def test_a_number_that_is_too_high(cuda: pytest.MonkeyPatch) -> None:
    assert "there is no such one, only cuda:0 to cuda:1: set model.device" in refusal("cuda:2")
    cuda.setattr(torch.cuda, "device_count", lambda: 1)
    assert "only cuda:0: set" in refusal("cuda:1")


@pytest.mark.parametrize(
    ("capability", "built_for", "runs"),
    [
        ((9, 0), ["sm_75", "sm_90"], True),
        ((8, 6), ["sm_80"], True),  # the same family, an earlier member
        ((12, 0), ["sm_90", "compute_90"], True),  # compiled when it is loaded
        ((9, 0), ["sm_90a", "sm_90"], True),
        ((9, 0), [], True),  # a build that does not say
        ((6, 1), ["sm_75", "sm_90", "compute_90"], False),
        ((8, 0), ["sm_86"], False),
    ],
)
def test_a_build_without_code_for_the_device(
    cuda: pytest.MonkeyPatch, capability: tuple[int, int], built_for: list[str], runs: bool
) -> None:
    cuda.setattr(torch.cuda, "get_device_capability", lambda index: capability)
    cuda.setattr(torch.cuda, "get_arch_list", lambda: built_for)
    if runs:
        check_device("cuda")
    else:
        assert f"has no code for its compute capability {capability[0]}.{capability[1]}" in refusal("cuda")


def test_mps(mps: pytest.MonkeyPatch) -> None:
    check_device("mps")
    mps.setattr(torch.backends.mps, "is_available", lambda: False)
    assert "macOS here offers no MPS: set model.device=cpu, or run on macOS 14 or newer" in refusal("mps")
    mps.setattr(torch.backends.mps, "is_built", lambda: False)
    assert "is built without MPS, which Macs with Apple silicon have: set model.device=cpu" in refusal("mps")


def test_operations_that_a_device_lacks_are_named(mps: pytest.MonkeyPatch) -> None:
    mps.setattr(device, "try_operations", lambda name: try_operations("cpu"))
    check_device("mps")

    def refuse(*_: object, **__: object) -> None:
        raise NotImplementedError("The operator 'aten::_embedding_bag' is not implemented for the MPS device.\nMore")

    mps.setattr(torch.nn.functional, "embedding_bag", refuse)
    said = refusal("mps")
    assert "it cannot do sums of rows by weight (The operator 'aten::_embedding_bag' is not implemented" in said
    assert "More" not in said
    assert "set model.device=cpu" in said


ON_THE_CPU = {
    "formats": "SAEs of others are folded on the CPU",
    "models/generate.py": "logits come to the CPU before a token is drawn",
    "models/exact.py": "of models in float64 alone",
}
"""Where float64 is asked for without bringing a tensor to the CPU first, and why that is no device's."""


def doubles(tree: ast.AST) -> Iterator[tuple[int, bool]]:
    """Line of each `x.double()`, and whether x is some `y.cpu()`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "double":
            of = node.func.value
            yield node.lineno, isinstance(of, ast.Call) and getattr(of.func, "attr", "") == "cpu"


def dtypes(tree: ast.AST) -> Iterator[int]:
    """Line of each call that asks for torch.float64 beside a device, or of a tensor that is there already."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        named = [*node.args, *(word.value for word in node.keywords)]
        asks = any(isinstance(one, ast.Attribute) and ast.unparse(one) == "torch.float64" for one in named)
        made = ast.unparse(node.func).startswith("torch.") and not any(word.arg == "device" for word in node.keywords)
        if asks and not made:
            yield node.lineno


def test_float64_is_of_the_cpu_alone() -> None:
    root = Path(pipeline.__file__).parent
    wrong = []
    for file in sorted(root.rglob("*.py")):
        name = file.relative_to(root).as_posix()
        if any(name.startswith(allowed) for allowed in ON_THE_CPU):
            continue
        tree = ast.parse(file.read_text(encoding="utf-8"))
        wrong += [f"{name}:{line}" for line, on_cpu in doubles(tree) if not on_cpu]
        wrong += [f"{name}:{line}" for line in dtypes(tree)]
    assert wrong == []
