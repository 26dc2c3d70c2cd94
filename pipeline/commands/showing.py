"""`monosema show`: from an SAE, a model and a corpus to a recipe, and the trial before it runs."""

import re
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, get_args

from data.errors import ConfigError, FormatError
from data.hooks import HOOKS, Hook, Place, hook_address
from data.layout import StorePaths
from data.manifests import find_stage
from pipeline.corpus import KINDS, open_source
from pipeline.corpus.detecting import holds_chats
from pipeline.corpus.files import find_files
from pipeline.corpus.huggingface import was_saved_to_disk
from pipeline.fetching.ensure import ensure_corpus, ensure_model
from pipeline.fetching.local import local_folder, model_config, sample_corpus_folder
from pipeline.formats.foreign import Foreign
from pipeline.formats.hooks import place_of
from pipeline.formats.imported import find_imported, require_fit
from pipeline.formats.places import ensure_sae, split_source
from pipeline.formats.reading import look_at_sae
from pipeline.progress import log
from pipeline.recipe import NEUTRAL, SAMPLE_ENCODER, ReadRecipe, Recipe
from pipeline.recipe.imports import FormatName, ImportedSAE
from pipeline.recipe.mistakes import read_what_can_be
from pipeline.recipe.overrides import apply_override

SAMPLE_NAME, SAMPLE_SINK_FACTOR = "smollm2-135m", 4.0
CONTEXT_LENGTH = 512
"""Longest sequences, unless the SAE was trained on shorter ones or the model reads no more."""
HELD_OUT_SHARES, ENOUGH_HELD_OUT = (10, 20), 16_000
"""One held-out token for so many others: for the first until ENOUGH_HELD_OUT are held out, then for the second."""
LONGEST_NAME = 64
FIRST: dict[str, dict[str, Any]] = {
    "evaluate": {"max_cross_entropy_tokens": 2_048}, "respond": {"candidates": 0}, "effects": {"features": 0},
    "neurons": {"features": 0}, "score": {"features": 0}, "compare": {"n": 0}, "completeness": {"lists": []},
    "strengths": {"features": 0},
}  # fmt: skip
"""Of a first dashboard: what takes the model through many texts once more is not measured."""
FULL: dict[str, dict[str, Any]] = {"embed": {"source": SAMPLE_ENCODER}}
MORE = (
    "this is a first dashboard: examples, labels, metrics, neighbours and the map. The same command with --full also "
    "measures what features do when they are held or taken out, tries their labels by judges, compares them with "
    "neurons, looks for concepts and lets one search by meaning; what stands is not run again"
)
"""What is said at its end."""
CHATS = (
    "Conversations, by the model's chat template: the tokens of all messages count, those of the template do not "
    "(--set corpus.turns=assistant counts one role's, --set corpus.text_field=FIELD reads a field as plain text)"
)


@dataclass(frozen=True)
class Asked:
    """What a person gave on the command line; None leaves it to the SAE's configuration."""

    sae: str
    model: str | None = None
    corpus: str | None = None
    layer: int | None = None
    tokens: int = 300_000
    context_length: int | None = None
    format: str | None = None
    revision: str | None = None
    normalise: str | None = None
    name: str | None = None
    device: str = "cpu"
    overrides: tuple[str, ...] = ()
    hook: str | None = None
    full: bool = False
    """Measure all that a recipe measures, and not a first dashboard alone."""


def make_show_recipe(asked: Asked, store: StorePaths) -> ReadRecipe:
    """The recipe, with what is wrong with it; what the SAE is, is said. One of the Hub is fetched.

    Raises FormatError, ConfigError or ModelError; ConfigError too where another SAE's run of that name would be lost.
    """
    source, folder = split_source(asked.sae)
    if asked.format is not None and asked.format not in get_args(FormatName):
        raise ConfigError(f"there is no format '{asked.format}': use one of {', '.join(get_args(FormatName))}")
    if asked.hook is not None and asked.hook not in HOOKS:
        raise ConfigError(f"there is no hook '{asked.hook}': use one of {', '.join(HOOKS)}")
    place = {"source": source, "folder": folder, "revision": asked.revision, "format": asked.format}
    probe = ImportedSAE.model_validate({**place, "architecture": "relu", "num_features": 2})
    sae_folder = ensure_sae(probe, store)
    found = look_at_sae(sae_folder, probe.format)
    _say_what_it_is(found, sae_folder)
    raw = _raw(asked, found, place)
    problems = []
    for override in asked.overrides:
        try:
            apply_override(raw, override, Recipe)
        except ConfigError as error:
            problems.append(str(error))
    read = read_what_can_be(Recipe, raw, NEUTRAL)
    _refuse_replacing(read.recipe, store)
    return ReadRecipe(read.recipe, problems + read.problems, read.broken)


