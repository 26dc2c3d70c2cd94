"""Exported SAEs on their way to a repository of the Hugging Face Hub: a folder for each, and a card of all of them.

The token is that of HF_TOKEN, or of `hf auth login`; it is handed to huggingface_hub and said nowhere.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from data.errors import ConfigError
from pipeline.formats.exporting import CARD, LIBRARIES, ExportFormat

_NAME = re.compile(r"\w(?:[\w.-]*\w)?", re.ASCII)
TOKENS = "huggingface.co/settings/tokens"
NO_TOKEN = f"--push needs a token of the Hub: set HF_TOKEN to one with write access ({TOKENS})"


def require_writable(repository: str) -> None:
    """Raise ConfigError unless the token may write to a repository (`org/name`), as far as can be told beforehand."""
    from huggingface_hub import HfApi, get_token

    owner, slash, name = repository.partition("/")
    if not slash:
        raise ConfigError(f"--push {repository}: give the account, too, as in your-name/{repository}")
    if not (_NAME.fullmatch(owner) and _NAME.fullmatch(name)):
        raise ConfigError(f"--push {repository}: that is no id of a repository, as org/name is")
    if get_token() is None:
        raise ConfigError(NO_TOKEN)
    with _explained(repository):
        found = HfApi().whoami()
    if _role(found) == "read":
        raise ConfigError(f"the token of HF_TOKEN may only read: make one with write access ({TOKENS})")
    names = [str(found["name"]), *(str(org["name"]) for org in found.get("orgs", ()))]
    if owner not in names:
        raise ConfigError(f"the token of HF_TOKEN may write to {', '.join(names)}, not to {owner}: push there")


def push(root: Path, folders: Sequence[Path], kind: ExportFormat, repository: str, *, private: bool) -> str:
    """Upload exported folders below `root` as one commit, into a repository that is made unless it is there.

    Returns its address. A card that the repository has already stays. Raises ConfigError; the folders then stand.
    """
    from huggingface_hub import HfApi

    api, names = HfApi(), sorted({folder.relative_to(root).parts[0] for folder in folders})
    try:
        with _explained(repository):
            address = api.create_repo(repository, private=private or None, exist_ok=True)
            if not api.file_exists(repository, CARD):
                (root / CARD).write_text(card_of_all(names, kind, repository), encoding="utf-8")
            message = f"Add {', '.join(names)} in the format of {kind}"
            api.upload_folder(repo_id=repository, folder_path=root, commit_message=message)
    except ConfigError as error:
        raise ConfigError(f"{error}. It is in {root}: `hf upload {repository} {root}` puts it there, too") from None
    return str(address)


def card_of_all(names: Sequence[str], kind: ExportFormat, repository: str) -> str:
    """The card of a repository: its SAEs, and how one is shown."""
    head = f"---\nlibrary_name: {LIBRARIES[kind]}\ntags:\n- sparse-autoencoder\n- interpretability\n---\n"
    lines = "\n".join(f"- [{name}](./{name})" for name in names)
    return (
        f"{head}\n# {repository.partition('/')[2]}\n\nSparse autoencoders, written by Monosema for {kind}. Each folder "
        f"has a card of its own.\n\n{lines}\n\n```sh\nmonosema show {repository}/{names[0]}\n```\n"
    )


def _role(found: dict[str, Any]) -> str:
    return str(found.get("auth", {}).get("accessToken", {}).get("role", ""))


@contextmanager
def _explained(repository: str) -> Iterator[None]:
    """What the Hub refuses, as a ConfigError with what to do."""
    from huggingface_hub import errors

    try:
        yield
    except errors.HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        if status == 401:
            raise ConfigError(f"the Hub does not know the token of HF_TOKEN: make another ({TOKENS})") from None
        if status in (403, 404):
            raise ConfigError(f"the token of HF_TOKEN may not write to {repository}: see {TOKENS}") from None
        raise ConfigError(f"the Hub refuses to take {repository} ({_first_line(error)}): try again later") from None
    except (OSError, RuntimeError, ValueError) as error:
        raise ConfigError(f"{repository} cannot be put on the Hub ({_first_line(error)}): try again") from None
    except Exception as error:  # of what huggingface_hub speaks HTTP with
        reason = _first_line(error)
        raise ConfigError(f"the Hub cannot be reached ({reason}): connect to the network, and try again") from None


def _first_line(error: Exception) -> str:
    """Of an error, and of what caused it."""
    first = next((line.strip(" .") for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return f"{first}: {_first_line(error.__cause__)}" if isinstance(error.__cause__, Exception) else first
