"""The method page: what a newcomer asks, answered with the figures of a run."""