def with_chats(read: ReadRecipe, store: StorePaths) -> ReadRecipe:
    """The recipe that reads its corpus as conversations where it holds some, and says so; the same where it names the
    field that is read, or whose turns count."""
    corpus = read.recipe.corpus
    is_told = corpus.turns is not None or "text_field" in corpus.model_fields_set
    if read.problems or is_told or not holds_chats(corpus, sample_corpus_folder(store)):
        return read
    log(CHATS)
    return read._replace(recipe=read.recipe.model_copy(update={"corpus": corpus.model_copy(update={"turns": "all"})}))


def _raw(asked: Asked, found: Foreign, place: dict[str, Any]) -> dict[str, Any]:
    model = asked.model or _named_model(found)
    layer, hook = _place(asked, found)
    name = SAMPLE_NAME if model == "sample" else slug(PurePosixPath(model).name)
    length = asked.context_length or min(CONTEXT_LENGTH, found.provenance.context_length or CONTEXT_LENGTH)
    sae = {**place, "architecture": found.architecture, "num_features": found.num_features, "k": found.k}
    return {
        "name": slug(asked.name) if asked.name else name_run(f"{name}-{hook_address(layer, hook)}", asked.sae),
        "corpus": corpus_section(asked.corpus or _named_corpus(found)),
        "model": {"name": name, "source": model, "layer": layer, "hook": hook, "device": asked.device},
        "tokenize": {
            "context_length": length, "max_tokens": asked.tokens, "max_held_out_tokens": _held_out_tokens(asked.tokens),
            "opening": "none" if found.provenance.prepend_bos is False else "bos",
        },
        "harvest": {"sink_factor": SAMPLE_SINK_FACTOR} if model == "sample" else {},
        "imports": {"saes": [{**sae, "normalise": asked.normalise}]},
        **deepcopy(FULL if asked.full else FIRST),
    }  # fmt: skip


