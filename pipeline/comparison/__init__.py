"""Random features against random neurons: the same text, the same way to a label, the same judges and scores."""
