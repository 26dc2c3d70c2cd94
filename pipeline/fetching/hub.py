"""Language models of the Hugging Face Hub."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

from pipeline.models.errors import ModelError
from pipeline.progress import log

MODEL_PATTERNS = [
    *("config.json", "generation_config.json", "model*.safetensors", "model.safetensors.index.json", "tokenizer*"),
    *("special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt", "chat_template*"),
]
"""Files that are fetched of a repository: no second format of the weights, no training state."""


SMALL_PATTERNS = [name for name in MODEL_PATTERNS if "safetensors" not in name]
"""Those that say what the model is."""
SMALL_BYTES = 40_000_000
"""Larger ones are not looked at beforehand."""
LOOK_SECONDS = 3.0
"""Patience with the Hub where nothing is fetched yet."""


def download(
    source: str, revision: str | None, folder: Path, patterns: Sequence[str] = MODEL_PATTERNS, field: str = "model"
) -> None:
    """Put a model's files into `folder`, for a section of the recipe. What an interrupted download left there is used.

    Raises ModelError.
    """
    import huggingface_hub

    log(f"fetching {source} from the Hugging Face Hub")
    with _explained(source, revision, f"{field}.source", f"{field}.revision"):
        huggingface_hub.snapshot_download(source, revision=revision, local_dir=folder, allow_patterns=list(patterns))


def list_files(source: str, revision: str | None, field: str = "model") -> dict[str, int]:
    """Names of a model's files and their bytes, for a section of the recipe. Raises ModelError."""
    import huggingface_hub

    with _explained(source, revision, f"{field}.source", f"{field}.revision"):
        api = huggingface_hub.HfApi()
        found = api.model_info(source, revision=revision, files_metadata=True, timeout=LOOK_SECONDS)
        if getattr(found, "gated", False):
            api.auth_check(source)  # whose list of files everybody may read
    return {file.rfilename: file.size or 0 for file in found.siblings or ()}


def take_small_files(source: str, revision: str | None, files: Mapping[str, int], folder: Path) -> None:
    """Put those of a model's files that say what it is, and are small, into `folder`. Raises ModelError."""
    import huggingface_hub

    small = [name for name, size in files.items() if size <= SMALL_BYTES and _matches(name, SMALL_PATTERNS)]
    with _explained(source, revision, "model.source", "model.revision"):
        for name in small:
            huggingface_hub.hf_hub_download(
                source, name, revision=revision, local_dir=folder, etag_timeout=LOOK_SECONDS
            )


def fetched_bytes(files: Mapping[str, int]) -> int:
    """Bytes that `download` would fetch of these files."""
    return sum(size for name, size in files.items() if _matches(name, MODEL_PATTERNS))


def require_dataset(dataset: str, revision: str | None) -> None:
    """Raise ModelError when the Hub has no such dataset, or cannot be reached."""
    import huggingface_hub

    with _explained(dataset, revision, "corpus.dataset", "corpus.revision", kind="dataset"):
        api = huggingface_hub.HfApi()
        found = api.dataset_info(dataset, revision=revision, timeout=LOOK_SECONDS)
        if getattr(found, "gated", False):
            api.auth_check(dataset, repo_type="dataset")


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


@contextmanager
def _explained(
    source: str, revision: str | None, field: str, revision_field: str, kind: str = "model"
) -> Iterator[None]:
    """What the Hub refuses, as a ModelError with what to do. field: of the recipe, that names the source."""
    from huggingface_hub import errors

    page = f"https://huggingface.co/{'datasets/' if kind == 'dataset' else ''}{source}"
    try:
        yield
    except errors.GatedRepoError:
        raise ModelError(
            f"{source} is gated: accept its licence at {page}, set HF_TOKEN to a token of your account "
            "(huggingface.co/settings/tokens), and run the same command again"
        ) from None
    except errors.RepositoryNotFoundError:
        raise ModelError(
            f"there is no folder and no Hub {kind} '{source}': check {field}, and set HF_TOKEN if it is private"
        ) from None
    except errors.RevisionNotFoundError:
        raise ModelError(f"{source} has no revision '{revision}': check {revision_field} at {page}") from None
    except Exception as error:  # of the system, of the Hub's library, or of what it speaks HTTP with
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(
            f"{source} cannot be fetched from the Hub ({reason}), and no folder has that name: connect to the network, "
            f"or set {field} to a local folder; the download resumes where it stopped"
        ) from None