def _held_out_tokens(tokens: int) -> int:
    many, few = (tokens // share for share in HELD_OUT_SHARES)
    return max(few, min(many, ENOUGH_HELD_OUT))


def _named_model(found: Foreign) -> str:
    model = found.provenance.model
    if model and "/" in model:
        return model
    said = f"the SAE's configuration calls its model '{model}', which is no Hub id" if model else "the SAE names none"
    raise FormatError(f"{said}: give the language model with --model, a folder or a Hub id")


def _place(asked: Asked, found: Foreign) -> Place:
    """What was asked for, and for the rest what the SAE's configuration says. Raises FormatError."""
    hook: Hook | None = next((hook for hook in HOOKS if hook == asked.hook), None)
    if asked.layer is not None and hook is not None:
        return Place(asked.layer, hook)
    named = found.provenance.hook
    if named is None and asked.layer is None:
        raise FormatError("the SAE does not say which layer it reads: give it with --layer (its output is read)")
    said = Place(0) if named is None else place_of(named)
    return Place(said.layer if asked.layer is None else asked.layer, hook or said.hook)


def _named_corpus(found: Foreign) -> str:
    if found.provenance.corpus:
        return found.provenance.corpus
    raise FormatError("the SAE does not name its corpus: give one with --corpus, a folder, a file or a Hub dataset")


def corpus_section(corpus: str) -> dict[str, Any]:
    """The recipe's section for the sample, a file or a folder of texts, or a dataset of the Hub. Raises ConfigError."""
    path = Path(corpus).expanduser()
    if corpus == "sample":
        return {"source": "sample"}
    if was_saved_to_disk(path):
        return {"source": "huggingface", "dataset": str(path)}
    if path.exists():
        return {"source": _kind(path), "path": str(path)}
    if corpus.startswith((".", "/", "~")) or corpus.count("/") > 1:
        raise ConfigError(f"--corpus: there is no {path}: give a folder, a file, the id of a Hub dataset, or 'sample'")
    return {"source": "huggingface", "dataset": corpus}


def _kind(path: Path) -> str:
    found = {}
    for kind, files in KINDS.items():
        if path.is_file() and not files.include(path.name):
            continue
        if path.is_dir() and not any(files.include(one.name) for one in path.rglob("*") if one.is_file()):
            continue
        found[kind] = len(find_files(path, files).files)
    if not found:
        raise ConfigError(f"--corpus: {path} holds no text, JSON, CSV or Parquet files: give a folder that does")
    return max(found, key=lambda kind: found[kind])


def slug(text: str) -> str:
    """A name for addresses."""
    return _plain(text)[:LONGEST_NAME] or "sae"


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-._")


def name_run(place: str, sae: str) -> str:
    """A run's name by the place that is read and the path of the SAE: its repository and folder, or the last two parts.

    What is too long loses words at the beginning of the path, for the end of it tells SAEs apart.
    """
    source, folder = split_source(sae)
    path = f"{PurePosixPath(source).name}/{folder}" if folder else "/".join(PurePosixPath(source).parts[-2:])
    words = _plain(path).split("-")
    while len(words) > 1 and len(place) + 1 + sum(len(word) + 1 for word in words) > LONGEST_NAME + 1:
        words = words[1:]
    end = "-".join(words)[-LONGEST_NAME:]
    return slug(f"{place[: max(0, LONGEST_NAME - 1 - len(end))]}-{end}")


def _refuse_replacing(recipe: Recipe, store: StorePaths) -> None:
    """Raise ConfigError where the store has a run of this name that was made from another SAE, or another revision."""
    stands = find_stage(store.run(recipe.name), "train")
    if stands is None:
        return
    made = [(one["source"], one["folder"], one.get("revision")) for one in stands.config.get("imports", ())]
    wanted = [
        (str(local_folder(one.source, one.field) or one.source), one.folder, one.revision)
        for one in recipe.imports.saes
    ]
    if made != wanted:
        tells = any(revision for *_, revision in (*made, *wanted))
        others = ", ".join(_told_source(*one, tells=tells) for one in made) or "autoencoders that were trained here"
        raise ConfigError(
            f"the store has a run '{recipe.name}' of {others}, which this one would replace: give another --name"
        )


def _told_source(source: str, folder: str, revision: str | None, *, tells: bool) -> str:
    named = "/".join(filter(None, (source, folder)))
    return f"{named} ({f'revision {revision}' if revision else 'no revision named'})" if tells else named


def refuse_misfit(recipe: Recipe, store: StorePaths, *, anyway: bool) -> None:
    """Fetch what is needed and try the SAEs on a few hundred tokens. Raises FormatError when one does not fit.

    anyway: say so only.
    """
    folder = ensure_model(recipe.model, store)
    width = model_config(folder).get("hidden_size")
    for config in recipe.imports.saes:
        sae_folder, foreign = find_imported(config, store)
        require_fit(config, foreign, sae_folder, int(width or foreign.width))
        try:
            _try(recipe, config, foreign, folder, store)
        except FormatError as error:
            if not anyway:
                raise
            log(f"going on all the same (--anyway): {error}")


def _say_what_it_is(foreign: Foreign, folder: Path) -> None:
    k = f", k {foreign.k}" if foreign.k else ""
    kind = f"{foreign.format}, {foreign.architecture}{k}"
    log(f"{folder}: {kind}, {foreign.num_features:,} features of width {foreign.width:,}")
    said = foreign.provenance
    named = {"model": said.model, "hook": said.hook, "context": said.context_length, "corpus": said.corpus,
             "BOS": None if said.prepend_bos is None else "yes" if said.prepend_bos else "no"}  # fmt: skip
    if any(named.values()):
        log("its configuration says: " + ", ".join(f"{name} {value}" for name, value in named.items() if value))


def _try(recipe: Recipe, config: ImportedSAE, foreign: Foreign, folder: Path, store: StorePaths) -> None:
    from pipeline.formats.trial import Case, first_tokens, try_sae
    from pipeline.models.language_model import LanguageModel
    from pipeline.models.tokenizer import Tokenizer

    ensure_corpus(recipe.corpus, store)
    wanted, factor, said = recipe.model, recipe.harvest.sink_factor, foreign.provenance
    tokenizer, opening = Tokenizer.load(folder), Tokenizer.load(folder, opening=recipe.tokenize.opening).opening
    other = [] if opening else tokenizer.opening
    model = LanguageModel.load(
        folder, layer=wanted.layer, hook=wanted.hook, dtype=wanted.dtype, device=wanted.device, fused=False
    )
    if said.prepend_bos is not None and said.prepend_bos != bool(opening) and tokenizer.opening:
        log(f"it was trained on texts {'with' if said.prepend_bos else 'without'} BOS; here they are read otherwise")
    sequences = first_tokens(open_source(recipe.corpus, sample_corpus_folder(store)), tokenizer)
    case = Case(foreign, model, wanted.layer, sequences, opening, factor, config.input_scale)
    trial = try_sae(case if other == opening else case._replace(other_opening=other))
    log(f"it fits {case.place}: {trial.figures}, on {trial.num_tokens:,} tokens of the corpus")
    if better := trial.better_layer:
        log(f"{better.what} it would explain more ({better.figures}): {better.remedy} reads it there")
