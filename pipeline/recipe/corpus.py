"""The recipe's section on the corpus: where documents come from, and how they are read."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from pipeline.recipe.section import Fraction, Section, is_none

BadEncoding = Literal["refuse", "replace", "skip"]
Turns = str | tuple[str, ...]
"""Whose: "all", one of ROLES, or several of them."""
ROLES = ("system", "developer", "user", "assistant", "tool")
BadConversations = Literal["refuse", "skip"]
CHAT_SOURCES = ("jsonl", "parquet", "huggingface")


def _check_turns(turns: Turns) -> Turns:
    named = (turns,) if isinstance(turns, str) else turns
    if wrong := [one for one in named if one not in ROLES and turns != "all"]:
        raise ValueError(
            f"'{wrong[0]}' is not whose tokens may count: give all, or {', '.join(ROLES)}, or a list of them"
        )
    if not named:
        raise ValueError("an empty list lets no token count: give all, or the roles whose tokens count")
    return turns


class CorpusConfig(Section):
    """Source of the documents."""

    source: Literal["sample", "text", "jsonl", "csv", "parquet", "huggingface"]
    path: Path | None = None
    """text, jsonl, csv, parquet: a file or a folder of them. Relative to where the command runs."""
    text_field: str = "text"
    """jsonl, csv, parquet, huggingface: the field that holds the text. The other fields are kept as `meta`. Of
    conversations: the field that holds the messages, where it is not `messages`, `conversations` or `conversation`."""
    turns: Annotated[Annotated[Turns, AfterValidator(_check_turns)] | None, Field(exclude_if=is_none)] = None
    """jsonl, parquet, huggingface: reads conversations by the model's chat template; whose tokens train SAEs, are
    measured and give examples: those of "all" messages, of one role ("assistant"), or of several (["assistant",
    "tool"]), of system, developer, user, assistant and tool. None reads plain text."""
    template_tokens: Annotated[bool, Field(exclude_if=lambda counted: not counted)] = False
    """Of conversations: count what the template says around the messages, too."""
    bad_conversations: Annotated[BadConversations, Field(exclude_if=lambda bad: bad == "refuse")] = "refuse"
    """Where a conversation cannot be had: messages without role or text, or the template refuses them. "skip" leaves
    it out; all are counted."""
    separator: Annotated[str, Field(min_length=1)] | None = None
    """text: what stands between the documents of a file, such as "<|endoftext|>"; None takes a file for one."""
    bad_encoding: BadEncoding = "refuse"
    """text, jsonl, csv: where a file is not UTF-8. "refuse" names all such files and ends; "replace" reads each wrong
    byte as U+FFFD; "skip" leaves out the file (text, .json), line (other jsonl) or row (csv). All are counted."""
    max_document_characters: Annotated[int, Field(ge=200)] = 1_000_000
    """A longer document is cut into parts, at a blank line where there is one. A part counts as a document: it is held
    out or trained on by itself, and each gives one top example at most. Lower it where there are few documents."""
    dataset: str | None = None
    """huggingface: id of the dataset, or a local folder in its format."""
    configuration: str | None = None
    split: str = "train"
    revision: str | None = None
    held_out_fraction: Fraction = 0.02
    """Share of documents, chosen by hash, that are kept for metrics only."""

    @field_validator("path")
    @classmethod
    def _check_path(cls, path: Path | None) -> Path | None:
        try:
            str(path).encode()
        except UnicodeEncodeError:
            raise ValueError("the path is not UTF-8 and cannot be written down: rename the folder") from None
        return path

    @model_validator(mode="after")
    def _check_source(self) -> Self:
        if self.source in {"text", "jsonl", "csv", "parquet"} and self.path is None:
            raise ValueError(f"corpus source '{self.source}' needs corpus.path")
        if self.source == "huggingface" and self.dataset is None:
            raise ValueError("corpus source 'huggingface' needs corpus.dataset")
        if self.turns is not None and self.source not in CHAT_SOURCES:
            raise ValueError(f"corpus source '{self.source}' holds no conversations: leave corpus.turns out")
        if self.template_tokens and self.turns is None:
            raise ValueError("corpus.template_tokens is for conversations: set corpus.turns, too")
        if self.separator is not None and self.source != "text":
            raise ValueError(f"corpus source '{self.source}' takes no corpus.separator: it is for source 'text'")
        return self
