"""Feature splitting: how features split as SAEs grow."""
