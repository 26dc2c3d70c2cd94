"""The page of a feature, its embeddable form, and its JSON."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from backend.engine.engine import Engine
from backend.features.document import ShownDocument, find_document, read_document, show_document
from backend.features.links import FeatureState
from backend.features.page import embed_page_of, feature_page_of
from backend.html.templates import render
from backend.published.catalogue import OpenSAE
from backend.published.concepts import Represented, represented_by
from backend.published.features import Feature, get_feature
from backend.published.verdicts import VerdictStore
from backend.web.clients import set_visitor_cookie
from backend.web.dependencies import EngineDep, IndexDep, SAEDep, VerdictsDep
from backend.web.live import Answer, ask_for_page
from backend.web.owners import OwnerDep

router = APIRouter(include_in_schema=False)


@router.get("/{model}/{sae}/{index}.json")
def feature_json(sae: SAEDep, index: IndexDep) -> Feature:
    """The feature as the API returns it, at an address beside its page."""
    return get_feature(sae, index)


@router.get("/{model}/{sae}/{index}")
async def feature_page(
    request: Request, sae: SAEDep, index: IndexDep, view: Annotated[FeatureState, Query()], engine: EngineDep,
    owner: OwnerDep, verdicts: VerdictsDep,
) -> Response:  # fmt: skip
    """Everything about one feature, or with ?embed=1 what fits into a frame."""
    if view.embed:
        return await run_in_threadpool(_embedded, request, sae, index, view)
    shown = await _document(request, engine, sae, index, view) if view.context == "full" else None

    def answer() -> Response:
        base, off = str(request.base_url).rstrip("/"), engine.why_off(sae.run)
        concepts = _represented(sae, index, verdicts)
        page = feature_page_of(sae, index, view, base, off, engine.sentences, shown, concepts, owner=owner)
        return render(request, "features/feature.html", page)

    response = await run_in_threadpool(answer)
    return set_visitor_cookie(request, response) if shown else response


def _represented(sae: OpenSAE, index: int, verdicts: VerdictStore) -> list[Represented]:
    """The concepts whose own feature this is, but for those of which an owner says that they have none."""
    found = represented_by(sae, index)
    said = verdicts.of(sae) if found else {}
    return [one for one in found if (verdict := said.get((one.list.name, one.name))) is None or verdict.represented]


def _embedded(request: Request, sae: OpenSAE, index: int, view: FeatureState) -> Response:
    return render(request, "features/embed.html", embed_page_of(sae, index, view))


async def _document(
    request: Request, engine: Engine, sae: OpenSAE, index: int, view: FeatureState
) -> ShownDocument | None:
    """The document of an example, read by the model where that is possible."""
    found = await run_in_threadpool(find_document, sae, index, view)
    if found is None:
        return None
    answer: Answer[list[float]] = await ask_for_page(
        request, engine, sae.run, lambda: read_document(engine, sae, found)
    )
    unread = answer.off or str(answer.error or "")
    return await run_in_threadpool(show_document, sae, found, answer.result, unread)
