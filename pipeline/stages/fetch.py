"""Fetch: the language model and the corpus as local files, and the checks that need nothing but them.

    models/{slug}/      a model of the Hub, or one converted from GGUF; a local folder of safetensors is used in place;
                        the sentence encoder of stage `embed`
    corpora/{slug}/     the sample corpus; other corpora are used in place or streamed

Each of these folders is made under a hidden name and takes its own when it is whole, so it can be shared by runs. The
artifact itself is its manifest.
"""

from typing import Any

from data.layout import RunPaths
from data.manifests import Manifest, load_manifest
from pipeline.fetching.encoders import encoder_is_there, ensure_encoder
from pipeline.fetching.ensure import ensure_corpus, ensure_model
from pipeline.fetching.keys import corpus_key, model_key
from pipeline.fetching.local import (
    check_folder,
    check_model_fits,
    model_config,
    model_folder,
    require_device,
    sample_corpus_folder,
)
from pipeline.fetching.naming import identify
from pipeline.formats.continuing import require_beginnings
from pipeline.recipe import Recipe
from pipeline.stage import Stage, Work


def is_current(recipe: Recipe, paths: RunPaths, key: str) -> bool:
    """Whether `key` is that of the recipe with the files that are there now, and what was fetched still is there."""
    if STAGE.key(recipe, {}) != key:
        return False
    folder = model_folder(load_manifest(paths.stage("fetch")), paths)
    if not (folder.is_dir() and encoder_is_there(recipe.embed, paths.store)):
        return False
    return recipe.corpus.source != "sample" or sample_corpus_folder(paths.store).is_dir()


def _config(recipe: Recipe) -> dict[str, Any]:
    return {"model": model_key(recipe.model), "corpus": corpus_key(recipe.corpus)}


def _work(work: Work) -> dict[str, Any]:
    root = work.paths.store.root
    folder = ensure_model(work.recipe.model, work.paths.store)
    check_folder(folder)
    check_model_fits(work.recipe, folder)
    config = model_config(folder)
    return {
        "model": str(folder.relative_to(root) if folder.is_relative_to(root) else folder),
        **identify(work.recipe.model, folder).counts(),
        "model_source": work.recipe.model.source,
        "model_type": config.get("model_type"),
        "num_layers": config.get("num_hidden_layers"),
        "width": config.get("hidden_size"),
        "corpus": ensure_corpus(work.recipe.corpus, work.paths.store),
    }


STAGE = Stage(name="fetch", work=_work, config=_config)


def run(recipe: Recipe, paths: RunPaths) -> Manifest:
    """Make sure that model and corpus are there and fit the recipe, whether fetched now or by an earlier run."""
    require_device(recipe.model.device)
    manifest = STAGE.run(recipe, paths)
    ensure_model(recipe.model, paths.store)
    ensure_corpus(recipe.corpus, paths.store)
    ensure_encoder(recipe.embed, paths.store)  # read at the end, but what is wrong with it is better said now
    folder = model_folder(manifest, paths)
    check_model_fits(recipe, folder)
    require_beginnings(recipe.train.saes, paths.store, model_config(folder).get("hidden_size"))
    return manifest
