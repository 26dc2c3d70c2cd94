"""Artifacts that the stages leave for each other: corpus, shards, features."""
