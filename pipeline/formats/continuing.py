"""SAEs that training goes on from: found, compared with what the recipe trains, and read."""

from pathlib import Path
from typing import NamedTuple

import torch

from data.errors import ArtifactError, FormatError
from data.layout import StorePaths
from data.manifests import require_stage
from pipeline.fetching.local import local_folder
from pipeline.formats.foreign import Foreign
from pipeline.formats.imported import find_imported
from pipeline.formats.places import sae_key, split_source
from pipeline.formats.reading import look_at_sae
from pipeline.formats.weights import Weights
from pipeline.models.sae import SAE
from pipeline.recipe.imports import SAESource
from pipeline.recipe.training import SAEConfig

OF_A_RUN = "run:"
THRESHOLDS_DIFFER = 1e-3
"""Relative spread of thresholds above which they are not the one threshold of BatchTopK."""

OTHER_CHOICE = "its topk chooses by other values than its activations, for its decoder rows have different norms"


class Beginning(NamedTuple):
    """An SAE that training goes on from."""

    named: str
    """As the recipe names it, with its folder."""
    folder: Path
    foreign: Foreign

    def described(self) -> dict[str, str | int | None]:
        """What it was, for the manifest."""
        foreign = self.foreign
        return {"from": self.named, "format": foreign.format, "architecture": foreign.architecture,
                "num_features": foreign.num_features, "k": foreign.k, "hook": foreign.provenance.hook}  # fmt: skip

    def read(self, *, rms: float, input_scale: float | None) -> SAE:
        """The SAE itself. input_scale: the factor that its files lack, where they do. Raises FormatError."""
        sae = self.foreign.fold(name="", model="", layer=0, activation_scale=rms, input_scale=input_scale)
        if sae.selection_F is not None:
            raise FormatError(f"train.saes.from: {self.folder} cannot be gone on from: {OTHER_CHOICE}")
        return sae


def find_beginning(config: SAESource, store: StorePaths) -> Beginning:
    """The SAE that `from` names, fetched unless it is there. Raises FormatError, ConfigError or ModelError."""
    if config.source.startswith(OF_A_RUN):
        folder = _folder_of_run(config.source, store)
        return Beginning(config.source, folder, look_at_sae(folder))
    source, below = split_source(config.source)
    config = config.model_copy(update={"source": source, "folder": config.folder or below})
    return Beginning("/".join(filter(None, (source, config.folder))), *find_imported(config, store))


def is_here(config: SAESource) -> bool:
    """Whether nothing needs to be fetched. Raises ConfigError when a folder is named that is not there."""
    return config.source.startswith(OF_A_RUN) or local_folder(split_source(config.source)[0], config.field) is not None


def beginning_key(config: SAESource, store: StorePaths) -> str | None:
    """Changes when a file of the SAE does; None of one of the Hub, whose revision says it."""
    return sae_key(find_beginning(config, store).folder) if is_here(config) else None


def misfits(config: SAEConfig, found: Beginning, width: int | None) -> list[str]:
    """What keeps the autoencoder of a recipe from going on from it, as one sentence. width: of the activations."""
    wrong = list(_differences(config, found.foreign, width))
    if not wrong:
        wrong = _unfit_weights(config, found)
    if not wrong:
        return []
    return [f"train.saes.from: {found.folder} cannot be gone on from: {'; '.join(wrong)}"]


def require_beginnings(saes: tuple[SAEConfig, ...], store: StorePaths, width: int | None) -> None:
    """Fetch what is needed, and raise FormatError when an autoencoder cannot go on from what it names."""
    for sae in saes:
        if sae.begin is not None and (problems := misfits(sae, find_beginning(sae.begin, store), width)):
            raise FormatError("; ".join(problems))


def _differences(config: SAEConfig, foreign: Foreign, width: int | None) -> list[str]:
    found = []
    if foreign.architecture != config.architecture:
        found.append(f"it is of architecture {foreign.architecture}, the recipe trains {config.architecture}")
    if foreign.num_features != config.num_features:
        found.append(f"it has {foreign.num_features:,} features, the recipe asks for {config.num_features:,}")
    if width is not None and foreign.width != width:
        found.append(f"it reads activations of width {foreign.width:,}, those of the model have {width:,}")
    if foreign.normalisation != "none":
        found.append(f"it normalises each token by itself ({foreign.normalisation}), which training here does not")
    return found


def _unfit_weights(config: SAEConfig, found: Beginning) -> list[str]:
    try:
        weights = found.foreign.read()
    except FormatError as error:
        return [str(error)]
    if weights.selection_F is not None:
        return [OTHER_CHOICE]
    if config.architecture == "batchtopk" and _spread(weights) > THRESHOLDS_DIFFER:
        return ["its features have different thresholds, and batchtopk has one for all"]
    return []


def _spread(weights: Weights) -> float:
    threshold_F = weights.threshold_F
    return float((threshold_F.max() - threshold_F.min()) / threshold_F.abs().max().clamp_min(torch.finfo().tiny))


def _folder_of_run(source: str, store: StorePaths) -> Path:
    """The folder of `run:NAME/SAE`. Raises FormatError."""
    run, _, sae = source.removeprefix(OF_A_RUN).partition("/")
    paths = store.run(run)
    try:
        trained = require_stage(paths, "train")
    except ArtifactError as error:
        raise FormatError(f"train.saes.from: {source}: {error}") from None
    names = sorted({name.partition("/")[0] for name in trained.files if "/" in name})
    if sae not in names:
        raise FormatError(f"train.saes.from: run '{run}' has no SAE '{sae}': it has {', '.join(names)}")
    return paths.stage("train") / sae
