"""How many readings of prompts one client may have open: one that is read and one that waits.

Steering counts its own, see backend/steering_runs.py.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import cast

from fastapi import Request

from backend.clients import Client, get_client
from backend.live import TooManyError

OPEN_PER_CLIENT = 2


class Turns:
    """Who has something open. For the event loop alone."""

    def __init__(self, most_per_address: int) -> None:
        self._most_per_address = most_per_address
        self._clients: Counter[Client] = Counter()
        self._addresses: Counter[str] = Counter()

    @contextmanager
    def take(self, client: Client) -> Iterator[None]:
        """One of a client's places, for as long as the block runs. Raises TooManyError."""
        if self._clients[client] >= OPEN_PER_CLIENT:
            raise TooManyError("One request of yours is read and one waits already: try again when one is done.")
        if self._addresses[client.address] >= self._most_per_address:
            raise TooManyError(
                f"{self._most_per_address} requests from your network are open already: try again in a few seconds."
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


def turn(request: Request) -> AbstractContextManager[None]:
    """A place of whoever makes a request, see `Turns.take`."""
    return cast(Turns, request.app.state.turns).take(get_client(request))
