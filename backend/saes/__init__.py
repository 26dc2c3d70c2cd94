"""SAEs: the page of one, and its downloads."""
