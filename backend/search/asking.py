"""Running a search by prompts: the engine reads every prompt, then the readings are compared."""

from collections.abc import Sequence

from starlette.concurrency import run_in_threadpool

from backend.engine.engine import Engine
from backend.engine.limits import MAX_PROMPT_CHARACTERS
from backend.engine.messages import Prompt, PromptReading
from backend.exceptions import RefusedError
from backend.published.catalogue import Library, OpenSAE
from backend.published.lookup import named_saes
from backend.search.prompts import Criteria, Found, MatchOrder, find, tabulate
from backend.search.prompts_page import MAX_PROMPTS


async def search_prompts(
    engine: Engine,
    saes: list[OpenSAE],
    positive: Sequence[str],
    negative: Sequence[str],
    chat: bool,
    criteria: Criteria,
    order: MatchOrder,
    limit: int,
    minor: bool,
) -> Found:
    """Read the prompts one after the other, so that other requests can run between them, and compare them."""
    if not positive:
        raise RefusedError(
            "There is no positive prompt: write at least one text that the features should be active in."
        )
    if max(len(positive), len(negative)) > MAX_PROMPTS:
        raise RefusedError(f"At most {MAX_PROMPTS} prompts of each kind can be searched by: remove some.")
    readings = []
    for kind, texts in (("positive", positive), ("negative", negative)):
        for place, text in enumerate(texts, start=1):
            readings.append(await _read(engine, saes, f"The {kind} prompt {place}", Prompt(text, chat)))

    def compare() -> Found:
        table = tabulate(saes, readings[: len(positive)], readings[len(positive) :], minor=minor)
        return find(saes, table, criteria, order, limit)

    return await run_in_threadpool(compare)


async def _read(engine: Engine, saes: list[OpenSAE], name: str, prompt: Prompt) -> PromptReading:
    """Read one prompt. Errors name it."""
    if len(prompt.text) > MAX_PROMPT_CHARACTERS:
        raise RefusedError(
            f"{name} has {len(prompt.text):,} characters, at most {MAX_PROMPT_CHARACTERS:,} can be read: shorten it."
        )
    try:
        return await engine.activations(saes, prompt)
    except RefusedError as error:
        raise RefusedError(f"{name} cannot be read. {error}") from None


def searched_saes(library: Library, names: list[str]) -> list[OpenSAE]:
    """The SAEs that are named, or all of the newest run."""
    saes = named_saes(library, names)
    return saes if names else list(saes[0].run.saes)
