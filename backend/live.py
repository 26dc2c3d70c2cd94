"""What goes to the engine and what comes back: plain values, without torch.

Shapes: L tokens of a prompt, K activations above zero.

    RefusedError    a request that cannot be done as asked: the message says what to change (422)
    EngineOffError  there is no model to ask (503)
    TooManyError    one client asks for too much at once (429)
    TooSlowError    a time limit was reached (503)
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from backend.catalogue import OpenRun, OpenSAE
from data.errors import ConfigError, ServeError


class RefusedError(ConfigError):
    """A request that cannot be done as asked."""


class EngineOffError(ServeError):
    """There is no model to ask."""


class TooManyError(ServeError):
    """One client asks for too much at once."""


class TooSlowError(ServeError):
    """A time limit was reached."""


Mode = Literal["clamp", "add", "ablate"]
"""What is done to a feature, as in pipeline.models.steering."""
Scope = Literal["all", "written"]
"""Which positions are steered: all, or only those that are written after the prompt."""


@dataclass(frozen=True)
class Prompt:
    """What a person typed."""

    text: str
    chat: bool = False
    """Put into the model's chat template, as what the user says."""


@dataclass(frozen=True)
class Active:
    """Activations above zero of one SAE on a prompt, sorted by token, then feature. Left-out tokens have none."""

    token_K: npt.NDArray[np.int64]
    feature_K: npt.NDArray[np.int64]
    value_K: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Reading:
    """A prompt as the model read it."""

    tokens: list[int]
    """The model's exact tokens, one opening token (BOS) first."""
    pieces: list[bytes]
    """The bytes that each stands for."""
    left_out: list[bool]
    """The opening token, attention sinks and what a chat template says around the text: shown, but not counted."""
    active: dict[str, Active]
    """By name of the SAE."""


@dataclass(frozen=True)
class Held:
    """A feature of a row."""

    sae: OpenSAE
    index: int
    value: float | None
    """Activation at which it is held, or what is added of its direction; None only measures it."""
    mode: Mode = "clamp"


@dataclass(frozen=True)
class Draw:
    """How text is written."""

    temperature: float
    top_p: float
    max_new_tokens: int
    seed: int


@dataclass(frozen=True)
class SteerRequest:
    """Rows that are written from one prompt."""

    run: OpenRun
    tokens: list[int]
    """Of the prompt, see `Engine.tokenize`."""
    rows: list[list[Held]]
    draw: Draw
    scope: Scope = "all"
    client: str = ""
    """Who asks: no two requests of one client run at the same time. "" is nobody in particular."""

    @property
    def saes(self) -> list[OpenSAE]:
        """Those of its features, each once."""
        return list({held.sae.folder: held.sae for row in self.rows for held in row}.values())


@dataclass(frozen=True)
class Queued:
    """The request waits."""

    ahead: int
    """Requests before it, the running one included."""


@dataclass(frozen=True)
class Started:
    """The request runs: the model reads its prompt."""


@dataclass(frozen=True)
class Written:
    """A token that a row has read: first those of the prompt, then those that it wrote."""

    row: int
    token: int
    text: str
    """The characters it completes; "" while one is incomplete."""
    probability: float | None
    """At temperature 1; None in the prompt."""
    activations: tuple[float, ...]
    """Of the row's features, in their order, after what is done to them."""
    left_out: bool


@dataclass(frozen=True)
class Ended:
    """A row is finished."""

    row: int
    reason: "Reason"


@dataclass(frozen=True)
class Finished:
    """The request is finished."""

    seconds: float
    """From its first step to its last."""
    num_tokens: int
    """Written, by all its rows."""


Reason = Literal["stop", "length", "cancelled", "broken"]
SteerEvent = Queued | Started | Written | Ended | Finished
