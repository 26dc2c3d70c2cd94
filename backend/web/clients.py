"""Who asks: a network address, and a visitor of it; how much they may ask at once, and whether they still wait.

The cookie is a random number that tells people behind one address apart, so that they do not wait for each other. It
gives no right to anything, and whoever throws it away gains nothing: one address has a limit of its own.
"""

import asyncio
import secrets
from collections import Counter
from collections.abc import Coroutine, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar, cast

from fastapi import Depends, HTTPException, Request, Response

from backend.exceptions import TooManyError

COOKIE = "visitor"
COOKIE_SECONDS = 30 * 24 * 3600
LONGEST_COOKIE = 64
OPEN_PER_CLIENT = 2
"""Requests of one client: one that runs and one that waits."""
CLIENT_GONE = 499
"""What nginx writes into its log for it; nobody is there to read it."""

T = TypeVar("T")


@dataclass(frozen=True)
class Client:
    """Somebody who asks for something."""

    address: str
    visitor: str = ""
    """What the cookie says; "" without one."""

    @property
    def name(self) -> str:
        return f"{self.address} {self.visitor}"


def get_client(request: Request) -> Client:
    """Who made a request; behind a trusted proxy, whom that names (see `create_app`)."""
    address = request.client.host if request.client else ""
    return Client(address, request.cookies.get(COOKIE, "")[:LONGEST_COOKIE])


ClientDep = Annotated[Client, Depends(get_client)]


def set_visitor_cookie(request: Request, response: Response) -> Response:
    """Give the visitor's cookie to whoever has none."""
    if COOKIE not in request.cookies:
        secure = request.url.scheme == "https"
        response.set_cookie(
            COOKIE, secrets.token_urlsafe(16), COOKIE_SECONDS, httponly=True, samesite="lax", secure=secure
        )
    return response


class ClientQuota:
    """How many readings of prompts a client may have open: one that is read and one that waits.

    Steering counts its own, see backend/steering/runs.py. For the event loop alone.
    """

    def __init__(self, limit_per_address: int) -> None:
        self._limit_per_address = limit_per_address
        self._clients: Counter[Client] = Counter()
        self._addresses: Counter[str] = Counter()

    @contextmanager
    def take(self, client: Client) -> Iterator[None]:
        """One of a client's places, for as long as the block runs. Raises TooManyError."""
        if self._clients[client] >= OPEN_PER_CLIENT:
            raise TooManyError("One request of yours is read and one waits already: try again when one is done.")
        if self._addresses[client.address] >= self._limit_per_address:
            raise TooManyError(
                f"{self._limit_per_address} requests from your network are open already: try again in a few seconds."
            )
        self._clients[client] += 1
        self._addresses[client.address] += 1
        try:
            yield
        finally:
            self._clients[client] -= 1
            self._addresses[client.address] -= 1
            self._clients += Counter()  # forgets those at 0
            self._addresses += Counter()


def quota(request: Request) -> AbstractContextManager[None]:
    """A place of whoever makes a request, see `ClientQuota.take`."""
    return cast(ClientQuota, request.app.state.quota).take(get_client(request))


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is cancelled when the client closes the connection. The body must have been read."""
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise HTTPException(CLIENT_GONE, "The connection was closed.")
        return task.result()
    finally:
        task.cancel()
        gone.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
