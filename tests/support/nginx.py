"""nginx as a proxy that serves a server below a path, for as long as a test needs it."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.processes import held_port

START_SECONDS = 60
CONFIGURATION = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        client_max_body_size 32m;
        location {root}/ {{
            proxy_pass {upstream};
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
        }}
        location / {{ return 404 "not of this server"; }}
    }}
}}
"""


def find_nginx() -> str:
    """The path of nginx. Fails with what to install."""
    found = shutil.which(os.environ.get("NGINX", "nginx"), path=f"{os.environ['PATH']}:/usr/sbin")
    assert found, "the tests of proxies need nginx: run `make test`, which installs it, or set NGINX"
    return found


@contextmanager
def nginx_before(upstream: str, root: str, folder: Path, *, strips: bool) -> Iterator[str]:
    """The address under which nginx has a server below the path `root`, until the block ends.

    strips: whether it takes the path away from what it passes on. folder: an empty one of its own.
    """
    configuration, log = folder / "nginx.conf", folder / "error.log"
    with held_port() as port:
        target = f"{upstream}/" if strips else upstream
        configuration.write_text(CONFIGURATION.format(folder=folder, port=port, root=root, upstream=target))
        command = [find_nginx(), "-p", str(folder), "-e", str(log), "-c", str(configuration)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            _await_port(port, process, log)
            yield f"http://127.0.0.1:{port}{root}"
        finally:
            process.terminate()
            process.wait(START_SECONDS)


def _await_port(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    last = time.monotonic() + START_SECONDS
    while time.monotonic() < last:
        assert process.poll() is None, f"nginx did not start: {log.read_text()}"
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise AssertionError("nginx does not answer")
