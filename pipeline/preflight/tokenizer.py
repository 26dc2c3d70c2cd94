"""The tokenizer: whether it can be read, and the bytes of its tokens are known."""

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.models.errors import ModelError

if TYPE_CHECKING:
    from pipeline.models.tokenizer import Tokenizer


def look_at_tokenizer(folder: Path, name: str, problems: list[str]) -> "Tokenizer | None":
    """The tokenizer of the model `name`; None, and the reason among the problems, where it cannot be used."""
    from pipeline.models.tokenizer import Tokenizer

    try:
        tokenizer = Tokenizer.load(folder, name)
        tokenizer.token_bytes()
    except ModelError as error:
        problems.append(str(error))
        return None
    return tokenizer
