"""How features split as SAEs grow."""
