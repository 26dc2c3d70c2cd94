"""Random features against random neurons: a page, and the API behind it."""
