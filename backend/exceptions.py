"""Errors of the server, below those of data/errors.py. Every message says what to do.

    MonosemaError
    ├── NotFoundError           nothing has this name (404)
    ├── ForbiddenError          the client may not do this (403)
    ├── ConfigError             (422)
    │   └── RefusedError        a request that cannot be carried out
    │       └── UnknownTokenError   what was typed is no token; it offers some
    └── ServeError              (503)
        ├── UnavailableError    the requested thing is published, but cannot be shown
        ├── EngineOffError      no model is available
        ├── TooManyError        one client has too many open requests (429)
        ├── TooSlowError        a time limit was reached
        ├── StoreFullError      the server keeps no more of a kind
        └── WorkerError         the worker takes no more work
            ├── BusyError       its queue is full
            └── StoppedError    the server is shutting down

The statuses are given in backend/web/problems.py.
"""

from collections.abc import Sequence

from data.errors import ConfigError, MonosemaError, ServeError


class NotFoundError(MonosemaError):
    """Nothing has this name."""


class ForbiddenError(MonosemaError):
    """The client may not do this."""


class RefusedError(ConfigError):
    """A request that cannot be carried out."""


class UnknownTokenError(RefusedError):
    """What was typed is no single token."""

    def __init__(self, message: str, typed: str, choices: Sequence[tuple[int, bytes]]) -> None:
        """choices: tokens that may have been meant, by id with their bytes."""
        super().__init__(message)
        self.typed, self.choices = typed, choices


class UnavailableError(ServeError):
    """The requested thing is published, but cannot be shown."""


class EngineOffError(ServeError):
    """No model is available."""


class TooManyError(ServeError):
    """One client has too many open requests."""


class TooSlowError(ServeError):
    """A time limit was reached."""


class StoreFullError(ServeError):
    """No more of a kind is kept."""


class WorkerError(ServeError):
    """The worker takes no more work."""


class BusyError(WorkerError):
    """The queue is full."""


class StoppedError(WorkerError):
    """The server is shutting down."""
