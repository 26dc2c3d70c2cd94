"""Text to token ids and back to exact bytes, by the model's own tokenizer.

Three schemes are known, since only for them the bytes of a token follow from its name: byte-level BPE (GPT-2, Llama 3,
SmolLM2, Qwen), sentencepiece's pieces, with byte fallback or without (Llama 2, Mistral, Gemma), and WordPiece, whose
words come out with one blank before each, as its tokens hold no others.
"""

import json
import re
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal, Self

from pipeline.models.chat_template import (
    HIDDEN,
    Conversation,
    Filled,
    Message,
    Role,
    covered_characters,
    fill_template,
    role_of,
    telling_names,
)
from pipeline.models.errors import ModelError
from pipeline.models.sentencepiece_model import is_alone, read_sentencepiece

AS_JSON = "put the model's tokenizer.json into its folder (`save_pretrained` of a fast tokenizer writes it)"

OpenedBy = Literal["bos", "template", "none"]
"""What stands before a text: BOS, or where there is none what the tokenizer's template puts there; the latter alone; or
nothing."""

MESSAGE_CHARACTERS = 300
"""Of what transformers says, that are passed on."""
FEWEST_TOKENS = 16
"""A tokenizer with fewer is one whose vocabulary was not found."""

_BYTE_PIECE = re.compile(r"<0x([0-9A-F]{2})>")
_SPACE_MARK = "▁"
_SURROGATES = re.compile("[\ud800-\udfff]")


