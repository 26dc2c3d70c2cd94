"""Conversations and the folder of a tiny model that reads them, whose tokens are single bytes."""

import json
from pathlib import Path
from typing import Any

from tests.support.chat_model import make_chat_model

TALKS = [
    [
        {"role": "user", "content": f"What of {n}? Tell me, é."},
        {"role": "assistant", "content": f"Of {n} I know {n * 7919 % 1009} things; all are dull."},
        {"role": "user", "content": "And more"},
        {"role": "assistant", "content": f"No more than {n + 1}."},
    ]
    for n in range(60)
]
TEMPLATE, SYSTEM, USER, ASSISTANT, DEVELOPER, TOOL = range(6)
NUMBERS = {"system": SYSTEM, "user": USER, "assistant": ASSISTANT, "developer": DEVELOPER, "tool": TOOL}


def naive_bytes(talk: list[dict[str, Any]]) -> list[tuple[str, int]]:
    """Each token of a filled template of the tiny model, behind its BOS, and whose it is: by writing it out."""
    found: list[tuple[str, int]] = []
    for message in talk:
        found += [("<s>", TEMPLATE), *((one, TEMPLATE) for one in f"{message['role']}\n")]
        content = message["content"].encode("utf-8").decode("latin-1")
        found += [(one, NUMBERS[message["role"]]) for one in content]
        found += [("</s>", TEMPLATE), ("\n", TEMPLATE)]
    return found[1:]


def write_talks(file: Path, talks: Any = TALKS) -> Path:
    """JSON lines with `messages`; returns the file."""
    file.write_text("".join(json.dumps({"messages": talk, "n": n}) + "\n" for n, talk in enumerate(talks)))
    return file


def make_talking_model(folder: Path, template: str | None = None) -> Path:
    """See make_chat_model. template: in place of its own."""
    make_chat_model(folder, context=256)
    file = folder / "chat_template.jinja"
    if template is not None:
        file.write_text(template)
    return folder


def add_special_token(folder: Path, name: str) -> None:
    """Give a model's tokenizer one more special token."""
    settings = json.loads((folder / "tokenizer.json").read_text())
    number = len(settings["model"]["vocab"])
    settings["added_tokens"].append({**settings["added_tokens"][0], "id": number, "content": name})
    (folder / "tokenizer.json").write_text(json.dumps(settings))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "vocab_size": number + 1}))
