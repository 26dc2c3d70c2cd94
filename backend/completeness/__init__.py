"""How many concepts have a feature of their own: of the run's lists, and of a person's own."""
