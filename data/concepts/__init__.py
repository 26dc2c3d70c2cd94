"""Concepts and what shows that a feature is about one: shared by the stage `completeness` and the live pages."""
