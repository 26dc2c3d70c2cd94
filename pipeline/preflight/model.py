"""The language model: its files, what it is built of, and whether the recipe and its tokenizer fit it."""

from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from data.errors import MonosemaError
from data.layout import StorePaths
from pipeline.fetching import hub
from pipeline.fetching.contents import CONFIG_FILE, folder_problems, has_tokenizer, name_problems
from pipeline.fetching.ensure import model_place
from pipeline.fetching.local import gguf_alone, local_model, misfits, model_config
from pipeline.models.errors import ModelError
from pipeline.preflight.tokenizer import look_at_tokenizer
from pipeline.recipe import ModelConfig, ReadRecipe

if TYPE_CHECKING:
    from pipeline.models.skeleton import Skeleton
    from pipeline.models.tokenizer import Tokenizer

GGUF_MAGIC = b"GGUF"


@dataclass
class ModelFound:
    """What can be known of the recipe's model before it is fetched or read."""

    problems: list[str] = field(default_factory=list)
    skeleton: "Skeleton | None" = None
    tokenizer: "Tokenizer | None" = None
    bytes_to_fetch: int = 0
    """From the Hub; 0 where the model is here, or its size is not known."""


def look_at_model(read: ReadRecipe, store: StorePaths) -> ModelFound:
    """Look at the model where it is, or at its small files on the Hub where it is not here yet."""
    config = read.recipe.model
    if not read.gives("model.source", "model.revision"):
        return ModelFound()
    try:
        place = model_place(config, store)
        if place.is_dir():
            return _look_at_folder(read, place, place.name, folder_problems(place))
        if config.source == "sample":
            return ModelFound()
        local = local_model(config)
        return _look_at_hub(read, config) if local is None else _look_at_gguf(local)
    except (MonosemaError, ModelError) as error:
        return ModelFound([str(error)])


def _look_at_hub(read: ReadRecipe, config: ModelConfig) -> ModelFound:
    files = hub.list_files(config.source, config.revision)
    problems = name_problems(files, config.source)
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        hub.take_small_files(config.source, config.revision, files, folder)
        found = _look_at_folder(read, folder, config.source, problems)
    found.bytes_to_fetch = hub.fetched_bytes(files)
    return found


def _look_at_gguf(folder: Path) -> ModelFound:
    """A file that is still to be converted: whether it is one at all."""
    file = gguf_alone(folder)
    assert file is not None, "a folder without GGUF is its own place"
    with file.open("rb") as opened:
        whole = opened.read(len(GGUF_MAGIC)) == GGUF_MAGIC
    return ModelFound([] if whole else [f"{file} is no GGUF file: fetch it again, or take it out"])


def _look_at_folder(read: ReadRecipe, folder: Path, name: str, problems: list[str]) -> ModelFound:
    """What the small files of a model say. problems: those of its files, found already."""
    found = ModelFound(problems)
    if (folder / CONFIG_FILE).is_file():
        _look_at_config(read, folder, name, found)
    if has_tokenizer(path.name for path in folder.iterdir()):
        found.tokenizer = look_at_tokenizer(folder, name, found.problems)
    return found


def _look_at_config(read: ReadRecipe, folder: Path, name: str, found: ModelFound) -> None:
    from pipeline.models.skeleton import read_skeleton

    try:
        found.problems += misfits(read.recipe, model_config(folder), name)
        found.skeleton = read_skeleton(folder, name)
    except ModelError as error:
        found.problems.append(str(error))
