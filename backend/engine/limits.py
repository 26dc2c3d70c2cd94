"""The limits of what the engine is asked, and texts as it can read them."""

MAX_PROMPT_CHARACTERS = 20_000
"""Characters of one prompt; the number of tokens is limited by the settings."""


def clean(text: str) -> str:
    """A text as UTF-8 can hold it: halves of surrogate pairs become U+FFFD, as the tokenizer reads them."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


MAX_FEATURES = 8
