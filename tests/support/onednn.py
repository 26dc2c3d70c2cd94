"""PyTorch as it is on processors without oneDNN's bfloat16."""

import pytest
import torch


def hide_onednn(patch: pytest.MonkeyPatch) -> None:
    """Take oneDNN away as Apple's builds have it: its operations are not there, and no other product uses it."""
    patch.setattr(torch._C, "_has_mkldnn", False)
    patch.setattr(torch.ops, "mkldnn", torch._ops._OpNamespace("none"))
    torch._C._set_mkldnn_enabled(False)
