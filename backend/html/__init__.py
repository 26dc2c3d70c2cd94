"""What pages are made of: contexts, tokens, figures, formats, addresses, static files."""
