"""Prompts read on the worker's thread: the model's tokens, and the activations of features on them.

Shapes: L tokens of the prompt, K of them kept, D width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cachetools import LRUCache

from backend.engine.messages import Active, Chat, ChatMessage, Prompt, PromptReading
from backend.engine.models import Loaded, ModelKey, Models, models_errors, sink_norm
from backend.exceptions import RefusedError
from backend.published.catalogue import OpenRun, OpenSAE
from backend.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor

READINGS_CACHED = 16
"""Prompts whose activations are kept, so that looking at another token of one costs nothing."""
VALUES_CACHED = 64
"""Pieces of documents whose values of one feature are kept."""


@dataclass(frozen=True)
class Stream:
    """A text in the model, up to the layer that the SAEs read."""

    tokens: list[int]
    """The model's exact tokens, the opening one first."""
    x_LD: "Tensor"
    """The activations at the hook, float32."""
    beside_LD: "Tensor | None"
    """What stands beside them, see pipeline.models.hooks."""
    left_out_L: "Tensor"
    """bool, see pipeline.models.left_out."""


class Reader:
    """Reads prompts. For the worker's thread alone."""

    def __init__(self, settings: Settings, models: Models) -> None:
        self._settings, self.models = settings, models
        self._readings: LRUCache[tuple[ModelKey, Prompt, tuple[Path, ...]], PromptReading] = LRUCache(READINGS_CACHED)
        self._values: LRUCache[tuple[ModelKey, Path, int, tuple[int, ...]], list[float]] = LRUCache(VALUES_CACHED)

    def tokenize(self, run: OpenRun, prompt: Prompt, room: int) -> list[int]:
        """The model's exact tokens, see `Engine.tokenize`."""
        return self.own_tokens(self.models.load(run), prompt, room)[0]

    def read(self, saes: Sequence[OpenSAE], prompt: Prompt) -> PromptReading:
        """The activations of some SAEs of one run on a prompt."""
        loaded = self.models.load(saes[0].run)
        key = (loaded.key, prompt, tuple(sae.folder for sae in saes))
        if key not in self._readings:
            self._readings[key] = self._compute(loaded, saes, prompt)
        return self._readings[key]

    def values(self, sae: OpenSAE, index: int, tokens: Sequence[int]) -> list[float]:
        """One feature's activation on every token of a text of the corpus, see `Engine.values`."""
        loaded = self.models.load(sae.run)
        key = (loaded.key, sae.folder, index, tuple(tokens))
        if key not in self._values:
            self._values[key] = self._compute_values(loaded, sae, index, tokens)
        return self._values[key]

    def own_tokens(self, loaded: Loaded, prompt: Prompt, room: int = 0) -> tuple[list[int], list[int]]:
        """The tokens, and the positions of those that count: not the opening one, and the template's where asked."""
        tokens, whose = self.tokens_of(loaded, prompt, room)
        return tokens, [place for place in range(1, len(tokens)) if prompt.template_tokens or not whose[place]]

    def tokens_of(self, loaded: Loaded, prompt: Prompt, room: int = 0) -> tuple[list[int], list[str]]:
        """The tokens, and whose each is, see PromptReading."""
        from pipeline.models.chat_template import Message

        tokenizer = loaded.tokenizer
        if not prompt.text:
            raise RefusedError("The prompt is empty: write something for the model to read.")
        if prompt.chat:
            chat = models_errors(lambda: tokenizer.chat([Message("user", prompt.text)]), RefusedError)
            tokens, whose = chat.tokens, ["" if role == "user" else str(role) for role in chat.roles]
        elif prompt.special_tokens and tokenizer.is_filled(prompt.text):
            filled = tokenizer.read_filled(prompt.text)
            tokens, whose = filled.tokens, [role if role == "template" else "" for role in filled.roles]
        else:
            tokens = tokenizer.open(prompt.text)[0]
            whose = [""] * len(tokens)
        self._check_length("The prompt", tokens, loaded, room)
        return tokens, whose

    def _check_length(self, what: str, tokens: Sequence[int], loaded: Loaded, room: int) -> None:
        limit = min(self._settings.max_prompt_tokens, loaded.model.context_length - room)
        if len(tokens) > limit:
            raise RefusedError(f"{what} has {len(tokens):,} tokens, at most {limit:,} fit here: shorten it.")

    def chat(self, run: OpenRun, messages: Sequence[ChatMessage], room: int) -> Chat:
        """A conversation by the model's chat template, see `Engine.chats`."""
        from pipeline.models.chat_template import Message

        if not messages or messages[-1].role != "user" or not messages[-1].content.strip():
            raise RefusedError("There is nothing to answer: end the conversation with a message of the user.")
        loaded = self.models.load(run)
        said = [Message(message.role, message.content) for message in messages]
        tokens, roles = models_errors(lambda: loaded.tokenizer.chat(said), RefusedError)
        self._check_length("The conversation", tokens, loaded, room)
        return Chat(tokens, [loaded.pieces[token] for token in tokens], roles)

    def _compute(self, loaded: Loaded, saes: Sequence[OpenSAE], prompt: Prompt) -> PromptReading:
        read = stream(loaded, saes[0].run, *self.own_tokens(loaded, prompt))
        kept_K = (~read.left_out_L).nonzero()[:, 0]
        active = {}
        for sae in saes:
            found = self.models.sae(sae).encode_sparse(read.x_LD[kept_K])
            columns = (kept_K[found.token_K], found.feature_K, found.value_K)
            active[sae.name] = Active(*(column.cpu().numpy() for column in columns))
        pieces, whose = [loaded.pieces[token] for token in read.tokens], self.tokens_of(loaded, prompt)[1]
        return PromptReading(read.tokens, pieces, read.left_out_L.tolist(), active, whose)

    def _compute_values(self, loaded: Loaded, sae: OpenSAE, index: int, tokens: Sequence[int]) -> list[float]:
        import torch

        weights = self.models.sae(sae)
        read = stream(loaded, sae.run, list(tokens))
        values_L = weights.encode(read.x_LD, torch.tensor([index], device=weights.device))[:, 0]
        kept: list[float] = values_L.masked_fill(read.left_out_L, 0.0).tolist()
        return kept


def stream(loaded: Loaded, run: OpenRun, tokens: list[int], own: Sequence[int] | None = None) -> Stream:
    """Some tokens, the opening one first, in the model of a run. own: positions that count; None: all others."""
    import torch

    from pipeline.models.left_out import left_out, own_of_prompt

    x_LD, beside_LD = loaded.model.read(torch.tensor([tokens])).of_row(0)
    x_LD = x_LD.float()
    return Stream(tokens, x_LD, beside_LD, left_out(x_LD, own_of_prompt(len(tokens), own), sink_norm(run)))
