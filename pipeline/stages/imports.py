"""Stage `import`: SAEs that others trained, in place of stage `train`; its artifact is that of `train`.

Files: `{sae}/cfg.json`, `{sae}/sae.safetensors` and `{sae}/curve.json`, an empty list.
"""

import json
from typing import Any

import numpy as np

from data.artifacts.features import CURVE_FILE
from pipeline.activations.residuals import MOMENTS_FILE
from pipeline.activations.rows import harvested_rows, mean_norm_scale
from pipeline.fetching.local import local_folder
from pipeline.formats.imported import find_imported, require_fit
from pipeline.formats.places import sae_key
from pipeline.progress import log
from pipeline.recipe import Recipe
from pipeline.recipe.imports import ImportedSAE
from pipeline.stage import Stage, Work


def _config(recipe: Recipe) -> dict[str, Any]:
    return {"imports": [_identity(sae) for sae in recipe.imports.saes], "layer": recipe.model.layer}


def _identity(sae: ImportedSAE) -> dict[str, Any]:
    local = local_folder(sae.source, sae.field)
    files = {} if local is None else {"source": str(local), "files": sae_key(local / sae.folder)}
    return sae.model_dump(mode="json") | files


def _work(work: Work) -> dict[str, Any]:
    recipe = work.recipe
    moments = np.load(work.input_folder("harvest") / MOMENTS_FILE)
    found = {}
    for config in recipe.imports.saes:
        name = recipe.sae_name(config)
        found[name] = _import(work, config, name, width=len(moments["mean_D"]), rms=float(moments["rms"]))
    return {"num_tokens": 0, "saes": found}


def _import(work: Work, config: ImportedSAE, name: str, *, width: int, rms: float) -> dict[str, Any]:
    folder, foreign = find_imported(config, work.paths.store)
    require_fit(config, foreign, folder, width)
    model = work.recipe.model
    scale = (config.input_scale or mean_norm_scale(harvested_rows(work.paths))) if foreign.needs_scale else None
    if scale is not None:
        log(f"{name} reads activations times {scale:.6g}")
    sae = foreign.fold(
        name=name, model=model.name, layer=model.layer, hook=model.hook, activation_scale=rms, input_scale=scale
    )
    sae.save(work.folder / name)
    (work.folder / name / CURVE_FILE).write_text(json.dumps([]))
    return {"format": foreign.format, "input_scale": scale, "normalisation": foreign.normalisation}


STAGE = Stage("train", _work, _config, needs=("tokenize", "harvest"))
run = STAGE.run
