"""Building blocks of pages: contexts, tokens, figures, formats, addresses, static files."""
