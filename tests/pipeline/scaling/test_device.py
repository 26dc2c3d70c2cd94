"""What is asked of a device: its memory, whichever it is, and its rate."""

import pytest
import torch

from pipeline.scaling import device
from pipeline.scaling.device import flops_per_second, free_memory


def test_this_machine_has_some_memory_and_a_rate():
    assert free_memory("cpu") > 10**6
    assert flops_per_second(32, 12, 64, "cpu") > 1e3


def test_a_gpu_is_asked_for_its_own(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda name: {"cuda:1": (10 * 10**9, 80 * 10**9)}[name])

    assert free_memory("cuda:1") == 8 * 10**9


@pytest.mark.parametrize(("of_machine", "expected"), [(64 * 10**9, 8 * 10**9), (3 * 10**9, 3 * 10**9)])
def test_mps_has_what_metal_and_the_machine_both_leave(monkeypatch, of_machine, expected):
    monkeypatch.setattr(torch.cuda, "mem_get_info", None)
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 12 * 10**9)
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: 2 * 10**9)
    monkeypatch.setattr(device, "usable_memory", lambda: of_machine)

    assert free_memory("mps") == expected
