import subprocess
import sys

from backend.app import ROUTERS
from data.layout import OWN_ADDRESSES


def test_the_app_is_light() -> None:
    """What the first page does not need is imported when it is: a server starts in about a second."""
    heavy = ("torch", "transformers", "lancedb", "pandas", "alembic")
    program = f"import sys, backend.app; backend.app.create_app(); print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout == "[]\n", done.stderr


def test_the_servers_own_addresses_are_known() -> None:
    first = {route.path.split("/")[1] for router in ROUTERS for route in router.routes}
    assert {name for name in first if name and not name.startswith("{")} == OWN_ADDRESSES
