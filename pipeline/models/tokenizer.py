"""Text to token ids and back to exact bytes, by the model's own tokenizer."""

import json
import re
from collections.abc import Sequence
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any, Literal, Self, cast

from pipeline.models.chat_template import (
    HIDDEN,
    Conversation,
    Filled,
    Forms,
    Message,
    Role,
    covered_characters,
    fill_template,
    find_forms,
    role_of,
    telling_names,
)
from pipeline.models.errors import ModelError
from pipeline.models.filled_template import Delimiters, find_delimiters, spans_between
from pipeline.models.sentencepiece_model import is_alone, read_sentencepiece
from pipeline.models.token_bytes import find_scheme

AS_JSON = "put the model's tokenizer.json into its folder (`save_pretrained` of a fast tokenizer writes it)"

OpenedBy = Literal["bos", "template", "none"]
"""What stands before a text: BOS, or where there is none what the tokenizer's template puts there; the latter alone; or
nothing."""

MESSAGE_CHARACTERS = 300
"""Of what transformers says, that are passed on."""
KEPT = 4
"""Tokenizers that were read last: a run asks a dozen times for the same."""
FEWEST_TOKENS = 16
"""A tokenizer with fewer is one whose vocabulary was not found."""

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
        """Read the tokenizer of a local model folder, once for as long as its files stay as they are.

        name: of the model, for messages. Raises ModelError when there is none that can be used.
        """
        name = name or str(folder)
        try:
            pretrained = _read(folder, _state_of(folder))
        except Exception as error:  # transformers raises many kinds; each means that this folder cannot be used
            reason = " ".join(str(error).split())[:MESSAGE_CHARACTERS] or type(error).__name__
            raise ModelError(f"the tokenizer of {name} cannot be read ({reason}): {AS_JSON}") from error
        return cast(Self, _made(pretrained, opening))

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
        fill = partial(self._fill, answered=answered)
        filled = fill_template(fill, messages, self._added_names, self._forms)
        if not answered:
            filled = filled._replace(spans=filled.own_system + filled.spans)
        return self._encode_filled(filled)

    def is_filled(self, text: str) -> bool:
        """Whether a text holds special tokens that the model's chat template writes, as a filled template does."""
        return any(name in text for name in self._written_names)

    def read_filled(self, text: str) -> Conversation:
        """The tokens of a text in which the names of special tokens are these tokens, and whose each is."""
        text = text.replace(HIDDEN, "\ufffd")
        return self._encode_filled(Filled(text, [], spans_between(text, self._delimiters, self._special_names), []))

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
        return telling_names(
            self._special_names, partial(self._fill, answered=True) if self.has_chat_template else None
        )

    @cached_property
    def _special_names(self) -> list[str]:
        return [token.content for token in self._plain.get_added_tokens_decoder().values() if token.special]

    @cached_property
    def _delimiters(self) -> Delimiters:
        answered, prompted = (partial(self._fill, answered=answered) for answered in (True, False))
        return find_delimiters(answered, prompted, self._special_names)

    @cached_property
    def _written_names(self) -> list[str]:
        """Of `template_names` those that the template itself writes."""
        if not self.has_chat_template:
            return []
        return [name for name in self.template_names if any(name in written for written in self._delimiters)]

    @cached_property
    def _added_names(self) -> list[str]:
        return [token.content for token in self._plain.get_added_tokens_decoder().values()]

    @cached_property
    def _forms(self) -> Forms:
        return find_forms(partial(self._fill, answered=True))

    def _fill(self, messages: list[dict[str, Any]], *, answered: bool) -> str:
        prompt = not answered
        return str(self._pretrained.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt))

    def _encode_filled(self, filled: Filled) -> Conversation:
        """Tokens of a filled template behind one opening token, and whose each is."""
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
        own = next((place for place, token in enumerate(ids) if token != self.bos_id), len(ids))
        opening: list[Role] = ["template"] * len(self.opening)
        return Conversation([*self.opening, *ids[own:]], [*opening, *roles[own:]])

    @cached_property
    def _bytes(self) -> list[bytes]:
        to_bytes = find_scheme(json.loads(self._plain.to_str()))
        pieces = [b""] * self.vocab_size
        for piece, token in self._plain.get_vocab(with_added_tokens=False).items():
            pieces[token] = to_bytes(piece)
        for token, added in self._plain.get_added_tokens_decoder().items():
            pieces[token] = added.content.encode()
        return pieces


def _state_of(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Changes when a file of a folder does; of names, sizes and times alone."""
    found = ((str(file.relative_to(folder)), file.stat()) for file in folder.rglob("*") if file.is_file())
    return tuple(sorted((name, status.st_size, status.st_mtime_ns) for name, status in found))


@lru_cache(KEPT)
def _read(folder: Path, state: object) -> Any:
    """The tokenizer of transformers in a folder."""
    return read_sentencepiece(folder) if is_alone(folder) else _read_pretrained(folder)


@lru_cache(KEPT)
def _made(pretrained: Any, opening: OpenedBy) -> Tokenizer:
    return Tokenizer(pretrained, opening)


def _read_pretrained(folder: Path) -> Any:
    import transformers  # here, for preflight needs seconds less without

    return transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
