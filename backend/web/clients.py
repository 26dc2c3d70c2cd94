"""Clients: their network addresses and visitor cookies, their quotas, and whether they are still connected.

The cookie is a random number that tells people behind one address apart, so that they do not wait for each other. It
gives no rights, and deleting it gains nothing: each address has a limit of its own.
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
from backend.web.root_path import cookie_path

COOKIE = "visitor"
COOKIE_SECONDS = 30 * 24 * 3600
LONGEST_COOKIE = 64
OPEN_PER_CLIENT = 2
"""Requests of one client: one that runs and one that waits."""
CLIENT_GONE = 499
"""nginx's status for a client that closed the connection; nobody receives it."""

T = TypeVar("T")


@dataclass(frozen=True)
class Client:
    """A client of the server."""

    address: str
    visitor: str = ""
    """The value of the cookie; "" without one."""

    @property
    def name(self) -> str:
        return f"{self.address} {self.visitor}"


def get_client(request: Request) -> Client:
    """The client that made a request; behind a trusted proxy, the one that it forwards for (see `create_app`)."""
    address = request.client.host if request.client else ""
    return Client(address, request.cookies.get(COOKIE, "")[:LONGEST_COOKIE])


ClientDep = Annotated[Client, Depends(get_client)]


def set_visitor_cookie(request: Request, response: Response) -> Response:
    """Set the visitor's cookie unless the request has one."""
    if COOKIE not in request.cookies:
        secure = request.url.scheme == "https"
        value = secrets.token_urlsafe(16)
        response.set_cookie(
            COOKIE, value, COOKIE_SECONDS, path=cookie_path(), httponly=True, samesite="lax", secure=secure
        )
    return response


class ClientQuota:
    """A limit on each client's open requests for readings of prompts.

    Steering counts its own, see backend/steering/runs.py. For the event loop only.
    """

    def __init__(self, limit_per_address: int) -> None:
        self._limit_per_address = limit_per_address
        self._clients: Counter[Client] = Counter()
        self._addresses: Counter[str] = Counter()

    @contextmanager
    def take(self, client: Client) -> Iterator[None]:
        """Count an open request of a client while the block runs. Raises TooManyError."""
        if self._clients[client] >= OPEN_PER_CLIENT:
            raise TooManyError("You already have one request running and one waiting: try again when one is finished.")
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
            self._clients += Counter()  # drops the counts of 0
            self._addresses += Counter()


def quota(request: Request) -> AbstractContextManager[None]:
    """The quota of the client that made a request, see `ClientQuota.take`."""
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
