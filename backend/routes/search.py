"""The search: by words in what is known of features."""

from fastapi import APIRouter, Request, Response

from backend.cards import run_card
from backend.dependencies import RunDep
from backend.errors import not_found
from backend.lists import pager
from backend.queries import search_labels
from backend.routes.saes import SelectionQuery
from backend.search_page import Mode, SearchPage, mode_tabs
from backend.templates import render

router = APIRouter(tags=["search"])


@router.get("/search", include_in_schema=False)
def search_page(
    request: Request, run: RunDep, selection: SelectionQuery, by: Mode = "words", sae: str = ""
) -> Response:
    """Features of all SAEs of a run by what is known of them."""
    chosen = [other for other in run.saes if sae in ("", other.name)]
    if not chosen:
        raise not_found(f"There is no SAE '{sae}' in run '{run.name}'.")
    result = search_labels(run, chosen, selection) if selection.q else None
    page = SearchPage(
        tabs=mode_tabs(by),
        selection=selection,
        sae=sae,
        run=run_card(run),
        result=result,
        pager=pager(result, selection, sae=sae) if result else None,
        series_of={other.name: other.record.position for other in run.saes},
    )
    return render(request, "search.html", page)
