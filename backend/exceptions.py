"""Errors of the server, below those of data/errors.py. Every message says what to do.

    MonosemaError
    ├── NotFoundError           there is nothing of this name (404)
    ├── ForbiddenError          whoever asks may not do this (403)
    ├── ConfigError             (422)
    │   └── RefusedError        a request that cannot be done as asked
    └── ServeError              (503)
        ├── UnavailableError    what is asked for is published, and cannot be shown
        ├── EngineOffError      there is no model to ask
        ├── TooManyError        one client asks for too much at once (429)
        ├── TooSlowError        a time limit was reached
        ├── StoreFullError      the server keeps no more of a kind
        └── WorkerError         the worker takes no more work
            ├── BusyError       its queue is full
            └── StoppedError    the server is shutting down

The statuses are given in backend/web/problems.py.
"""

from data.errors import ConfigError, MonosemaError, ServeError


class NotFoundError(MonosemaError):
    """There is nothing of this name."""


class ForbiddenError(MonosemaError):
    """Whoever asks may not do this."""


class RefusedError(ConfigError):
    """A request that cannot be done as asked."""


class UnavailableError(ServeError):
    """What is asked for is published, and cannot be shown."""


class EngineOffError(ServeError):
    """There is no model to ask."""


class TooManyError(ServeError):
    """One client asks for too much at once."""


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
