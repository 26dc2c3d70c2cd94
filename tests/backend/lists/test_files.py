"""Lists as files: what goes out comes back, and what cannot be read says why."""

import csv
import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from backend.lists import files as list_files
from backend.lists.entries import MAX_ENTRIES, MAX_NOTES_TOTAL, ListEntry, make_draft
from backend.lists.files import FORMATS, FileRow, guard, unguard
from backend.web.middleware import MAX_BODY
from tests.support.lists import API, GONE, HOSTILE_NOTES
from tests.support.pages import Page


def rows_of(draft: list_files.Draft) -> list[FileRow]:
    return [FileRow(entry, None) for entry in draft.entries]


@pytest.mark.parametrize("ending", FORMATS)
def test_a_list_comes_back_from_its_file_exactly(client, ending):
    entries = [{"feature": f"tiny/1-relu-256/{i}", "note": note} for i, note in enumerate(HOSTILE_NOTES)]
    body = {"name": '=name, "quoted"', "note": "@note\nof two lines", "entries": [*entries, {"feature": GONE}]}
    made = client.post(API, json=body).json()
    file = client.get(f"{made['href']}.{ending}")
    assert made["secret"].encode() not in file.content
    assert "attachment" in file.headers["content-disposition"]
    answer = client.post("/lists/import", files={"file": (f"x.{ending}", file.content)}, follow_redirects=False)
    assert answer.status_code == 303
    imported = client.get(f"{API}/{answer.headers['location'].split('/')[2]}").json()
    original = client.get(f"{API}/{made['id']}").json()
    assert {k: imported[k] for k in ("name", "note", "entries")} == {
        k: original[k] for k in ("name", "note", "entries")
    }
    assert [e["note"] for e in imported["entries"]] == [*HOSTILE_NOTES, ""]


@pytest.mark.parametrize("ending", FORMATS)
def test_the_largest_list_can_be_imported(ending):
    size = MAX_NOTES_TOTAL // MAX_ENTRIES
    entries = [ListEntry("m" * 64, "s" * 64, i, "\x01" * size) for i in range(MAX_ENTRIES)]
    draft = make_draft("", "", entries)
    data = FORMATS[ending].write("", "", rows_of(draft))
    assert len(data) < MAX_BODY
    assert FORMATS[ending].read(data).entries == draft.entries


def test_no_cell_of_a_csv_file_is_a_formula(client):
    entries = [{"feature": f"tiny/1-relu-256/{i}", "note": note} for i, note in enumerate(HOSTILE_NOTES)]
    made = client.post(API, json={"name": "=1+1", "note": "-2", "entries": entries}).json()
    rows = list(csv.reader(io.StringIO(client.get(f"{made['href']}.csv").text, newline="")))
    assert len(rows) == len(HOSTILE_NOTES) + 1
    assert not [cell for row in rows for cell in row if cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n", "＝"))]


@pytest.mark.parametrize("note", HOSTILE_NOTES)
def test_guarding_a_cell_is_undone_exactly(note):
    assert unguard(guard(note)) == note


def test_spreadsheets_and_data_frames_may_be_imported():
    plain = FORMATS["csv"].read("\ufefffeature,note\r\n/tiny/1-relu-64/3,hello\r\n".encode())
    assert plain.entries == (ListEntry("tiny", "1-relu-64", 3, "hello"),)
    sink = io.BytesIO()
    pq.write_table(pa.table({"index": [3, 4], "sae": ["s", "s"], "model": ["m", "m"], "more": [1.5, 2.5]}), sink)
    assert FORMATS["parquet"].read(sink.getvalue()).entries == (ListEntry("m", "s", 3), ListEntry("m", "s", 4))


def parquet(compression: str = "snappy", **columns: object) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink, compression=compression)
    return sink.getvalue()


NAMED = {"model": ["m"], "sae": ["s"], "index": [1]}


@pytest.mark.parametrize(
    ("filename", "data", "says"),
    [
        ("x.xlsx", b"", "csv, .json or .parquet"),
        ("x.csv", b"\xff\xfe", "UTF-8"),
        ("x.csv", b"name\r\nx\r\n", "needs the columns"),
        ("x.csv", b"model,sae,index\r\nm,s,x\r\n", "row 2"),
        ("x.csv", b'model,sae,index\r\n"m,s,1', "not valid CSV"),
        ("x.csv", b"model,sae,index\r\n" + b"m,s,1\r\n" * (MAX_ENTRIES + 1), "10,000 features"),
        ("x.json", b"[", "not valid JSON"),
        ("x.json", b"[" * 100_000, "not valid JSON"),
        ("x.json", b"{}", "not a Monosema list"),
        ("x.json", b'{"monosema_list": 1, "entries": [1]}', "entries"),
        ("x.json", b'{"monosema_list": 1, "entries": [{"feature": 3}]}', "not text"),
        ("x.json", b'{"monosema_list": 1, "entries": [{"feature": "a/b/1", "note": "\\u0000"}]}', "not text"),
        ("x.parquet", b"PAR1 nothing PAR1", "not valid Parquet"),
        ("x.parquet", parquet(other=[1]), "needs the columns"),
        ("x.parquet", parquet("zstd", **NAMED), "ZSTD"),
        ("x.parquet", parquet(**NAMED, note=[3]), "not text"),
        ("x.parquet", parquet(feature=["a/b/1"] * (MAX_ENTRIES + 1)), "10,001 rows"),
    ],
)
def test_files_that_cannot_be_read_say_why(client, filename, data, says):
    answer = client.post("/lists/import", files={"file": (filename, data)})
    assert answer.status_code == 422
    assert says in Page(answer.text).text
