"""Lists as files: JSON, CSV and Parquet, written so that each can be read back exactly.

Only the feature's name and the note are imported. Label, kind, density and maximum are there for the reader. No file
holds a list's secret.
"""

import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from backend.exceptions import RefusedError
from backend.lists.entries import MAX_ENTRIES, Draft, ListEntry, make_draft
from backend.published.features import FeatureSummary

VERSION = 1
"""Of the JSON format, under the name `monosema_list`."""
CSV_COLUMNS = ("model", "sae", "index", "note", "label", "kind", "density", "max", "list", "list_note")
"""Of CSV. `list` and `list_note`, name and note of the list, stand in its first row only."""
REQUIRED_COLUMNS = ("model", "sae", "index")
PARQUET_SCHEMA = pa.schema(
    [
        pa.field("model", pa.string(), nullable=False),
        pa.field("sae", pa.string(), nullable=False),
        pa.field("index", pa.int32(), nullable=False),
        pa.field("note", pa.string(), nullable=False),
        pa.field("label", pa.string()),  # null when the feature is not published any more
        pa.field("kind", pa.string()),  # live, rare, negligible or dead
        pa.field("density", pa.float32()),
        pa.field("max", pa.float32()),
    ]
)
PARQUET_KEY = b"monosema_list"
"""Of the schema's metadata: JSON with name and note of the list."""
PARQUET_CODECS = {"UNCOMPRESSED", "SNAPPY"}
"""Codecs that cannot expand a small file without bounds."""
MAX_FIELD = 131_072

# A spreadsheet takes a cell that begins like this for a formula. Such a text gets an apostrophe in front, which
# spreadsheets hide; so does one that begins with apostrophes and then like this, so that taking one off is exact.
_FORMULA = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")
_GUARDED = re.compile(r"'+[=+\-@\t\r\n＝＋－＠]")


@dataclass(frozen=True)
class FileRow:
    """An entry, and its feature if it is published now."""

    entry: ListEntry
    feature: FeatureSummary | None


@dataclass(frozen=True)
class Format:
    """One kind of file."""

    name: str
    media_type: str
    write: Callable[[str, str, Sequence[FileRow]], bytes]
    read: Callable[[bytes], Draft]


