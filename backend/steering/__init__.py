"""Steering: texts written while features are held."""
