"""The language model: its files, what it is built of, and whether the recipe and its tokenizer fit it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from data.errors import MonosemaError
from data.hooks import RESID_POST, Hook
from data.layout import StorePaths
from pipeline.fetching import hub
from pipeline.fetching.contents import CONFIG_FILE, folder_problems, has_tokenizer, name_problems
from pipeline.fetching.ensure import model_place
from pipeline.fetching.local import gguf_alone, local_model, misfits, model_config
from pipeline.models.errors import ModelError
from pipeline.models.sources import built_otherwise, read_build
from pipeline.preflight.tokenizer import Encode, look_at_tokenizer
from pipeline.recipe import ModelConfig, OpenedBy, ReadRecipe

GGUF_MAGIC = b"GGUF"
OWN_LAYERS = "LlamaForCausalLM"
"""The class whose layers we run by code of our own; every other is run by transformers'."""


@dataclass
class ModelFound:
    """What can be known of the recipe's model before it is fetched or read."""

    problems: list[str] = field(default_factory=list)
    name: str = ""
    folder: Path | None = None
    """Of its configuration and tokenizer, where these are here."""
    config: dict[str, Any] = field(default_factory=dict)
    """Its config.json; empty where that is not known."""
    encode: Encode | None = None
    """Its tokenizer, where that is quickly had."""
    hooks: tuple[Hook, ...] = (RESID_POST,)
    """Kinds of those that the recipe reads."""
    special_names: list[str] = field(default_factory=list)
    """Of its special tokens, where its tokenizer is quickly had."""
    opening: OpenedBy = "bos"
    """Of texts, by the recipe."""
    bytes_to_fetch: int = 0
    """From the Hub; 0 where the model is here, or its size is not known."""

    @property
    def run_by(self) -> str:
        """Whose code runs its layers; "" where its kind is not known."""
        name = read_build(str(self.config.get("model_type", ""))).name
        if name == OWN_LAYERS:
            return "our own layers where they fit: reading on a CPU in bfloat16, and writing"
        return f"transformers' own layers ({name})" if name else ""

    def number(self, name: str) -> int | None:
        """A number of its configuration, where that says it."""
        value = self.config.get(name)
        return value if isinstance(value, int) else None


@contextmanager
def look_at_model(read: ReadRecipe, store: StorePaths) -> Iterator[ModelFound]:
    """Look at the model where it is, or at its small files on the Hub where it is not here yet.

    What comes of the Hub is there while the block runs.
    """
    with TemporaryDirectory(prefix="monosema-") as temporary:
        try:
            found = _look(read, store, Path(temporary))
        except (MonosemaError, ModelError) as error:
            found = ModelFound([str(error)])
        yield found


def look_closer(found: ModelFound) -> list[str]:
    """What only transformers can say of a model in which nothing is wrong so far. It takes seconds to import."""
    folder, name = found.folder, found.name
    if folder is None:
        return []
    from pipeline.models.skeleton import check_build
    from pipeline.models.tokenizer import Tokenizer

    built = [problem for hook in found.hooks for problem in _said(partial(check_build, folder, name, hook))]
    return list(dict.fromkeys(built)) or _said(lambda: Tokenizer.load(folder, name, opening=found.opening).check())


def _said(look: Callable[[], object]) -> list[str]:
    try:
        look()
    except ModelError as error:
        return [str(error)]
    return []


def _look(read: ReadRecipe, store: StorePaths, scratch: Path) -> ModelFound:
    config = read.recipe.model
    if not read.gives("model.source", "model.revision"):
        return ModelFound()
    place = model_place(config, store)
    if place.is_dir():
        return _look_at_folder(read, place, place.name, folder_problems(place))
    if config.source == "sample":
        return ModelFound()
    local = local_model(config)
    return _look_at_hub(read, config, scratch) if local is None else _look_at_gguf(local)


def _look_at_hub(read: ReadRecipe, config: ModelConfig, scratch: Path) -> ModelFound:
    files = hub.list_files(config.source, config.revision)
    hub.take_small_files(config.source, config.revision, files, scratch)
    found = _look_at_folder(read, scratch, config.source, name_problems(files, config.source))
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
    recipe = read.recipe
    hooks = tuple(dict.fromkeys(place.hook for place in recipe.places))
    found = ModelFound(problems, name, folder, hooks=hooks, opening=recipe.tokenize.opening)
    if (folder / CONFIG_FILE).is_file():
        try:
            found.config = model_config(folder)
        except ModelError as error:
            found.problems.append(str(error))
        else:
            found.problems += [*misfits(read.recipe, found.config, name), *_build_problems(found)]
    if has_tokenizer(path.name for path in folder.iterdir()):
        found.encode = look_at_tokenizer(folder, name, found.problems, found.special_names)
    return found


def _build_problems(found: ModelFound) -> list[str]:
    """What transformers' class for the model lacks, as far as its source says."""
    model_type = str(found.config.get("model_type", ""))
    built = read_build(model_type)
    if not built.name:
        return [
            f"{found.name} is of type '{model_type}', by which transformers reads no decoder-only language model, at "
            "least not without code that comes with it: give another model, or install a newer transformers"
        ]
    return [built_otherwise(built.name, built.missing)] if built.missing else []
