"""nginx as a proxy that serves a server below a path, for as long as a test needs it."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

START_SECONDS = 20
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
    port = _free_port()
    target = f"{upstream}/" if strips else upstream
    configuration = folder / "nginx.conf"
    configuration.write_text(CONFIGURATION.format(folder=folder, port=port, root=root, upstream=target))
    command = [find_nginx(), "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(configuration)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        _await_port(port, process)
        yield f"http://127.0.0.1:{port}{root}"
    finally:
        process.terminate()
        process.communicate(timeout=START_SECONDS)


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _await_port(port: int, process: "subprocess.Popen[str]") -> None:
    last = time.monotonic() + START_SECONDS
    while time.monotonic() < last:
        assert process.poll() is None, f"nginx did not start: {process.communicate()[1]}"
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise AssertionError("nginx does not answer")
