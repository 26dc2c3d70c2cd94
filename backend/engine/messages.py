"""Requests to the engine and its responses: plain values, without torch.

Shapes: L tokens of a prompt, K activations above zero.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from backend.published.catalogue import OpenRun, OpenSAE

SteeringMode = Literal["clamp", "add", "ablate"]
"""The intervention on a feature, as in pipeline.models.steering."""
Scope = Literal["all", "written"]
"""The positions that are steered: all, or only those that are written after the prompt."""


@dataclass(frozen=True)
class Prompt:
    """A text that a person typed."""

    text: str
    chat: bool = False
    """Put into the model's chat template, as the user's message."""
    special_tokens: bool = False
    """Where the text is a filled chat template, which holds the names of the template's special tokens: read these as
    the tokens that they name, and not as plain text."""
    template_tokens: bool = False
    """Count the tokens of the chat template, too."""


@dataclass(frozen=True)
class ChatMessage:
    """One message of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


Role = Literal["template", "system", "developer", "user", "assistant", "tool"]
"""Whose a token of a chat is; "template": what the chat template says around the messages, never shown raw."""


@dataclass(frozen=True)
class Chat:
    """A conversation as the model reads it, up to where the assistant answers."""

    tokens: list[int]
    """The model's exact tokens, one opening token (BOS) first."""
    pieces: list[bytes]
    """The bytes that each stands for."""
    roles: list[Role]
    """Of each token. A system message that the template puts in by itself is "system"."""


@dataclass(frozen=True)
class Active:
    """Activations above zero of one SAE on a prompt, sorted by token, then feature. Left-out tokens have none."""

    token_K: npt.NDArray[np.int64]
    feature_K: npt.NDArray[np.int64]
    value_K: npt.NDArray[np.float32]


@dataclass(frozen=True)
class PromptReading:
    """A prompt as the model read it."""

    tokens: list[int]
    """The model's exact tokens, one opening token (BOS) first."""
    pieces: list[bytes]
    """The bytes that each stands for."""
    left_out: list[bool]
    """BOS, attention sinks and the tokens of a chat template: shown, but not counted."""
    active: dict[str, Active]
    """By name of the SAE."""
    whose: list[str]
    """Of each token that is not of the text but of the chat template, "template", or of the system message that it puts
    in by itself, "system"; "" for the others."""


@dataclass(frozen=True)
class Held:
    """A feature that is steered, or only measured, in a row."""

    sae: OpenSAE
    index: int
    value: float | None
    """Activation at which it is held, or multiple of its direction that is added; None only measures it."""
    mode: SteeringMode = "clamp"


@dataclass(frozen=True)
class Draw:
    """Sampling parameters of a text."""

    temperature: float
    top_p: float
    max_new_tokens: int
    seed: int


@dataclass(frozen=True)
class SteerRow:
    """One text to write."""

    tokens: list[int]
    """Of its own prompt, see `Engine.tokenize` and `Engine.chats`."""
    held: list[Held]


@dataclass(frozen=True)
class SteerRequest:
    """Rows that are written together, each from its own prompt."""

    run: OpenRun
    rows: list[SteerRow]
    draw: Draw
    scope: Scope = "all"
    client: str = ""
    """The client: no two requests of one client run at the same time. "" stands for no client in particular."""

    @property
    def saes(self) -> list[OpenSAE]:
        """The SAEs of its features, each once."""
        return list({held.sae.folder: held.sae for row in self.rows for held in row.held}.values())


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
    """Of the row's features, in their order, after the intervention."""
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


# ---- attribution


@dataclass(frozen=True)
class Question:
    """The output of a prompt that is to be explained."""

    target: str
    """A text that is one token, with the space before it or without, or #id."""
    minus: str = ""
    """Likewise; its logit is subtracted. "" for none."""
    position: int | None = None
    """Token after which the target comes; None is the last."""
    k: int = 50
    """Features of each SAE that are ablated: those whose attribution is largest in size."""


@dataclass(frozen=True)
class LikelyToken:
    """A probable next token."""

    token: int
    piece: bytes
    probability: float


@dataclass(frozen=True)
class TokenChoice:
    """A token that may have been meant."""

    token: int
    piece: bytes


@dataclass(frozen=True)
class Attributed:
    """The active features of one SAE, by index."""

    feature_U: npt.NDArray[np.int64]
    activation_U: npt.NDArray[np.float32]
    """Highest on the prompt."""
    token_U: npt.NDArray[np.int64]
    """Number of the token where that is."""
    attribution_U: npt.NDArray[np.float32]
    """Summed over the tokens."""
    effect_U: npt.NDArray[np.float32]
    """Of ablation: y less y without the feature; nan where it was not ablated."""


@dataclass(frozen=True)
class Outcome:
    """A target, and its attribution to each feature."""

    tokens: list[int]
    """The prompt's, one opening token (BOS) first."""
    pieces: list[bytes]
    left_out: list[bool]
    whose: list[str]
    """See PromptReading."""
    position: int
    target: int
    target_piece: bytes
    minus: int | None
    minus_piece: bytes
    others: list[TokenChoice]
    """Tokens that are written nearly as the target: with a space before or without, or with other capitals."""
    minus_others: list[TokenChoice]
    value: float
    """The logit, or the difference."""
    attributed: dict[str, Attributed]
    """By name of the SAE."""


@dataclass(frozen=True)
class Fired:
    """The tokens that made a feature fire at the last of them."""

    activation: float
    effects: list[float]
    """Gradient times input of every token, the opening one included."""


@dataclass(frozen=True)
class MovedToken:
    """A next token that a feature raises or lowers."""

    token: int
    piece: bytes
    log_probability: float
    without: float
    """With the feature ablated."""

    @property
    def change(self) -> float:
        """The feature's effect on its probability."""
        return math.exp(self.log_probability) - math.exp(self.without)


@dataclass(frozen=True)
class Changed:
    """The effect of a feature on the next tokens of a text."""

    changes: list[float]
    """For every token: what the feature adds to its log-probability, given those before it."""
    kl: float
    """After the chosen position, in nats: of the distribution as it is from that without the feature."""
    raised: list[MovedToken]
    """After the chosen position, most raised first."""
    lowered: list[MovedToken]


def values_of(sae: OpenSAE, reading: PromptReading, index: int) -> list[float]:
    """One feature's activation on every token of the prompt."""
    active = reading.active[sae.name]
    values_L = np.zeros(len(reading.tokens))
    chosen_K = active.feature_K == index
    values_L[active.token_K[chosen_K]] = active.value_K[chosen_K]
    return [float(value) for value in values_L]
