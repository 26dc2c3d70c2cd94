"""Scaling laws: grids of small trainings, the laws that fit them, and advice from these."""
