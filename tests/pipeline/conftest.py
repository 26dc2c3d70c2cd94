from collections.abc import Iterator

import pytest
import torch

from tests.support.onednn import hide_onednn


@pytest.fixture
def hidden(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A processor without oneDNN's bfloat16."""
    was = torch._C._get_mkldnn_enabled()
    hide_onednn(monkeypatch)
    yield
    torch._C._set_mkldnn_enabled(was)
