"""The vocabulary of a model in a folder."""

import json
from pathlib import Path

from pipeline.models.tokenizer import Tokenizer


def model_vocabulary(folder: Path) -> list[bytes]:
    """The bytes of every id that the model knows: its own vocabulary may be larger than its tokenizer's."""
    config = json.loads((folder / "config.json").read_text())
    size = config.get("vocab_size") or config.get("text_config", {}).get("vocab_size")
    return Tokenizer.load(folder).token_bytes(size)
