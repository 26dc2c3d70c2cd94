"""Lists of features that people make."""
