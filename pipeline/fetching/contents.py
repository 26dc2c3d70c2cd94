"""What keeps a folder or a repository of the Hub from being read as a language model, by its files' names and heads."""

import json
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

CONFIG_FILE, WEIGHTS_FILE, INDEX_FILE = "config.json", "model.safetensors", "model.safetensors.index.json"
UNSAFE_SUFFIXES = (".bin", ".pth", ".pt", ".ckpt")
"""Formats of weights that can run code when they are read."""
TOKENIZERS = ({"tokenizer.json"}, {"tokenizer.model"}, {"vocab.json", "merges.txt"})
"""A tokenizer is made of the files of one of these sets."""
SAVE = "save it with transformers' save_pretrained"
POINTER = b"version https://git-lfs"
HEAD_BYTES = 8
"""A safetensors file begins with the length of its header, in so many bytes."""


def folder_problems(folder: Path) -> list[str]:
    """What is wrong with the files of a local folder, a sentence each."""
    names = {path.name for path in folder.iterdir() if path.is_file()}
    problems = name_problems(names, str(folder))
    files = sorted(folder.glob("model*.safetensors"))
    return problems + [said for file in files if (said := weights_problem(file))] + missing_shards(folder, names)


def name_problems(names: Collection[str], where: str) -> list[str]:
    """What is missing among the names of files. where: a folder or the id of a repository."""
    is_adapter = any(name.startswith("adapter_") for name in names)
    weights = {WEIGHTS_FILE, INDEX_FILE} & set(names)
    if is_adapter and not weights:
        return [
            f"{where} holds an adapter (LoRA) alone, not a language model: merge it into its base model (peft's "
            "merge_and_unload), save that with save_pretrained, and give that folder"
        ]
    if CONFIG_FILE not in names:
        return [_without_config(names, where)]
    problems = [] if weights else [_without_weights(names, where)]
    if not has_tokenizer(names):
        problems.append(f"{where} holds no tokenizer (no tokenizer.json): save the model's own there")
    return problems


def has_tokenizer(names: Iterable[str]) -> bool:
    """Whether there is a tokenizer among files of these names."""
    found = set(names)
    return any(files <= found for files in TOKENIZERS)


def _without_config(names: Collection[str], where: str) -> str:
    if any(name.endswith(".gguf") for name in names):
        return (
            f"{where} holds GGUF files and no config.json: fetch the one to use, alone, into a folder, and set "
            "model.source to that folder"
        )
    return f"{where} holds no language model (no config.json): give a folder that was saved with save_pretrained"


def _without_weights(names: Collection[str], where: str) -> str:
    if any(name.endswith(UNSAFE_SUFFIXES) for name in names):
        return (
            f"{where} holds weights as .bin or .pth only, which can run code when they are read: save the model as "
            "safetensors (transformers' save_pretrained does), or choose a repository or revision that has them"
        )
    if others := sorted(name for name in names if name.endswith(".safetensors")):
        return f"{where} holds {others[0]} and neither {WEIGHTS_FILE} nor {INDEX_FILE}: {SAVE}"
    return f"{where} holds no weights (no .safetensors): put the model's own there, or give another folder"


def missing_shards(folder: Path, names: Collection[str]) -> list[str]:
    """What the index of the weights names and the folder lacks."""
    if INDEX_FILE not in names or WEIGHTS_FILE in names:
        return []
    try:
        shards = set(json.loads((folder / INDEX_FILE).read_text())["weight_map"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return [f"{folder / INDEX_FILE} cannot be read ({error}): fetch it again"]
    if missing := sorted(shards - set(names)):
        others = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        return [f"{folder} lacks {missing[0]}{others} of its {len(shards)} files of weights: fetch what is missing"]
    return []


def weights_problem(file: Path) -> str:
    """What is wrong with a safetensors file, by its header; "" when it is whole."""
    try:
        return _header_problem(file)
    except OSError as error:
        return f"{file} cannot be read: {error.strerror}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{file} is no safetensors file: fetch it again, or save the model again"


def _header_problem(file: Path) -> str:
    size = file.stat().st_size
    with file.open("rb") as opened:
        head = opened.read(HEAD_BYTES)
        length = int.from_bytes(head, "little")
        if POINTER.startswith(head) and head:
            return f"{file} is a pointer of Git LFS, not the weights: run `git lfs pull` there"
        if len(head) < HEAD_BYTES or length > size - HEAD_BYTES:
            return f"{file} is cut off, or no safetensors file: fetch it again"
        header: dict[str, Any] = json.loads(opened.read(length))
    last = max((part["data_offsets"][1] for name, part in header.items() if name != "__metadata__"), default=0)
    if HEAD_BYTES + length + last != size:
        return f"{file} has {size:,} bytes instead of {HEAD_BYTES + length + last:,}: fetch it again"
    return ""
