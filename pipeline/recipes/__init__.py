"""Recipes that come with the code."""
