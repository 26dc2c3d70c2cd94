"""The document of an example, in place of a feature's examples: read by the model where there is one."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from starlette.concurrency import run_in_threadpool

from backend.engine.engine import Engine
from backend.exceptions import NotFoundError, TooSlowError
from backend.features.links import FeatureState
from backend.published.catalogue import OpenSAE
from backend.published.documents import DocumentPage, WholeDocument, find_page, sequences_of, whole_document
from backend.published.features import get_feature

READ_SECONDS = 15
"""Longest time that the page waits for the model; pieces that were read are kept."""


@dataclass(frozen=True)
class ShownDocument:
    """A page of a document, and how it was read."""

    document: WholeDocument
    unread: str
    """The reason why the model has not read it, so that only what is stored is known; "" when it has."""


def find_document(sae: OpenSAE, index: int, view: FeatureState) -> DocumentPage | None:
    """The page of a document that an address names; None where the feature has no examples of the kind.

    Raises NotFoundError for an example or a page that does not exist.
    """
    feature = get_feature(sae, index)
    found = find_page(sae, feature, view.kind, view.example, view.page)
    if found is None and (view.example or view.page):
        raise NotFoundError(
            f"This feature has no such example, or its document no such page: {feature.href} has them all."
        )
    return found


async def read_document(engine: Engine, sae: OpenSAE, found: DocumentPage) -> list[float]:
    """The feature's activation on every token of the page: the model reads it piece by piece, as the harvest did.

    Raises TooSlowError after READ_SECONDS, and as `Engine.values` does.
    """
    values: list[float] = []
    try:
        async with asyncio.timeout(READ_SECONDS):
            for skipped, tokens in await run_in_threadpool(sequences_of, sae, found):
                values += (await engine.values(sae, found.feature.index, tokens))[skipped:]
    except TimeoutError:
        raise TooSlowError(
            f"it needs more than {READ_SECONDS} s now. Reload the page: it goes on from there."
        ) from None
    return values


def show_document(sae: OpenSAE, found: DocumentPage, values: Sequence[float] | None, unread: str) -> ShownDocument:
    """The page with what is known of it. values: None where the model has not read it, for the reason `unread`."""
    return ShownDocument(whole_document(sae, found, values), unread)
