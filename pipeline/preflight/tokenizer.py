"""The tokenizer, as far as its tokenizer.json says: whether it can be read, and the bytes of its tokens are known."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from pipeline.models.errors import ModelError
from pipeline.models.token_bytes import find_scheme
from pipeline.models.tokenizer import AS_JSON

Encode = Callable[[Sequence[str]], list[list[int]]]
"""From texts to the token ids of each."""


def look_at_tokenizer(folder: Path, name: str, problems: list[str], special: list[str]) -> Encode | None:
    """The tokenizer of the model `name`. Where it cannot be used, the reason is put among the problems; the names of
    its special tokens are put among `special`.

    None, too, where it is in other files, which transformers alone can read.
    """
    file = folder / "tokenizer.json"
    if not file.is_file():
        return None
    from tokenizers import Tokenizer

    try:
        plain = Tokenizer.from_file(str(file))
        find_scheme(json.loads(file.read_text(encoding="utf-8")))
    except ModelError as error:
        problems.append(f"{name}: {error}")
        return None
    except Exception as error:  # the library raises plain ones
        problems.append(f"the tokenizer.json of {name} cannot be read ({error}): {AS_JSON}")
        return None
    special += [token.content for token in plain.get_added_tokens_decoder().values() if token.special]
    plain.encode_special_tokens = True
    plain.no_truncation()
    plain.no_padding()
    return lambda texts: [encoding.ids for encoding in plain.encode_batch_fast(list(texts), add_special_tokens=False)]
