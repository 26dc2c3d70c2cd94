"""Forms by which owners write labels and notes, and the link that makes a browser an owner's."""

from typing import Annotated, cast

from fastapi import APIRouter, Depends, Form, Request, Response
from fastapi.responses import RedirectResponse

from backend.exceptions import RefusedError, StoreFullError
from backend.html.templates import render
from backend.labels.page import OwnerPage, label_page_of
from backend.labels.store import LabelStore
from backend.texts import Typed
from backend.web.dependencies import IndexDep, SAEDep
from backend.web.owners import OwnerDep, check_key, forget_owner, require_owner, set_owner_cookie

router = APIRouter(include_in_schema=False)

PRIVATE = {"cache-control": "no-store", "x-robots-tag": "noindex", "referrer-policy": "strict-origin"}
"""The owner link is never sent onward: only the origin is, which forms need."""


class LabelForm(Typed):
    """What an owner writes about a feature; both empty removes it."""

    label: str = ""
    note: str = ""


def get_labels(request: Request) -> LabelStore:
    """The store of owners' labels."""
    return cast(LabelStore, request.app.state.labels)


LabelsDep = Annotated[LabelStore, Depends(get_labels)]


@router.get("/owner")
def owner_page(request: Request, owner: OwnerDep, key: str = "") -> Response:
    """With the key, make this browser an owner's; without, say whether it is."""
    if key:
        check_key(request, key)
        return set_owner_cookie(request, RedirectResponse("/owner", 303, PRIVATE))
    response = render(request, "labels/owner.html", OwnerPage(owner))
    response.headers.update(PRIVATE)
    return response


@router.post("/owner/leave")
def leave(request: Request) -> Response:
    """Make this browser anybody's again."""
    return forget_owner(RedirectResponse("/owner", 303, PRIVATE))


@router.get("/{model}/{sae}/{index}/label", dependencies=[Depends(require_owner)])
def label_page(request: Request, sae: SAEDep, index: IndexDep) -> Response:
    """The form for a feature's label and note."""
    return render(request, "labels/edit.html", label_page_of(sae, index))


@router.post("/{model}/{sae}/{index}/label", dependencies=[Depends(require_owner)])
def write_label(
    request: Request, sae: SAEDep, index: IndexDep, form: Annotated[LabelForm, Form()], labels: LabelsDep
) -> Response:
    """Keep them and lead back to the feature, or say why not beside what was typed."""
    try:
        labels.write(sae, index, form.label, form.note)
    except (RefusedError, StoreFullError) as error:
        page = label_page_of(sae, index, form.label, form.note, str(error))
        return render(request, "labels/edit.html", page, 422 if isinstance(error, RefusedError) else 503)
    return RedirectResponse(f"{sae.href}/{index}#label", 303)
