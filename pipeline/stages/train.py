"""Stage `train`: all autoencoders of the recipe from one reading of the activation shards.

Files: `{sae}/cfg.json`, `{sae}/sae.safetensors` and `{sae}/curve.json`.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch

from data.artifacts.curve import describe_falling, loss_trend
from data.artifacts.shards import ShardReader
from data.errors import CorpusError
from data.layout import RunPaths, StorePaths
from data.manifests import Manifest
from pipeline.activations.residuals import MOMENTS_FILE
from pipeline.activations.rows import harvested_rows, mean_norm_scale
from pipeline.formats.continuing import Beginning, beginning_key, find_beginning, require_beginnings
from pipeline.models.onednn import onednn_obstacle, product_dtype
from pipeline.models.sae import Nonlinearity, SAEHeader
from pipeline.progress import Progress, log, track
from pipeline.recipe import Recipe
from pipeline.recipe.training import SAEConfig
from pipeline.stage import Stage, Work
from pipeline.training.architecture import Architecture
from pipeline.training.relu import ReLU
from pipeline.training.topk import BatchTopK, TopK
from pipeline.training.trainee import Normalisation, Trainee
from pipeline.training.trainer import Make, Trainer, Training, Untrained

NONLINEARITY: dict[str, Nonlinearity] = {"relu": "relu", "topk": "topk", "batchtopk": "jumprelu"}
CURVE_LINES = 10
"""Number of lines that the terminal shows for each autoencoder."""


def _config(store: StorePaths, recipe: Recipe) -> dict[str, Any]:
    model = recipe.model.model_dump(include={"layer", "device"})
    begun = [beginning_key(sae.begin, store) for sae in recipe.train.saes if sae.begin is not None]
    config = {"train": recipe.train.model_dump(mode="json", exclude={"checkpoint_seconds"}), "model": model}
    return config | ({"from": begun} if begun else {})


def _work(work: Work) -> dict[str, Any]:
    recipe, config = work.recipe, work.recipe.train
    moments = np.load(work.input_folder("harvest") / MOMENTS_FILE)
    normalisation = Normalisation(torch.from_numpy(moments["mean_D"]), float(moments["rms"]))
    if not (math.isfinite(normalisation.rms) and normalisation.rms > 0):
        raise CorpusError(
            f"the activations have spread {normalisation.rms:g} around their mean, so there is nothing to learn: "
            "give a corpus of more than one word, or another model.layer"
        )
    reader = harvested_rows(work.paths)
    if product_dtype(torch.bfloat16, recipe.model.device) != torch.bfloat16:
        log(f"training with products in float32: {onednn_obstacle()}")
    begun = find_beginnings(recipe, work.paths.store, reader)
    autoencoders = go_on(make_untrained(recipe), begun, normalisation)
    trainer = Trainer(make_training(recipe), autoencoders, reader, normalisation, work.folder)
    _tell_beginnings(begun, trainer)
    _train(trainer)
    for name, sae in zip(recipe.sae_names, config.saes, strict=True):
        header = _header(recipe, name, sae, normalisation)
        model = trainer.trainees[name].model
        model.fold(header, normalisation.scale, normalisation.mean_D).save(work.folder / name)
    saes = {name: _summary(trainee, begun.get(name)) for name, trainee in trainer.trainees.items()}
    if falling := describe_falling({name: summary["loss_trend"] for name, summary in saes.items()}):
        log(falling)
    num_tokens = trainer.num_steps * config.batch_size
    return {
        "num_steps": trainer.num_steps,
        "num_tokens": num_tokens,
        "num_epochs": config.epochs,
        "num_rows_left_over": config.epochs * len(reader) - num_tokens,
        "saes": saes,
    }


def stage_in(store: StorePaths) -> Stage:
    """The stage; the store is where SAEs of other runs lie that training goes on from."""
    return Stage("train", _work, partial(_config, store), needs=("tokenize", "harvest"))


def run(recipe: Recipe, paths: RunPaths) -> Manifest:
    """Train, unless that was done. Raises MonosemaError or ModelError."""
    return stage_in(paths.store).run(recipe, paths)


# ---- From the recipe


def make_training(recipe: Recipe) -> Training:
    """Training settings of a recipe for all of its autoencoders."""
    config = recipe.train
    return Training(
        batch_size=config.batch_size,
        epochs=config.epochs,
        warmup_fraction=config.warmup_fraction,
        decay_fraction=config.decay_fraction,
        checkpoint_seconds=config.checkpoint_seconds,
        seed=recipe.seed,
        device=recipe.model.device,
    )


class Begun(NamedTuple):
    """What training goes on from."""

    beginning: Beginning
    input_scale: float | None
    """The factor that its files lack, where they do."""


def find_beginnings(recipe: Recipe, store: StorePaths, reader: ShardReader) -> dict[str, Begun]:
    """The SAEs that autoencoders go on from, by name of these. Raises FormatError where one does not fit."""
    require_beginnings(recipe.train.saes, store, reader.width)
    found = {}
    for name, sae in zip(recipe.sae_names, recipe.train.saes, strict=True):
        if sae.begin is not None:
            beginning = find_beginning(sae.begin, store)
            scale = (sae.begin.input_scale or mean_norm_scale(reader)) if beginning.foreign.needs_scale else None
            found[name] = Begun(beginning, scale)
    return found


def make_untrained(recipe: Recipe) -> dict[str, Untrained]:
    """The autoencoders of a recipe by name, in its order."""
    return {
        name: Untrained(partial(make_architecture, sae), sae.learning_rate)
        for name, sae in zip(recipe.sae_names, recipe.train.saes, strict=True)
    }


def go_on(
    untrained: Mapping[str, Untrained], begun: Mapping[str, Begun], normalisation: Normalisation
) -> dict[str, Untrained]:
    """The same, some of them with the parameters of an SAE."""
    return {
        name: replace(one, make=partial(_make_begun, one.make, begun[name], normalisation), continued=True)
        if name in begun
        else one
        for name, one in untrained.items()
    }


def _make_begun(make: Make, begun: Begun, normalisation: Normalisation, width: int, **options: Any) -> Architecture:
    made = make(width, **options)
    read = begun.beginning.read(rms=normalisation.rms, input_scale=begun.input_scale)
    made.unfold(read, normalisation.scale, normalisation.mean_D)
    return made


def make_architecture(config: SAEConfig, width: int, *, dead_window: int, seed: int, device: str) -> Architecture:
    """The untrained autoencoder that a recipe asks for."""
    low = product_dtype(torch.bfloat16, device)
    if config.architecture == "relu":
        return ReLU(config.num_features, width, l1_coefficient=config.l1_coefficient, seed=seed, low=low, device=device)
    kind = {"topk": TopK, "batchtopk": BatchTopK}[config.architecture]
    assert config.k is not None, "checked where the recipe is made"
    return kind(
        config.num_features,
        width,
        k=config.k,
        auxiliary_coefficient=config.auxiliary_coefficient,
        dead_window=dead_window,
        seed=seed,
        low=low,
        device=device,
    )


def _header(recipe: Recipe, name: str, sae: SAEConfig, normalisation: Normalisation) -> SAEHeader:
    return SAEHeader(
        name=name,
        architecture=sae.architecture,
        nonlinearity=NONLINEARITY[sae.architecture],
        num_features=sae.num_features,
        width=len(normalisation.mean_D),
        model=recipe.model.name,
        layer=recipe.model.layer,
        hook=recipe.model.hook,
        k=sae.k,
        activation_scale=normalisation.rms,
    )


# ---- What the terminal shows


def _tell_beginnings(begun: Mapping[str, Begun], trainer: Trainer) -> None:
    steps = math.ceil(trainer.config.warmup_fraction * trainer.num_steps)
    for name, (beginning, _) in begun.items():
        log(
            f"{name} goes on from {beginning.named}: Adam starts anew, its learning rate rises over the first "
            f"{steps:,} of {trainer.num_steps:,} steps"
        )


def _train(trainer: Trainer) -> None:
    """Train from where an earlier attempt stopped to the end."""
    if trainer.restore():
        log(f"going on after step {trainer.step:,} of {trainer.num_steps:,}")
    batch_size = trainer.config.batch_size
    with track("train", trainer.num_steps * batch_size, done=trainer.step * batch_size) as progress:
        trainer.run(partial(_report, trainer, progress))


def _report(trainer: Trainer, progress: Progress, num_steps: int) -> None:
    """Show the last point of every curve, now and then in a line of its own."""
    lines = [step * CURVE_LINES // trainer.num_steps for step in (trainer.step - num_steps, trainer.step)]
    short = {}
    for name, trainee in trainer.trainees.items():
        if trainee.curve.points:
            point = trainee.curve.points[-1]
            short[f"{name} EV/L0"] = f"{point['explained_variance']:.2f}/{point['l0']:.0f}"
            if lines[1] > lines[0]:
                log(f"  {name:<20} {describe(point)}")
    progress.advance(num_steps * trainer.config.batch_size, **short)


def describe(point: Mapping[str, float]) -> str:
    """One point of a curve in words."""
    return (
        f"loss {point['loss']:7.1f}   L0 {point['l0']:7.1f}   explained variance {point['explained_variance']:.3f}"
        f"   dead {point['dead_share']:.1%}"
    )


def _summary(trainee: Trainee, begun: Begun | None) -> dict[str, Any]:
    trend = loss_trend(trainee.curve.points)
    seconds = round(trainee.seconds, 2)
    summary = {**trainee.curve.points[-1], "loss_trend": trend.as_json() if trend else None, "seconds": seconds}
    return summary | ({"continued_from": begun.beginning.described()} if begun else {})
