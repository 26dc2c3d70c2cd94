"""How loss falls with size, tokens and compute, by a grid of small trainings."""
