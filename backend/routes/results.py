"""Results of steering: immutable, each under its own address."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from backend.dependencies import LibraryDep, ResultsDep
from backend.errors import not_found
from backend.steering_page import Colour, make_result_page
from backend.steering_results import Results, SteeringResult
from backend.templates import render

router = APIRouter(tags=["live"])


@router.get("/r/{id_}.json")
async def get_result(id_: str, results: ResultsDep) -> SteeringResult:
    """One finished steering: all that decided it, and every token with its probability and activations."""
    return await _find(results, id_)


@router.get("/r/{id_}", include_in_schema=False)
async def result_page(
    request: Request,
    id_: str,
    results: ResultsDep,
    library: LibraryDep,
    colour: Annotated[Colour, Query()] = "activation",
) -> Response:
    """The same as a page."""
    result = await _find(results, id_)
    catalogue = await run_in_threadpool(library.catalogue)
    return render(request, "steering/result.html", make_result_page(result, result.is_of(catalogue.runs), colour))


async def _find(results: Results, id_: str) -> SteeringResult:
    result = await run_in_threadpool(results.find, id_)
    if result is None:
        raise not_found("There is no steering result under this address. Only texts that were finished are kept.")
    return result