class Tokenizer:
    """A tokenizer of the transformers library. Text never becomes a special token, but in `chat` the template's own."""

    def __init__(self, pretrained: Any, opening: OpenedBy = "bos") -> None:
        """pretrained: a fast tokenizer of transformers. Raises ModelError when it has no rules of its own here."""
        if not getattr(pretrained, "is_fast", False):
            raise ModelError(f"{type(pretrained).__name__} has no fast version: {AS_JSON}")
        self._pretrained, self._opened_by = pretrained, opening
        parsing = pretrained.backend_tokenizer
        self._plain = type(parsing).from_str(parsing.to_str())
        self._plain.encode_special_tokens = True
        self._plain.no_truncation()
        self._plain.no_padding()
        ids = self._plain.get_vocab(with_added_tokens=True).values()
        if len(ids) < FEWEST_TOKENS:
            raise ModelError(
                f"{type(pretrained).__name__} has {len(ids)} tokens only, so its files were not read: {AS_JSON}"
            )
        self.vocab_size: int = max(ids, default=-1) + 1
        """One more than the highest token id. A model's own vocabulary may be padded beyond it."""

    @classmethod
    def load(cls, folder: Path, name: str = "", *, opening: OpenedBy = "bos") -> Self:
        """Read the tokenizer of a local model folder. name: of the model, for messages.

        Raises ModelError when there is none that can be used.
        """
        name = name or str(folder)
        try:
            pretrained = read_sentencepiece(folder) if is_alone(folder) else _read_pretrained(folder)
        except Exception as error:  # transformers raises many kinds; each means that this folder cannot be used
            reason = " ".join(str(error).split())[:MESSAGE_CHARACTERS] or type(error).__name__
            raise ModelError(f"the tokenizer of {name} cannot be read ({reason}): {AS_JSON}") from error
        return cls(pretrained, opening)

    @cached_property
    def bos_id(self) -> int | None:
        """The token that opens every sequence; None for a model that has none, such as Qwen's: it is never made up."""
        if self._opened_by == "none":
            return None
        found = self._pretrained.bos_token_id if self._opened_by == "bos" else None
        return self._opening_of_template() if found is None else int(found)

    def _opening_of_template(self) -> int | None:
        """The token that the tokenizer's own template puts before a text, such as [CLS]."""
        parsing = self._pretrained.backend_tokenizer
        framed, plain = (parsing.encode("a", add_special_tokens=framed).ids for framed in (True, False))
        places = range(len(framed) - len(plain) + 1)
        before = framed[: next((place for place in places if framed[place : place + len(plain)] == plain), 0)]
        if len(before) > 1:
            raise ModelError(
                f"the tokenizer opens a text with {len(before)} tokens ({self.decode(before)}), where one can be read "
                "here: set tokenize.opening=none"
            )
        return int(before[0]) if before else None

    @property
    def opening(self) -> list[int]:
        """What stands before a text: BOS, or nothing, so that the text's own first token opens it."""
        return [] if self.bos_id is None else [self.bos_id]

    def open(self, text: str) -> tuple[list[int], range]:
        """What the model reads of a text, and the positions of the text's own tokens: all but the opening one."""
        tokens = [*self.opening, *self.encode(text)]
        return tokens, range(1, max(len(tokens), 1))

    def check(self) -> None:
        """Raise ModelError when the bytes of its tokens are not known, or how it opens a text."""
        self.token_bytes()
        self.open("")

    def encode(self, text: str) -> list[int]:
        """Token ids of one text, see `encode_batch`."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text. No special token is added, and text that looks like one stays plain text.

        Surrogates, which no UTF-8 text holds, count as U+FFFD.
        """
        clean = [_SURROGATES.sub("\ufffd", text) for text in texts]
        return [encoding.ids for encoding in self._plain.encode_batch_fast(clean, add_special_tokens=False)]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of some tokens, special tokens by name; bytes that are no UTF-8 become U+FFFD.

        An id without a token, which a model that pads its vocabulary may write, gives nothing.
        """
        return b"".join(self._bytes[token] for token in ids if token < len(self._bytes)).decode("utf-8", "replace")

    def token_bytes(self, num_ids: int | None = None) -> list[bytes]:
        """The exact bytes that each token id stands for; b"" for an id without a token.

        A special token gives the bytes of its name. num_ids: length of the list, for models that pad their vocabulary.
        """
        missing = max(0, (num_ids or 0) - len(self._bytes))
        return self._bytes + [b""] * missing

    @property
    def has_chat_template(self) -> bool:
        """Whether `chat` can be asked for."""
        return bool(self._pretrained.chat_template)

    def chat(self, messages: Sequence[Message]) -> Conversation:
        """A conversation up to where the assistant answers, by the model's chat template.

        A message that holds the name of a special token stays plain text. Raises ModelError when the model has no chat
        template, or its template refuses the messages or does not show each of them as it is.
        """
        return self._by_template(messages, answered=False)

    def converse(self, messages: Sequence[Message]) -> Conversation:
        """A whole conversation as `chat` gives it, but nothing of an answer that is to come, and a system message that
        the template puts in by itself is the template's. Raises as `chat` does."""
        return self._by_template(messages, answered=True)

    def _by_template(self, messages: Sequence[Message], *, answered: bool) -> Conversation:
        if not self.has_chat_template:
            raise ModelError("this model has no chat template: it is no chat model, give it plain text")
        if not messages:
            raise ModelError("there is no message to answer: begin with one of the user")
        filled = fill_template(partial(self._fill, answered=answered), messages, self._added_names)
        if answered:
            filled = filled._replace(spans=filled.spans[-len(messages) :])
        ids, roles = self._encode_filled(filled)
        own = next((place for place, token in enumerate(ids) if token != self.bos_id), len(ids))
        opening: list[Role] = ["template"] * len(self.opening)
        return Conversation([*self.opening, *ids[own:]], [*opening, *roles[own:]])

    def ask(self, content: str) -> tuple[list[int], range]:
        """Token ids of `chat` with one message of the user, and the positions of the message's own tokens.

        Raises as `chat` does.
        """
        tokens, roles = self.chat([Message("user", content)])
        own = [position for position, role in enumerate(roles) if role == "user"]
        return tokens, range(own[0], own[-1] + 1) if own else range(len(tokens), len(tokens))

    @cached_property
    def template_names(self) -> tuple[str, ...]:
        """Names of special tokens by which a text shows that it is a filled chat template, see `telling_names`."""
        special = [token.content for token in self._plain.get_added_tokens_decoder().values() if token.special]
        return telling_names(special, partial(self._fill, answered=True) if self.has_chat_template else None)

    @cached_property
    def _added_names(self) -> list[str]:
        return [token.content for token in self._plain.get_added_tokens_decoder().values()]

    def _fill(self, messages: list[dict[str, str]], *, answered: bool) -> str:
        prompt = not answered
        return str(self._pretrained.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt))

    def _encode_filled(self, filled: Filled) -> tuple[list[int], list[Role]]:
        """Tokens of a filled template, and whose each is."""
        ids: list[int] = []
        roles: list[Role] = []
        first, *others = filled.text.split(HIDDEN)
        start = 0
        for name, part in zip(["", *filled.hidden], [first, *others], strict=True):
            if name:
                tokens = self.encode(name)
                ids += tokens
                roles += [role_of(start, start + len(HIDDEN), filled.spans)] * len(tokens)
                start += len(HIDDEN)
            encoding = self._pretrained.backend_tokenizer.encode(
                _SURROGATES.sub("\ufffd", part), add_special_tokens=False
            )
            ids += encoding.ids
            roles += [role_of(start + a, start + b, filled.spans) for a, b in covered_characters(encoding.offsets)]
            start += len(part)
        return ids, roles

    @cached_property
    def _bytes(self) -> list[bytes]:
        to_bytes = find_scheme(json.loads(self._plain.to_str()))
        pieces = [b""] * self.vocab_size
        for piece, token in self._plain.get_vocab(with_added_tokens=False).items():
            pieces[token] = to_bytes(piece)
        for token, added in self._plain.get_added_tokens_decoder().items():
            pieces[token] = added.content.encode()
        return pieces


def _read_pretrained(folder: Path) -> Any:
    import transformers  # here, for preflight needs seconds less without

    return transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


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
