"""The image without an engine: its script is run in a clean Debian of the release that the Dockerfile names, with the
versions that it installs, and the server then runs there as its user, by the image's own command and health check.

For `make check-container`: it needs root, takes minutes and some gigabytes, and downloads all packages anew.
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from data.layout import StorePaths
from tests.backend.container.test_container import DOCKERFILE, ROOT
from tests.support.databases import Start, copy_catalogue

pytestmark = pytest.mark.timeout(3000)
RELEASE = re.search(r"^FROM debian:(\w+)-slim$", DOCKERFILE.read_text(), re.MULTILINE)
USER = 10001
START_SECONDS = 120


def instructions(name: str) -> list[str]:
    """What follows an instruction of the Dockerfile, each time that it is there."""
    text = DOCKERFILE.read_text().replace("\\\n", " ")
    return [line.split(maxsplit=1)[1] for line in text.splitlines() if line.split(maxsplit=1)[:1] == [name]]


def variables() -> dict[str, str]:
    given = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
    for pair in shlex.split(" ".join(instructions("ENV"))):
        name, _, value = pair.partition("=")
        given[name] = value.replace("$PATH", given["PATH"])
    return given


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The root of the image's files, after all that the Dockerfile copies and runs."""
    if os.getuid() != 0 or shutil.which("mmdebstrap") is None:
        pytest.fail("this check needs root and mmdebstrap: apt-get install mmdebstrap, and run it as root")
    assert RELEASE, "the Dockerfile names no release of Debian"
    root = tmp_path_factory.mktemp("image") / "root"
    subprocess.run(["mmdebstrap", "--variant=minbase", "--quiet", RELEASE[1], root], check=True)
    root.chmod(0o755)
    for line in instructions("COPY"):
        *names, target = line.split()
        for name in names:
            _copy(ROOT / name, root / target.strip("/"))
    (root / "etc" / "resolv.conf").unlink(missing_ok=True)
    shutil.copy("/etc/resolv.conf", root / "etc" / "resolv.conf")
    network = _network(root)
    for command in instructions("RUN"):
        subprocess.run(["chroot", root, *json.loads(command)], check=True, env={**network, **variables()})
    yield root
    shutil.rmtree(root, ignore_errors=True)


def _copy(source: Path, target: Path) -> None:
    ignored = shutil.ignore_patterns("__pycache__", "store")
    if source.is_dir():
        shutil.copytree(source, target, ignore=ignored, dirs_exist_ok=True)
    else:
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)


def test_it_serves_as_its_user_what_it_cannot_write(image: Path, published_store: StorePaths, postgres: Start) -> None:
    shutil.copytree(published_store.root, image / "data" / "store", dirs_exist_ok=True)
    subprocess.run(["chmod", "-R", "a+rX,a-w", image / "data" / "store"], check=True)
    url = copy_catalogue(published_store, postgres().create())
    folder = Path(url.partition("host=")[2])
    socket = image / "postgres"
    socket.mkdir(exist_ok=True)
    folder.chmod(0o755)
    os.link(folder / ".s.PGSQL.5432", socket / ".s.PGSQL.5432")
    command = json.loads(instructions("CMD")[-1])
    environment = {
        **variables(),
        "MONOSEMA_DATABASE_URL": url.replace(str(folder), "/postgres"),
        "MONOSEMA_OWNER_KEY": "of the check",
        "MONOSEMA_HEALTH_PORT": "8765",
    }
    command[command.index("--port") + 1] = "8765"
    inside = ["chroot", f"--userspec={USER}:{USER}", str(image)]
    server = subprocess.Popen([*inside, *command], env=environment)
    health = json.loads(instructions("HEALTHCHECK")[0].partition("CMD ")[2])
    try:
        last = time.monotonic() + START_SECONDS
        while subprocess.run([*inside, *health], env=environment, capture_output=True).returncode:
            assert server.poll() is None, "the server ended"
            assert time.monotonic() < last, "the health check never passed"
            time.sleep(0.5)
        with httpx.Client(base_url="http://127.0.0.1:8765", timeout=60) as client:
            page = client.get("/tiny/1-relu-64/3")
            assert page.status_code == 200
            style = re.search(r'href="(/static/[^"]*monosema\.css)"', page.text)
            assert style
            assert client.get(style[1]).status_code == 200
            body = {"features": [{"feature": "tiny/1-relu-64/3", "strength": 4}], "prompt": "the", "max_new_tokens": 2}
            assert "event: done" in client.post("/api/v1/steer", json=body).text
            made = client.post("/api/v1/lists", json={"name": "kept in PostgreSQL"}).json()
            assert client.get(made["href"]).status_code == 200
            assert client.get("/owner", params={"key": "of the check"}).status_code == 303
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)


def test_it_has_the_pipeline_with_the_pinned_versions(image: Path) -> None:
    inside = ["chroot", f"--userspec={USER}:{USER}", str(image)]
    recipes = subprocess.run(
        [*inside, "monosema", "plan", "--recipe", "sample"], env=variables(), capture_output=True, text=True
    )
    assert recipes.returncode == 0, recipes.stderr
    frozen = subprocess.run(
        [*inside, "/opt/monosema/bin/pip", "freeze"], env=variables(), capture_output=True, text=True, check=True
    ).stdout
    found = {line.partition("==")[0].lower(): line for line in frozen.split() if "==" in line}
    pinned = [line for line in (ROOT / "constraints.txt").read_text().split("\n") if "==" in line]
    for line in pinned:
        name = line.partition("==")[0].lower()
        if name in found:
            assert found[name].lower().partition("+")[0] == line.lower()
    assert {"torch", "psycopg", "fastapi", "lancedb"} <= found.keys()


def _network(root: Path) -> dict[str, str]:
    """How this machine reaches package registries: what its environment says, and the files that that names."""
    found = {
        name: value for name, value in os.environ.items() if name.lower().endswith("_proxy") or name.startswith("PIP_")
    }
    for name in ("PIP_CERT", "PIP_FIND_LINKS"):
        if (source := Path(found.get(name, ""))).is_absolute():
            # Not where it lies here: the image's own packages may put something else there.
            found[name] = f"/of-the-host/{name}" if source.is_dir() else f"/of-the-host/{source.name}"
            _copy(source, root / found[name].strip("/") if source.is_dir() else root / "of-the-host")
    return found
