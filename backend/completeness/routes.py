"""The pages of completeness, and the forms on them."""

from typing import Annotated, Literal, cast

from fastapi import APIRouter, Depends, Form, Query, Request, Response
from fastapi.responses import RedirectResponse
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

from backend.completeness.address import CompletenessState, OwnState
from backend.completeness.own import OwnAnswer, answer_own
from backend.completeness.own_page import own_address, own_page_of
from backend.completeness.page import UploadForm, chosen_sae, completeness_page_of
from backend.completeness.store import ConceptLists, decode_file
from backend.engine.engine import Engine
from backend.exceptions import NotFoundError, RefusedError, StoreFullError
from backend.html.templates import render
from backend.published.catalogue import Library, OpenSAE
from backend.published.concepts import completeness_of, concepts_of
from backend.published.lookup import named_saes
from backend.published.verdicts import VerdictStore
from backend.texts import Typed
from backend.web.dependencies import EngineDep, LibraryDep, VerdictsDep, get_run
from backend.web.live import ask_for_page, respond
from backend.web.owners import OwnerDep, require_owner
from backend.web.problems import status_of
from data.concepts.lists import ConceptList

router = APIRouter(prefix="/completeness", include_in_schema=False)


async def get_concept_lists(request: Request) -> ConceptLists:
    """The lists of concepts that people uploaded."""
    return cast(ConceptLists, request.app.state.concept_lists)


ConceptListsDep = Annotated[ConceptLists, Depends(get_concept_lists)]


class VerdictForm(Typed):
    """What an owner says of a concept."""

    model: str
    sae: str
    list: str
    concept: str
    represented: Literal["yes", "no", "measured"]
    note: str = ""
    back: str = ""
    """Query of the page to come back to."""


class ListUpload(Typed):
    """The form for a list of one's own, but for its file."""

    text: str = ""
    sae: str = ""
    """model/name; "" for the one that explains most of the newest run."""


@router.get("")
def completeness_page(
    request: Request,
    state: Annotated[CompletenessState, Query()],
    library: LibraryDep,
    verdicts: VerdictsDep,
    engine: EngineDep,
    owner: OwnerDep,
) -> Response:
    """How many concepts have a feature of their own, and which."""
    return _page(request, state, library, verdicts, engine, owner=owner)


def _page(
    request: Request,
    state: CompletenessState,
    library: Library,
    verdicts: VerdictStore,
    engine: Engine,
    *,
    owner: bool,
    text: str = "",
    refused: RefusedError | StoreFullError | None = None,
) -> Response:
    run = get_run(library, state.run or None)
    upload = UploadForm(text=text, problem=str(refused or ""), off=engine.why_off(run))
    said = verdicts.of(chosen_sae(run, state))
    page = completeness_page_of(run, state, said, upload, owner=owner)
    return render(request, "completeness/completeness.html", page, status_of(refused) if refused else 200)


@router.post("/lists")
async def upload_list(
    request: Request,
    library: LibraryDep,
    lists: ConceptListsDep,
    verdicts: VerdictsDep,
    engine: EngineDep,
    owner: OwnerDep,
) -> Response:
    """Keep a list of one's own, typed or as a file, and lead to its page; or say why not beside what was typed."""
    async with request.form() as sent:
        texts = {name: text for name, text in sent.items() if isinstance(text, str)}
        form = ListUpload.model_validate(texts)
        file = sent.get("file")
        data = await file.read() if isinstance(file, UploadFile) and file.filename else b""

    def answer() -> Response:
        try:
            name = lists.save(decode_file(data) if data else form.text)
        except (RefusedError, StoreFullError) as error:
            state = CompletenessState()
            return _page(request, state, library, verdicts, engine, owner=owner, text=form.text, refused=error)
        return RedirectResponse(own_address(name) + OwnState(sae=form.sae).query(), 303)

    return await run_in_threadpool(answer)


@router.get("/lists/{name}")
async def own_list_page(
    request: Request,
    name: str,
    state: Annotated[OwnState, Query()],
    library: LibraryDep,
    lists: ConceptListsDep,
    verdicts: VerdictsDep,
    engine: EngineDep,
    owner: OwnerDep,
) -> Response:
    """Which concepts of a person's own list have a feature of their own, as the model reads them now."""
    content = await run_in_threadpool(lists.load, name)
    sae = (await run_in_threadpool(named_saes, library, [state.sae] if state.sae else []))[0]

    async def read() -> OwnAnswer:
        reading = await engine.concepts(sae, content)
        return await run_in_threadpool(lambda: answer_own(sae, name, content, reading, verdicts.of(sae)))

    answer = await ask_for_page(request, engine, sae.run, read)
    page = await run_in_threadpool(lambda: own_page_of(sae, name, content, state, answer, owner=owner))
    return respond(request, "completeness/own.html", page, answer)


@router.post("/verdict", dependencies=[Depends(require_owner)])
def write_verdict(
    form: Annotated[VerdictForm, Form()], library: LibraryDep, lists: ConceptListsDep, verdicts: VerdictsDep
) -> Response:
    """Keep an owner's verdict on a concept, or take it back, and lead back to the page."""
    sae = named_saes(library, [f"{form.model}/{form.sae}"])[0]
    own = _require_concept(sae, form.list, form.concept, lists)
    represented = {"yes": True, "no": False, "measured": None}[form.represented]
    verdicts.write(sae, form.list, form.concept, represented, form.note)
    path = own_address(form.list) if own else CompletenessState.path
    query = form.back.partition("?")[2]
    return RedirectResponse(f"{path}{query and '?'}{query}{'' if own else '#concepts'}", 303)


def _require_concept(sae: OpenSAE, name: str, concept: str, lists: ConceptLists) -> ConceptList | None:
    """The uploaded list of this id that has the concept; None where a list of the run has it. Raises NotFoundError."""
    if name in {one.name for one in completeness_of(sae.run).lists}:
        found, own = {one.name for one in concepts_of(sae.run) if one.list.name == name}, None
    else:
        own = lists.load(name)
        found = {one.name for one in own.concepts}
    if concept not in found:
        raise NotFoundError("That list has no such concept.")
    return own
