"""The exact bytes of tokens, by the scheme in which a tokenizer names them.

Three schemes are known, since only for them the bytes of a token follow from its name: byte-level BPE (GPT-2, Llama 3,
SmolLM2, Qwen), sentencepiece's pieces, with byte fallback or without (Llama 2, Mistral, Gemma), and WordPiece, whose
words come out with one blank before each, as its tokens hold no others.
"""

import json
import re
from collections.abc import Callable
from functools import partial
from typing import Any

from pipeline.models.errors import ModelError

_BYTE_PIECE = re.compile(r"<0x([0-9A-F]{2})>")
_SPACE_MARK = "▁"


def find_scheme(description: dict[str, Any]) -> Callable[[str], bytes]:
    """The scheme by which a tokenizer names bytes, from its own description (tokenizer.json).

    Raises ModelError when it is none of those that are known.
    """
    kinds = _kinds(description.get("decoder")) | _kinds(description.get("pre_tokenizer"))
    if "ByteLevel" in kinds:
        return _byte_level
    marks_spaces = "Metaspace" in kinds or _SPACE_MARK in json.dumps(description.get("decoder"), ensure_ascii=False)
    if marks_spaces:
        return _sentencepiece
    model = description.get("model") or {}
    if model.get("type") == "WordPiece":
        return partial(_wordpiece, str(model.get("continuing_subword_prefix", "##")))
    kind = model.get("type", "of no known kind")
    raise ModelError(
        f"the bytes of this tokenizer's tokens are not known ({kind}): byte-level BPE, sentencepiece and WordPiece "
        "tokenizers work; give a model with one of these, as Llama, Mistral, Qwen, Gemma and GPT-2 have"
    )


def _kinds(component: Any) -> set[str]:
    """Types of a component and of all that it is made of."""
    if isinstance(component, list):
        return set().union(*map(_kinds, component)) if component else set()
    if not isinstance(component, dict):
        return set()
    nested = (_kinds(value) for value in component.values())
    return {str(component.get("type"))}.union(*nested)


def _byte_level(piece: str) -> bytes:
    try:
        return bytes(_BYTES_OF_CHARACTERS[character] for character in piece)
    except KeyError:
        return piece.encode()  # a token that was put into the vocabulary by its plain name


def _sentencepiece(piece: str) -> bytes:
    byte = _BYTE_PIECE.fullmatch(piece)
    return bytes([int(byte[1], 16)]) if byte else piece.replace(_SPACE_MARK, " ").encode()


def _wordpiece(continuing: str, piece: str) -> bytes:
    """A piece that begins a word, with a blank before it, or one that goes on."""
    return piece.removeprefix(continuing).encode() if piece.startswith(continuing) else f" {piece}".encode()


def _byte_characters() -> dict[str, int]:
    """The printable character by which byte-level BPE names each byte (GPT-2, `bytes_to_unicode`)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    return {chr(byte): byte for byte in printable} | {chr(256 + place): byte for place, byte in enumerate(others)}


_BYTES_OF_CHARACTERS = _byte_characters()
