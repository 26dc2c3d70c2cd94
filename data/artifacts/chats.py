"""How conversations, or what looks like some, were read, in words, by the counts of `tokenize`."""

from collections.abc import Mapping
from typing import Any


def describe_marks(counts: Mapping[str, Any]) -> str:
    """What plain text that looks like a filled template calls for, by the counts of `tokenize`; "" for none."""
    marked, total = counts.get("num_marked_documents"), counts["num_documents"] + counts["num_held_out_documents"]
    return say_marked(marked, total, counts["mark"]) if marked else ""


def say_marked(marked: int, total: int, mark: str, which: str = "documents") -> str:
    """The same in a sentence."""
    return (
        f"{marked:,} of {total:,} {which} hold '{mark}' as plain text, which the model never reads so: it is one token "
        "of its own there. If they are conversations, give them as messages and set corpus.turns=all; if it parts "
        "documents, set corpus.separator"
    )


def describe_chats(counts: Mapping[str, Any]) -> str:
    """How conversations were read, by the counts of `tokenize`, for people; "" for plain text."""
    if not (turns := counts.get("turns")):
        return ""
    named = [turns] if isinstance(turns, str) else turns
    owners = " and ".join(f"the {one}'s" for one in named)
    whose = "all messages" if turns == "all" else f"{owners} messages"
    template = " and of what the chat template says around them" if counts["template_tokens"] else ""
    bad = counts["num_bad_conversations"]
    left_out = f"; {bad:,} conversations were left out, which cannot be had (corpus.bad_conversations)" if bad else ""
    return (
        f"read conversations by the model's chat template; the tokens of {whose}{template} count, "
        f"{counts['num_counted_tokens']:,} of {counts['num_tokens']:,} for training{left_out}"
    )
