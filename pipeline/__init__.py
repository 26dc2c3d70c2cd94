"""Stages that turn a corpus into artifacts, and the models they run."""
