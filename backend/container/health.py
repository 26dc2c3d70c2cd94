"""Asks the server in this container whether it is up: the image's health check."""

import os
import sys
from urllib.request import Request, urlopen

PORT = os.environ.get("MONOSEMA_HEALTH_PORT", "8000")

with urlopen(Request(f"http://127.0.0.1:{PORT}/healthz"), timeout=4) as answer:
    sys.exit(answer.status != 200)
