"""Which features caused an output, and what made a feature fire."""
