"""Features: lists of them, and the page of one."""
