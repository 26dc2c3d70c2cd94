"""Tests and benchmarks, which mirror the rooms."""

import os

import pipeline  # noqa: F401 - before torch, for what it sets

os.environ["MONOSEMA_TRUSTED_HOSTS"] = "testserver"  # the name by which FastAPI's test client asks
