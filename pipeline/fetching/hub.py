"""Language models of the Hugging Face Hub."""

from collections.abc import Sequence
from pathlib import Path

from pipeline.models.errors import ModelError
from pipeline.progress import log

MODEL_PATTERNS = [
    *("config.json", "generation_config.json", "model*.safetensors", "model.safetensors.index.json", "tokenizer*"),
    *("special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt", "chat_template*"),
]
"""Files that are fetched of a repository: no second format of the weights, no training state."""


def download(
    source: str, revision: str | None, folder: Path, patterns: Sequence[str] = MODEL_PATTERNS, field: str = "model"
) -> None:
    """Put a model's files into `folder`, for a section of the recipe. What an interrupted download left there is used.

    Raises ModelError.
    """
    import huggingface_hub
    from huggingface_hub import errors

    log(f"fetching {source} from the Hugging Face Hub")
    page = f"https://huggingface.co/{source}"
    try:
        huggingface_hub.snapshot_download(source, revision=revision, local_dir=folder, allow_patterns=list(patterns))
    except errors.GatedRepoError:
        raise ModelError(
            f"{source} is gated: accept its licence at {page}, set HF_TOKEN to a token of your account "
            "(huggingface.co/settings/tokens), and run the same command again"
        ) from None
    except errors.RepositoryNotFoundError:
        raise ModelError(
            f"there is no folder and no Hub model '{source}': check {field}.source, and set HF_TOKEN if it is private"
        ) from None
    except errors.RevisionNotFoundError:
        raise ModelError(f"{source} has no revision '{revision}': check {field}.revision at {page}") from None
    except (OSError, errors.HFValidationError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(
            f"{source} cannot be fetched from the Hub ({reason}), and no folder has that name: connect to the network, "
            f"or set {field}.source to a local folder; the download resumes where it stopped"
        ) from None
