"""Proof of a published run: samples of it computed anew."""
