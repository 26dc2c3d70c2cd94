"""Search, by words and by prompts."""
