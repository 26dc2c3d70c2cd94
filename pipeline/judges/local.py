"""The judge that is a chat model on this machine.

An answer is the mean over the allowed answers by their probabilities as the next token, so that a small model gives a
usable number; only the labels that it proposes are written. The beginning that all questions of a task share (what is
asked, the examples) is read once; then many questions are read together.

Shapes: B questions of a batch, L tokens of each, A allowed answers.
"""

import copy
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from pipeline.fetching.weights import content_fingerprint
from pipeline.judges.prompts import Prompts
from pipeline.judges.proposing import MAX_TOKENS, KeepProposals, Proposal, read_label
from pipeline.judges.protocol import Keep, Question, Task, expected_value
from pipeline.judges.writing import Step, write_likeliest
from pipeline.models.errors import ModelError
from pipeline.models.language_model import LanguageModel, cap_logits
from pipeline.models.structure import Parts
from pipeline.models.tokenizer import Tokenizer

QUESTIONS_AT_ONCE = 1024
"""Questions that are put into batches by length together, and kept together at the latest."""


class LocalJudge:
    """Asks a chat model that is in memory."""

    keeps = True

    def __init__(self, model: Any, tokenizer: Tokenizer, name: str, identity: str, batch_tokens: int) -> None:
        """model: a causal language model of transformers; name: what it is called; identity: names its weights."""
        self._model, self._tokenizer, self._batch_tokens = model, tokenizer, batch_tokens
        self._parts, self._prompts = Parts(model), Prompts(tokenizer, name)
        self.context_length = int(model.config.max_position_embeddings)
        """Most tokens that it reads."""
        self.name, self.identity = name, f"local 2 {identity}"

    @classmethod
    def load(cls, folder: Path, tokenizer: Tokenizer, name: str, *, dtype: str, device: str, batch_tokens: int) -> Self:
        """Read a local folder. Raises ModelError when it holds no model that can be read here."""
        model = LanguageModel.load(folder, layer=0, dtype=dtype, device=device, fused=False)
        return cls(model.model, tokenizer, name, f"{dtype} {content_fingerprint(folder)}", batch_tokens)

    @property
    def about(self) -> str:
        return f"{self.name}, a chat model on the machine that made this run; read from its probabilities"

    def ask(self, questions: Sequence[Question], keep: Keep) -> None:
        by_task: dict[str, list[int]] = {}
        for number, question in enumerate(questions):
            by_task.setdefault(question.task.name, []).append(number)
        for numbers in by_task.values():
            for start in range(0, len(numbers), QUESTIONS_AT_ONCE):
                self._ask_some(questions, numbers[start : start + QUESTIONS_AT_ONCE], keep)

    def _ask_some(self, questions: Sequence[Question], numbers: list[int], keep: Keep) -> None:
        """Ask questions of one task, those of one batch together."""
        task = questions[numbers[0]].task
        answer_ids = self.answer_ids(task)
        prompts = [self._prompt(questions[number]) for number in numbers]
        shared = _shared_length(prompts)
        beginning = self._read(torch.tensor([prompts[0][:shared]]), None)[1]
        rests = [prompt[shared:] for prompt in prompts]
        for batch in batches([len(rest) for rest in rests], self._batch_tokens):
            logits_BA = self._next_logits([rests[place] for place in batch], beginning)[:, answer_ids]
            probabilities_BA = torch.softmax(logits_BA.float(), 1).tolist()
            answers = [
                expected_value(shares)._replace(tokens_in=len(prompts[place]), tokens_out=1)
                for place, shares in zip(batch, probabilities_BA, strict=True)
            ]
            keep([numbers[place] for place in batch], answers)

    def propose(self, texts: Sequence[str], keep: KeepProposals) -> None:
        prompts = [self._prompts.proposal(text) for text in texts]
        shared = _shared_length(prompts)
        beginning = self._read(torch.tensor([prompts[0][:shared]]), None)[1]
        rests = [prompt[shared:] for prompt in prompts]
        for batch in batches([len(rest) for rest in rests], self._batch_tokens):
            step = self._step(beginning, len(batch))
            written = write_likeliest(step, shared, [rests[place] for place in batch], MAX_TOKENS, self._is_written)
            labels = [read_label(self._tokenizer.decode(tokens)) for tokens in written]
            sizes = [(len(prompts[place]), len(tokens)) for place, tokens in zip(batch, written, strict=True)]
            keep(batch, [Proposal(label, *size) for label, size in zip(labels, sizes, strict=True)])

    def _step(self, beginning: Any, size: int) -> Step:
        """Steps of writing `size` texts that begin as a cache does."""
        cache = copy.deepcopy(beginning)
        cache.batch_repeat_interleave(size)

        @torch.no_grad()
        def step(tokens_BL: Tensor, mask_BT: Tensor, position_BL: Tensor) -> Tensor:
            device = self._model.device
            where = {"attention_mask": mask_BT.to(device), "position_ids": position_BL.to(device)}
            hidden_BLD, _ = self._read(tokens_BL, cache, **where)
            return cap_logits(self._model, self._parts.head(hidden_BLD[:, -1]))

        return step

    def _is_written(self, tokens: list[int]) -> bool:
        """Whether a label is over: by the token that ends a message, or a line."""
        ends = self._model.generation_config.eos_token_id
        is_end = tokens[-1] in (ends if isinstance(ends, list) else [ends])
        return is_end or "\n" in self._tokenizer.decode(tokens).lstrip()

    def answer_ids(self, task: Task) -> list[int]:
        """The token by which each allowed answer is known. Raises ModelError when two have the same."""
        return self._prompts.answer_ids(task)

    def _prompt(self, question: Question) -> list[int]:
        tokens = self._prompts.question(question)
        if len(tokens) > self.context_length:
            raise ModelError(
                f"a question has {len(tokens):,} tokens, and {self.name} reads at most {self.context_length:,}: lower "
                "score.context, or name another model for this judge"
            )
        return tokens

    @torch.no_grad()
    def _next_logits(self, rests: list[list[int]], beginning: Any) -> Tensor:
        """Logits [B, V] of what comes after each text, padded on the right, which no text sees."""
        lengths_B = torch.tensor([len(rest) for rest in rests])
        tokens_BL = torch.zeros(len(rests), int(lengths_B.max()), dtype=torch.long)
        for row, rest in enumerate(rests):
            tokens_BL[row, : len(rest)] = torch.tensor(rest)
        cache = copy.deepcopy(beginning)
        cache.batch_repeat_interleave(len(rests))
        hidden_BLD, _ = self._read(tokens_BL, cache)
        last_BD = hidden_BLD[torch.arange(len(rests)), lengths_B - 1]
        logits_BV: Tensor = cap_logits(self._model, self._parts.head(last_BD))
        return logits_BV

    @torch.no_grad()
    def _read(self, tokens_BL: Tensor, cache: Any, **where: Tensor) -> tuple[Tensor, Any]:
        """The last hidden states [B, L, D] of tokens after what a cache holds, and the cache with them.

        where: mask and positions, in which texts are padded on the left.
        """
        tokens_BL = tokens_BL.to(self._model.device)
        out = self._parts.core(input_ids=tokens_BL, past_key_values=cache, use_cache=True, **where)
        return out.last_hidden_state, out.past_key_values


def batches(lengths: Sequence[int], batch_tokens: int) -> Iterator[list[int]]:
    """Numbers of texts of like length, the longest first, at most `batch_tokens` with padding unless one has more."""
    order = sorted(range(len(lengths)), key=lambda n: -lengths[n])
    start = 0
    while start < len(order):
        room = max(1, batch_tokens // lengths[order[start]])
        yield order[start : start + room]
        start += room


def _shared_length(prompts: Sequence[Sequence[int]]) -> int:
    """Tokens that all prompts begin with; each has at least one more."""
    shortest = min(map(len, prompts))
    first = np.array([prompt[:shortest] for prompt in prompts])
    same = (first == first[0]).all(0)
    return min(shortest - 1, int(np.argmin(same)) if not same.all() else shortest)
