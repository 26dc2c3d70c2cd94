"""Files of an SAE: its weights, and its features as parquet."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from fastapi.responses import FileResponse, StreamingResponse

from backend.dependencies import SAEDep
from backend.downloads import MEDIA_TYPES, PARQUET, WeightsFile, file_name, parquet_of
from backend.errors import not_found

router = APIRouter(prefix="/api/v1/saes", tags=["SAEs"])

AS_IT_IS = {"content-encoding": "identity"}
"""Compressing weights and parquet takes long and saves nothing; without, their length is known."""


def _file(media_type: str) -> dict[int | str, dict[str, Any]]:
    """What the API's description says of an answer that is a file."""
    return {200: {"content": {media_type: {"schema": {"type": "string", "format": "binary"}}}}}


@router.get("/{model}/{sae}/features.parquet", response_class=Response, responses=_file(PARQUET))
def get_features_parquet(
    sae: SAEDep,
    vectors: Annotated[bool, Query(description="With the decoder direction of each feature, norm 1.")] = False,
) -> StreamingResponse:
    """All features of an SAE as one parquet file: labels, statistics, histograms, promoted tokens (by id)."""
    name = file_name(sae, "features-with-vectors.parquet" if vectors else "features.parquet")
    headers = {**AS_IT_IS, "content-disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(parquet_of(sae, vectors=vectors), media_type=PARQUET, headers=headers)


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
        raise not_found(f"{name} of '{sae.name}' is not on this machine: publish the run '{sae.run.name}' again.")
    return FileResponse(path, media_type=MEDIA_TYPES[name], filename=file_name(sae, name), headers=AS_IT_IS)
