"""Errors of the server, below those of data/errors.py.

ConfigError
    RefusedError        a request that cannot be done as asked: the message says what to change (422)
ServeError              (503)
    EngineOffError      there is no model to ask
    TooManyError        one client asks for too much at once (429)
    TooSlowError        a time limit was reached
    StoreFullError      the server keeps no more of a kind
    WorkerError         the worker takes no more work
        BusyError       its queue is full
        StoppedError    the server is shutting down
"""

from fastapi import HTTPException

from data.errors import ConfigError, ServeError


class StoreFullError(ServeError):
    """No more of a kind is kept."""


class RefusedError(ConfigError):
    """A request that cannot be done as asked."""


class EngineOffError(ServeError):
    """There is no model to ask."""


class TooManyError(ServeError):
    """One client asks for too much at once."""


class TooSlowError(ServeError):
    """A time limit was reached."""


class WorkerError(ServeError):
    """The worker takes no more work."""


class BusyError(WorkerError):
    """The queue is full."""


class StoppedError(WorkerError):
    """The server is shutting down."""


def not_found(what: str) -> HTTPException:
    """A 404 that says what there is not."""
    return HTTPException(404, what)
