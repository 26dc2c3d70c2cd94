"""Stage `train`: all autoencoders of the recipe from one reading of the activation shards.

Files: `{sae}/cfg.json`, `{sae}/sae.safetensors` and `{sae}/curve.json`.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from pipeline.activations.residuals import MOMENTS_FILE
from pipeline.activations.rows import harvested_rows
from pipeline.models.sae import Nonlinearity, SAEHeader
from pipeline.recipe import Recipe, SAEConfig
from pipeline.stage import Stage, Work
from pipeline.training.architecture import Architecture
from pipeline.training.relu import ReLU
from pipeline.training.topk import BatchTopK, TopK
from pipeline.training.trainee import Normalisation, Trainee
from pipeline.training.trainer import Trainer

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


def describe(point: Mapping[str, float]) -> str:
    """One point of a curve in words."""
    return (
        f"loss {point['loss']:7.1f}   L0 {point['l0']:7.1f}   explained variance {point['explained_variance']:.3f}"
        f"   dead {point['dead_share']:.1%}"
    )


def make_architecture(config: SAEConfig, width: int, dead_window: int, options: Mapping[str, Any]) -> Architecture:
    """The untrained autoencoder that a recipe asks for; `options` go to every architecture."""
    if config.architecture == "relu":
        return ReLU(config.num_features, width, l1_coefficient=config.l1_coefficient, **options)
    kind = {"topk": TopK, "batchtopk": BatchTopK}[config.architecture]
    assert config.k is not None, "checked where the recipe is made"
    coefficient = config.auxiliary_coefficient
    return kind(
        config.num_features, width, k=config.k, auxiliary_coefficient=coefficient, dead_window=dead_window, **options
    )
