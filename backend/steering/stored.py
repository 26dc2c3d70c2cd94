"""The form as an address opens it: with the conversation that it goes on from, and what is stored of its texts."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from backend.exceptions import NotFoundError, RefusedError
from backend.published.catalogue import Library, OpenRun
from backend.published.demonstrations import Demonstrations, StoredDemonstration, demonstrations
from backend.published.features import FeatureSummary
from backend.published.lookup import find_feature, require_runs
from backend.published.search import WordSearch, search
from backend.steering.form import SteerForm, prepared, read_chips, to_body
from backend.steering.plan import Chip, make_plan
from backend.steering.results import Results, SteeringResult, result_id
from backend.steering.views import Conversation, conversation_of, conversation_of_stored

MATCHES = 8
NOTHING_SAID = Conversation([], [])


@dataclass(frozen=True)
class OpenForm:
    """A form with what belongs to it."""

    form: SteerForm
    chips: list[Chip]
    conversation: Conversation = NOTHING_SAID
    problem: str = ""
    """The reason why some of it cannot be read; "" when all can."""
    matches: Sequence[FeatureSummary] = ()
    """Features that have the words which were typed to add one."""


def open_form(library: Library, results: Results, form: SteerForm, max_new_tokens: int) -> OpenForm:
    """A form as an address opens it."""
    chips, problem = read_chips(library, form)
    form = prepared(form, chips, run_of(library, chips).once(demonstrations))
    if not chips and not problem:
        chips, problem = read_chips(library, form)
    try:
        before = conversation_after(library, results, form.after if form.chat else "")
    except NotFoundError as error:
        return OpenForm(form.changed(after=""), chips, problem=f"{problem} {error}".strip())
    if problem or not form.prompt:
        return OpenForm(form, chips, before, problem)
    form, conversation = _with_stored(library, results, form, chips, before, max_new_tokens)
    return OpenForm(form, chips, conversation)


def with_matches(library: Library, opened: OpenForm) -> OpenForm:
    """The form with the features that have the words which were typed to add one."""
    if not opened.form.words:
        return opened
    found = search(run_of(library, opened.chips), WordSearch(q=opened.form.words[:200], per_page=MATCHES))
    return replace(opened, matches=[hit.feature for hit in found.hits])


def run_of(library: Library, chips: Sequence[Chip]) -> OpenRun:
    """The run of some features; the newest without any. Raises NotFoundError when nothing is published."""
    catalogue = library.catalogue()
    require_runs(catalogue)
    return catalogue.saes[chips[0].place].run if chips else catalogue.runs[0]


def conversation_after(library: Library, results: Results, after: str) -> Conversation:
    """The conversation that an address goes on from; of a result without two answers, what was said before it.

    Raises NotFoundError when it is not stored.
    """
    if not after:
        return NOTHING_SAID
    found = _of_demonstration(library, after) if "/" in after else _of_result(results.find(after))
    if found is None:
        raise NotFoundError("The conversation that this address goes on from is not stored here: begin a new one.")
    return found


def _of_result(result: SteeringResult | None) -> Conversation | None:
    if result is None:
        return None
    whole = conversation_of(result)
    return whole if result.turn() else Conversation(whole.shown[:-1], result.history, whole.system)


def _of_demonstration(library: Library, after: str) -> Conversation | None:
    name, _, strength = after.rpartition(":")
    try:
        sae, index = find_feature(library, name)
        held = float(strength)
    except (RefusedError, ValueError):
        return None
    chats = sae.run.once(demonstrations).chats
    one = next((one for one in chats if (one.feature.sae, one.feature.index) == (sae.name, index)), None)
    text = one.at(held) if one else None
    return conversation_of_stored(one, text) if one and text else None


def _with_stored(
    library: Library,
    results: Results,
    form: SteerForm,
    chips: Sequence[Chip],
    before: Conversation,
    max_new_tokens: int,
) -> tuple[SteerForm, Conversation]:
    """A form, and its conversation with the texts that it asks for, where they are stored."""
    one = None if before.turns else demonstration_of(form, chips, before, run_of(library, chips).once(demonstrations))
    text = one.at(chips[0].strength) if one else None
    if one and text:
        goes_on = form.changed(after=chips[0].argument, prompt="") if one.chat else form
        return goes_on, conversation_of_stored(one, text)
    try:
        plan = make_plan(library, to_body(form, chips, before.turns), max_new_tokens)
    except RefusedError:  # said when it is sent
        return form, before
    result = results.find(result_id(plan))
    if result is None:
        return form, before
    return form.changed(after=result.id, prompt="") if result.turn() else form, conversation_of(result)


def demonstration_of(
    form: SteerForm, chips: Sequence[Chip], conversation: Conversation, found: Demonstrations
) -> StoredDemonstration | None:
    """The demonstration whose feature, message and settings a form has, whatever its strength."""
    if len(chips) != 1 or len(conversation.turns) > 1 or form.sweep or (form.mode, form.scope) != ("clamp", "all"):
        return None
    message = conversation.turns[0].message if conversation.turns else form.prompt
    one = found.after(message, chips[0].feature.name, chat=form.chat)
    same = one and form.temperature in ("0", "0.0") and form.new_tokens == str(one.new_tokens)
    return one if same else None
