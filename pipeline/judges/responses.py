"""What is read of a chat completion: the answer, by probabilities where there are any, and the tokens that it took."""

import math
import re
from collections.abc import Sequence
from typing import Any

from pipeline.judges.proposing import THOUGHTS_END, without_thoughts
from pipeline.judges.protocol import Answer, Task, expected_value

LEAST_PROBABILITY = 0.01
"""The allowed answers must have together, for their probabilities to be read."""


def tokens_of(response: Any) -> dict[str, Any]:
    """Tokens that a server counted, if it did."""
    usage = response.usage
    return {"tokens_in": usage.prompt_tokens, "tokens_out": usage.completion_tokens} if usage else {}


def read_response(response: Any, task: Task) -> Answer:
    """The answer in a chat completion: by the probabilities of the first token that can be one, else by the text."""
    tokens = tokens_of(response)
    if not response.choices:
        return Answer(None, **tokens)
    choice = response.choices[0]
    places = choice.logprobs.content if choice.logprobs and choice.logprobs.content else []
    for place in _behind_thoughts(places):
        shares = [0.0] * len(task.allowed)
        for one in place.top_logprobs:
            if one.token.strip() in task.allowed:
                shares[task.allowed.index(one.token.strip())] += math.exp(one.logprob)
        if sum(shares) >= LEAST_PROBABILITY:
            return expected_value(shares)._replace(**tokens)
        if place.token.strip():
            break
    found = re.match(rf"\W*({'|'.join(task.allowed)})", without_thoughts(choice.message.content or ""))
    return Answer(float(task.allowed.index(found[1])) if found else None, **tokens)


def _behind_thoughts(places: Sequence[Any]) -> Sequence[Any]:
    """Tokens of an answer behind those of the model's thoughts, if it has any that are over."""
    ends = [number for number, place in enumerate(places) if place.token.strip() == THOUGHTS_END]
    return places[ends[-1] + 1 :] if ends else places
