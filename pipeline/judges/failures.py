"""Failures of servers: which may pass, and how long to wait until then."""

import random
import re

LONGEST_PAUSE = 60.0
NO_MONEY = ("insufficient_quota", "billing_hard_limit_reached", "insufficient_balance")
PAYMENT_REQUIRED = 402


def may_pass(error: Exception) -> bool:
    """Whether another try may go better: the server could not be reached, failed, or was asked too often."""
    import openai

    passing = (openai.RateLimitError, openai.APIConnectionError, openai.InternalServerError)
    return isinstance(error, passing) and not is_out_of_money(error)


def is_busy(error: Exception) -> bool:
    """Whether it was asked too often, and money is not what it lacks."""
    import openai

    return isinstance(error, openai.RateLimitError) and not is_out_of_money(error)


def is_out_of_money(error: Exception) -> bool:
    """Whether it wants to be paid first."""
    body, status = getattr(error, "body", None), getattr(error, "status_code", None)
    code = body.get("code") or body.get("type") if isinstance(body, dict) else None
    return status == PAYMENT_REQUIRED or code in NO_MONEY


def seconds_to_wait(error: Exception, attempt: int) -> float:
    """As the server asks; otherwise twice as long every time, from half a second on, so that not all come at once."""
    response = getattr(error, "response", None)
    asked = response.headers.get("retry-after", "") if response is not None else ""
    if re.fullmatch(r"\d+(\.\d+)?", asked):
        return min(float(asked), 10 * LONGEST_PAUSE)
    return min(LONGEST_PAUSE, 0.5 * 2.0**attempt * (1 + random.random()))
