"""JSON values of a file, one after the other, in bounded memory."""

import json
import re
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any

from data.errors import CorpusError
from pipeline.corpus.conversations import Fields

MAX_RECORD = 1 << 26
"""Characters of one record."""
_BETWEEN = re.compile(r"[\s,]*")
_DECODER = json.JSONDecoder()


def parse_json(text: str, where: str) -> Any:
    """One value. where: named in the error. Raises CorpusError."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CorpusError(f"{where}: not JSON that can be read ({_why(error)}): fix or remove it") from None


def read_values(blocks: Iterable[str], fields: Fields, where: str) -> Iterator[Any]:
    """The records of a .json file, see jsonl.py. Raises CorpusError where it is none, or one is too long."""
    text = _Buffer(iter(blocks), where)
    if text.next_character() == "[":
        text.skip(1)
        yield from text.values(until="]")
        return
    values = text.values(until="")
    first = list(islice(values, 2))
    if len(first) == 1 and isinstance(first[0], dict) and fields.among(first[0]) is None:
        yield from _only_list(first[0], fields, where)
    else:
        yield from chain(first, values)


def _only_list(value: dict[str, Any], fields: Fields, where: str) -> list[Any]:
    """The one list of documents that an object holds; the object itself where it holds none."""
    lists = [name for name, one in value.items() if isinstance(one, list) and one and isinstance(one[0], dict)]
    lists = [name for name in lists if fields.among(value[name][0]) is not None]
    if len(lists) > 1:
        raise CorpusError(
            f"{where} holds several lists of documents ({', '.join(map(repr, lists))}): save the one to read as a "
            ".json of its own"
        )
    return list(value[lists[0]]) if lists else [value]


class _Buffer:
    """What was read of a text and not yet parsed."""

    def __init__(self, blocks: Iterator[str], where: str) -> None:
        self._blocks, self._where = blocks, where
        self._text, self._start, self._num_values = "", 0, 0

    def next_character(self) -> str:
        """The next one that is neither white space nor a comma; "" at the end."""
        while True:
            match = _BETWEEN.match(self._text, self._start)
            assert match is not None, "it matches nothing, too"
            self._start = match.end()
            if self._start < len(self._text):
                return self._text[self._start]
            if not self._read_more():
                return ""

    def skip(self, count: int) -> None:
        self._start += count

    def values(self, until: str) -> Iterator[Any]:
        """Values up to a character, "" for the end of the text."""
        while (character := self.next_character()) != until:
            if not character:
                raise CorpusError(f"{self._where} ends before its list does: fetch it again")
            self._num_values += 1
            yield self._value()

    def _value(self) -> Any:
        while True:
            try:
                value, stop = _DECODER.raw_decode(self._text, self._start)
                # A number or a word may go on in the next block.
                if stop < len(self._text) or not self._read_more():
                    self._start = stop
                    return value
            except (ValueError, RecursionError) as error:
                too_long = len(self._text) - self._start > MAX_RECORD
                if not isinstance(error, json.JSONDecodeError) or too_long or not self._read_more():
                    raise CorpusError(self._problem(error, too_long=too_long)) from None

    def _problem(self, error: Exception, *, too_long: bool) -> str:
        which = f"{self._where}, record {self._num_values}"
        if too_long:
            return (
                f"{which}: not JSON, or longer than {MAX_RECORD:,} characters: fix it, or save the file as JSON lines"
            )
        return f"{which}: not JSON that can be read ({_why(error)}): fix or remove it"

    def _read_more(self) -> bool:
        """Read a few blocks: at least as much as is held, so that long values are not tried many times."""
        self._text, self._start = self._text[self._start :], 0
        held, length = len(self._text), 0
        more: list[str] = []
        while length < max(held, 1) and (block := next(self._blocks, None)) is not None:
            more.append(block)
            length += len(block)
        self._text += "".join(more)
        return length > 0


def _why(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg}, character {error.pos + 1:,}"
    if isinstance(error, RecursionError):
        return "brackets inside brackets too deep"
    return "a number with thousands of digits"
