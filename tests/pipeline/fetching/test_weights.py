"""A model's folder by content: one changed number or template makes another, a copy elsewhere does not."""

import os
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from pipeline.fetching.weights import content_fingerprint
from tests.support.chat_model import make_chat_model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_chat_model(tmp_path / "one")


def test_a_copy_under_another_name_and_time_is_the_same(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "another")
    os.utime(copy / "model.safetensors", (1, 1))
    assert content_fingerprint(copy) == content_fingerprint(folder)


def test_every_tensor_counts(folder: Path) -> None:
    file = folder / "model.safetensors"
    before, size = content_fingerprint(folder), file.stat().st_size
    tensors = load_file(file)
    found = set()
    for name in tensors:
        changed = {other: tensor + (other == name) for other, tensor in tensors.items()}
        save_file(changed, file, {"format": "pt"})
        assert file.stat().st_size == size
        found.add(content_fingerprint(folder))
    assert len({before, *found}) == len(tensors) + 1


def test_the_chat_template_counts(folder: Path) -> None:
    before = content_fingerprint(folder)
    template = folder / "chat_template.jinja"
    template.write_text(template.read_text() + " ")
    assert content_fingerprint(folder) != before
