import subprocess
import sys


def test_the_app_is_light() -> None:
    """What the first page does not need is imported when it is: a server starts in about a second."""
    heavy = ("torch", "transformers", "lancedb", "pandas", "alembic")
    program = f"import sys, backend.app; backend.app.create_app(); print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout == "[]\n", done.stderr


def test_the_servers_own_addresses_are_known(client: TestClient) -> None:
    first = {route.path.split("/")[1] for route in client.app.routes if hasattr(route, "path")}
    assert {name for name in first if name and not name.startswith("{")} == OWN_ADDRESSES
