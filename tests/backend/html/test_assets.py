import gzip
import re
from pathlib import Path

from fastapi.testclient import TestClient

from backend.html.assets import IMMUTABLE, PLOTLY, STATIC, Assets, plotly_style_ids


def test_addresses_name_the_content_and_never_change(client: TestClient):
    assets = client.app.state.assets
    for path in filter(Path.is_file, STATIC.rglob("*")):
        answer = client.get(assets.url(str(path.relative_to(STATIC))))
        assert answer.content == path.read_bytes()
        assert answer.headers["cache-control"] == IMMUTABLE


def test_a_changed_file_gets_another_address(tmp_path):
    (tmp_path / "a.css").write_text("a {}")
    before = Assets(tmp_path)
    (tmp_path / "a.css").write_text("b {}")
    after = Assets(tmp_path)
    assert before.url("a.css") != after.url("a.css")
    assert after.find(before.digest, "a.css") is None


def test_unknown_files_and_other_states_are_not_found(client: TestClient):
    digest = client.app.state.assets.digest
    for path in (f"/static/{digest}/none.js", "/static/000000000000/base/page.js", f"/static/{digest}/../app.py"):
        assert client.get(path).status_code == 404


def test_plotly_comes_compressed_from_the_installed_package(client: TestClient):
    address = client.app.state.assets.url(PLOTLY)
    with client.stream("GET", address, headers={"accept-encoding": "gzip"}) as answer:
        raw = b"".join(answer.iter_raw())
    assert answer.headers["content-encoding"] == "gzip"
    assert len(raw) < 2_000_000
    assert b"plotly.js v" in gzip.decompress(raw)[:2000]


def test_plotly_looks_for_the_style_sheets_that_pages_keep_out():
    assert re.fullmatch(r"[0-9a-f]{64}( [0-9a-f]{64})*", plotly_style_ids())


def test_both_dark_palettes_are_one():
    css = (STATIC / "base" / "monosema.css").read_text()
    blocks = [block for block in re.findall(r"\{([^{}]*)\}", css) if "color-scheme: dark" in block]
    first, second = ([line.strip() for line in block.splitlines() if line.strip()] for block in blocks)
    assert first == second


def test_the_icon_is_found_under_its_old_name(client: TestClient):
    answer = client.get("/favicon.ico")
    assert answer.headers["content-type"] == "image/svg+xml"
