"""A model whose chat template writes a special token of its own, so that a text can be seen to be one filled."""

import json
from pathlib import Path

MARK = "<|turn|>"
FILLED = f"{MARK}user\nthe river{MARK}\n"
TURNS = f"{{% for m in messages %}}{MARK}{{{{ m.role }}}}\n{{{{ m.content }}}}{MARK}\n{{% endfor %}}"


def mark_turns(folder: Path) -> None:
    """Give the model in a folder the token MARK, and a chat template that writes it."""
    settings = json.loads((folder / "tokenizer.json").read_text())
    number = settings["model"]["vocab"].pop("Ā")
    settings["model"]["vocab"][MARK] = number
    settings["added_tokens"].append({**settings["added_tokens"][0], "id": number, "content": MARK})
    (folder / "tokenizer.json").write_text(json.dumps(settings))
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "chat_template": TURNS}))
