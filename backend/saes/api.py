"""The API for SAEs: the list of them, their weights, and their features as parquet."""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from fastapi.responses import FileResponse, StreamingResponse

from backend.exceptions import NotFoundError
from backend.html.address import AppPath
from backend.published.catalogue import OpenSAE
from backend.saes.downloads import MEDIA_TYPES, PARQUET_MEDIA_TYPE, WeightsFile, file_name, parquet_of
from backend.web.dependencies import LibraryDep, SAEDep
from data.hooks import Hook

router = APIRouter(prefix="/api/v1/saes", tags=["SAEs"])

UNCOMPRESSED = {"content-encoding": "identity"}
"""Compressing weights and parquet takes long and saves nothing; without, their length is known."""


@dataclass(frozen=True)
class SAEInfo:
    """A published SAE."""

    model: str
    """The language model's part of addresses."""
    model_name: str
    """What it is called."""
    name: str
    run: str
    layer: int
    """From 0."""
    hook: Hook
    """The place at the layer that it reads: the residual stream before, between or after (resid_pre, resid_mid,
    resid_post), or what its attention or its MLP adds to it (attn, mlp)."""
    architecture: str
    num_features: int
    num_tokens: int
    """Tokens that statistics and examples were counted on."""
    config: dict[str, Any]
    """Its section of the recipe."""
    metrics: dict[str, Any]
    """Measured on held-out documents."""
    href: AppPath
    """Address of its page."""


@router.get("")
def list_saes(library: LibraryDep) -> list[SAEInfo]:
    """All published SAEs with their metrics, the newest run first."""
    return [_info(sae) for run in library.catalogue().runs for sae in run.saes]


def _info(sae: OpenSAE) -> SAEInfo:
    record = sae.record
    return SAEInfo(
        model=sae.model,
        model_name=sae.run.model_name,
        name=sae.name,
        run=sae.run.name,
        layer=sae.run.record.layer,
        hook=sae.run.hook,
        architecture=record.architecture,
        num_features=sae.num_features,
        num_tokens=sae.run.num_tokens,
        config=record.config,
        metrics=record.metrics,
        href=sae.href,
    )


def _file(media_type: str) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI description of a response that is a file."""
    return {200: {"content": {media_type: {"schema": {"type": "string", "format": "binary"}}}}}


@router.get("/{model}/{sae}/features.parquet", response_class=Response, responses=_file(PARQUET_MEDIA_TYPE))
def get_features_parquet(
    sae: SAEDep,
    vectors: Annotated[bool, Query(description="With the decoder direction of each feature, norm 1.")] = False,
) -> StreamingResponse:
    """All features of an SAE as one parquet file: labels, statistics, histograms, promoted tokens (by id)."""
    name = file_name(sae, "features-with-vectors.parquet" if vectors else "features.parquet")
    headers = {**UNCOMPRESSED, "content-disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(parquet_of(sae, vectors=vectors), media_type=PARQUET_MEDIA_TYPE, headers=headers)


@router.get("/{model}/{sae}/sae.safetensors", response_class=Response, responses=_file("application/octet-stream"))
def get_weights(sae: SAEDep) -> FileResponse:
    """The weights of an SAE: W_enc, b_enc, W_dec, b_dec and what its cfg.json names. It takes raw activations."""
    return _weights(sae, "sae.safetensors")


@router.get("/{model}/{sae}/cfg.json", response_class=Response, responses=_file("application/json"))
def get_configuration(sae: SAEDep) -> FileResponse:
    """The configuration that belongs to the weights."""
    return _weights(sae, "cfg.json")


def _weights(sae: SAEDep, name: WeightsFile) -> FileResponse:
    path = sae.folder / name
    if not path.is_file():
        raise NotFoundError(f"{name} of '{sae.name}' is not on this machine: publish the run '{sae.run.name}' again.")
    return FileResponse(path, media_type=MEDIA_TYPES[name], filename=file_name(sae, name), headers=UNCOMPRESSED)
