"""Tests and benchmarks, which mirror the rooms."""

import os

os.environ["MONOSEMA_TRUSTED_HOSTS"] = "testserver"  # the name by which FastAPI's test client asks