def guard(text: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    return "'" + text if _FORMULA.match(text) else text


def unguard(cell: str) -> str:
    """The text that `guard` made the cell of."""
    return cell[1:] if _GUARDED.match(cell) else cell


def _known(feature: FeatureSummary) -> dict[str, object]:
    """What a file says of a feature that is published."""
    kind = feature.kind or "live"
    return {"label": feature.label, "kind": kind, "density": feature.density, "max": feature.max}


def write_csv(name: str, note: str, rows: Sequence[FileRow]) -> bytes:
    """UTF-8 with a line of headings, see CSV_COLUMNS."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(CSV_COLUMNS)
    for number, row in enumerate(rows):
        e, f = row.entry, row.feature
        known = (guard(f.label), f.kind or "live", f.density, f.max) if f else ("", "", "", "")
        own = (guard(name), guard(note)) if number == 0 else ("", "")
        writer.writerow([e.model, e.sae, e.index, guard(e.note), *known, *own])
    return text.getvalue().encode()


def read_csv(data: bytes) -> Draft:
    """A list from CSV with at least REQUIRED_COLUMNS, or `feature` in their place. Raises RefusedError."""
    text = _decoded(data)
    csv.field_size_limit(MAX_FIELD)
    name, note, entries = "", "", []
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        _require_columns(reader.fieldnames or ())
        for number, row in enumerate(reader):
            cells = {key: unguard(value or "") for key, value in row.items() if isinstance(key, str)}
            if number == 0:
                name, note = cells.get("list", ""), cells.get("list_note", "")
            entries.append(_entry(cells, f"row {number + 2}"))
            _check_count(entries)
    except csv.Error as error:
        raise RefusedError(f"The file is not valid CSV ({error}).") from None
    return make_draft(name, note, entries)


def write_json(name: str, note: str, rows: Sequence[FileRow]) -> bytes:
    """One object: `monosema_list` (the version), name, note, entries."""
    content = {"monosema_list": VERSION, "name": name, "note": note, "entries": [_json_row(row) for row in rows]}
    return (json.dumps(content, ensure_ascii=False, indent=1) + "\n").encode()


def _json_row(row: FileRow) -> dict[str, Any]:
    known = _known(row.feature) if row.feature else {}
    return {"feature": row.entry.feature, "note": row.entry.note, **known}


def read_json(data: bytes) -> Draft:
    """A list from what `write_json` makes. Raises RefusedError."""
    try:
        content = json.loads(_decoded(data))
    except (ValueError, RecursionError) as error:
        raise RefusedError(f"The file is not valid JSON ({error}).") from None
    if not isinstance(content, dict) or content.get("monosema_list") != VERSION:
        raise RefusedError(f'The file is not a Monosema list: it has no "monosema_list": {VERSION}.')
    found = content.get("entries")
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise RefusedError('The file has no "entries", a list of objects with "feature" and "note".')
    _check_count(found)
    entries = [_entry(entry, f"entry {number}") for number, entry in enumerate(found, 1)]
    return make_draft(_text(content.get("name"), "name"), _text(content.get("note"), "note"), entries)


def write_parquet(name: str, note: str, rows: Sequence[FileRow]) -> bytes:
    """Columns of PARQUET_SCHEMA; name and note of the list in the schema's metadata."""
    records = [
        {
            "model": row.entry.model,
            "sae": row.entry.sae,
            "index": row.entry.index,
            "note": row.entry.note,
            **(_known(row.feature) if row.feature else {}),
        }
        for row in rows
    ]
    own = json.dumps({"name": name, "note": note}).encode()
    sink = io.BytesIO()
    pq.write_table(
        pa.Table.from_pylist(records, PARQUET_SCHEMA.with_metadata({PARQUET_KEY: own})), sink, compression="snappy"
    )
    return sink.getvalue()


def read_parquet(data: bytes) -> Draft:
    """A list from a Parquet file with REQUIRED_COLUMNS. Raises RefusedError."""
    try:
        metadata = pq.read_metadata(pa.BufferReader(data))
        _require_columns(metadata.schema.names)
        _check_parquet(metadata)
        columns = [name for name in ("feature", *REQUIRED_COLUMNS, "note") if name in metadata.schema.names]
        # As dictionaries, for a text that stands in every row is kept once in the file.
        texts = [name for name in columns if name != "index"]
        file = pq.ParquetFile(pa.BufferReader(data), metadata=metadata, read_dictionary=texts)
        table = file.read(columns)
        own = json.loads((file.schema_arrow.metadata or {}).get(PARQUET_KEY, b"{}"))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise RefusedError(f"The file is not valid Parquet ({str(error)[:200]}).") from None
    entries = [_entry(row, f"row {number}") for number, row in enumerate(_records(table), 1)]
    own = own if isinstance(own, dict) else {}
    return make_draft(_text(own.get("name"), "name"), _text(own.get("note"), "note"), entries)


def _check_parquet(metadata: Any) -> None:
    if metadata.num_rows > MAX_ENTRIES:
        raise RefusedError(f"A list holds {MAX_ENTRIES:,} features at most; the file has {metadata.num_rows:,} rows.")
    for group in range(metadata.num_row_groups):
        for column in range(metadata.num_columns):
            codec = metadata.row_group(group).column(column).compression
            if codec not in PARQUET_CODECS:
                raise RefusedError(
                    f"The file is compressed with {codec}: write it with snappy, or without compression."
                )


def _records(table: pa.Table) -> Iterator[dict[str, Any]]:
    """Rows; repeated texts are shared, so that memory does not grow beyond the file's own."""
    columns = {}
    for name in table.column_names:
        values: list[Any] = []
        for chunk in table[name].chunks:
            if isinstance(chunk, pa.DictionaryArray):
                texts = chunk.dictionary.to_pylist()
                values += [None if place is None else texts[place] for place in chunk.indices.to_pylist()]
            else:
                values += chunk.to_pylist()
        columns[name] = values
    return ({name: column[i] for name, column in columns.items()} for i in range(table.num_rows))


def _entry(cells: dict[str, Any], where: str) -> ListEntry:
    """An entry from cells of any kind of file."""
    name = cells.get("feature")
    if not name:
        name = "/".join(str(cells.get(part, "")) for part in REQUIRED_COLUMNS)
    try:
        return ListEntry.parse(_text(name, "feature"), _text(cells.get("note"), "note"))
    except RefusedError as error:
        raise RefusedError(f"In {where} of the file: {error}") from None


def _text(value: Any, what: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise RefusedError(f"The {what} in the file is not text.")
    return value


def _decoded(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RefusedError(f"The file is not UTF-8 text (byte {error.start:,}): save it as UTF-8.") from None


def _require_columns(names: Sequence[str]) -> None:
    if "feature" not in names and not set(REQUIRED_COLUMNS) <= set(names):
        raise RefusedError(
            f"The file needs the columns {', '.join(REQUIRED_COLUMNS)}; it has {', '.join(names)[:200] or 'none'}."
        )


def _check_count(entries: Sequence[object]) -> None:
    if len(entries) > MAX_ENTRIES:
        raise RefusedError(f"A list holds {MAX_ENTRIES:,} features at most; the file has more.")


FORMATS = {
    "csv": Format("CSV", "text/csv; charset=utf-8", write_csv, read_csv),
    "json": Format("JSON", "application/json", write_json, read_json),
    "parquet": Format("Parquet", "application/vnd.apache.parquet", write_parquet, read_parquet),
}
"""By the end of a file's name."""


def read_file(filename: str, data: bytes) -> Draft:
    """A list from an uploaded file; its name says the format. Raises RefusedError."""
    ending = filename.rpartition(".")[2].lower()
    if ending not in FORMATS:
        raise RefusedError(f"'{filename[:100]}' cannot be imported: choose a .csv, .json or .parquet file.")
    return FORMATS[ending].read(data)
