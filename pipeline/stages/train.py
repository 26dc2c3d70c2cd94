"""Stage `train`: all autoencoders of the recipe from one reading of the activation shards.

Files: `{sae}/cfg.json`, `{sae}/sae.safetensors` and `{sae}/curve.json`.
"""

from typing import Any

import numpy as np
import torch

from pipeline.config import Recipe
from pipeline.models.sae import Nonlinearity, SAEHeader
from pipeline.residuals import MOMENTS_FILE, harvested_rows
from pipeline.stage import Stage, Work
from pipeline.trainer import Normalisation, Trainee, Trainer

NONLINEARITY: dict[str, Nonlinearity] = {"relu": "relu", "topk": "topk", "batchtopk": "jumprelu"}


def _config(recipe: Recipe) -> dict[str, Any]:
    model = recipe.model.model_dump(include={"name", "layer", "device"})
    return {"train": recipe.train.model_dump(exclude={"checkpoint_seconds"}), "model": model}


def _work(work: Work) -> dict[str, Any]:
    moments = np.load(work.input_folder("harvest") / MOMENTS_FILE)
    normalisation = Normalisation(torch.from_numpy(moments["mean_D"]), float(moments["rms"]))
    reader = harvested_rows(work.paths)
    trainer = Trainer(work.recipe, reader, normalisation, work.folder)
    trainer.run()
    for name, trainee in trainer.trainees.items():
        header = _header(work.recipe, name, trainee, normalisation)
        trainee.model.fold(header, normalisation.scale, normalisation.mean_D).save(work.folder / name)
    num_tokens = trainer.num_steps * work.recipe.train.batch_size
    return {
        "num_steps": trainer.num_steps,
        "num_tokens": num_tokens,
        "num_rows_left_over": len(reader) - num_tokens,
        "saes": {name: _summary(trainee) for name, trainee in trainer.trainees.items()},
    }


STAGE = Stage("train", _work, _config, needs=("tokenize", "harvest"))
run = STAGE.run


def _header(recipe: Recipe, name: str, trainee: Trainee, normalisation: Normalisation) -> SAEHeader:
    config = trainee.config
    return SAEHeader(
        name=name,
        architecture=config.architecture,
        nonlinearity=NONLINEARITY[config.architecture],
        num_features=config.num_features,
        width=len(normalisation.mean_D),
        model=recipe.model.name,
        layer=recipe.model.layer,
        k=config.k,
        activation_scale=normalisation.rms,
    )


def _summary(trainee: Trainee) -> dict[str, float]:
    return {**trainee.curve.points[-1], "seconds": round(trainee.seconds, 2)}
