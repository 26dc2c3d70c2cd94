"""Every source yields the same documents whether it is read at once or in the middle, and says what is wrong."""

import gzip
import io
import json
import os
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from data.errors import CorpusError
from pipeline.corpus import open_source
from pipeline.corpus.document import Document, Source
from pipeline.recipe import CorpusConfig

RECORDS = [{"text": f"text {n} é\u2028", "meta": {"pile_set_name": f"set {n % 3}"}} for n in range(20)]


def lines_of(records: list[dict[str, object]]) -> bytes:
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode()


def make_text(folder: Path) -> CorpusConfig:
    for number, record in enumerate(RECORDS):
        path = folder / f"{number // 7}" / f"{number:02}.{'md' if number % 2 else 'txt'}"
        path.parent.mkdir(exist_ok=True)
        path.write_text(str(record["text"]))
    (folder / ".hidden.txt").write_text("no")
    (folder / "image.png").write_bytes(b"\xff")
    return CorpusConfig(source="text", path=folder)


def make_jsonl(folder: Path) -> CorpusConfig:
    (folder / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + lines_of(RECORDS[:7]) + b"\n")
    (folder / "b.jsonl.zst").write_bytes(
        zstandard.compress(lines_of(RECORDS[7:10])) + zstandard.compress(lines_of(RECORDS[10:12]))
    )
    (folder / "c.jsonl.gz").write_bytes(gzip.compress(lines_of(RECORDS[12:]).rstrip(b"\n")))
    return CorpusConfig(source="jsonl", path=folder)


def make_parquet(folder: Path) -> CorpusConfig:
    pq.write_table(pa.Table.from_pylist(RECORDS[:13]), folder / "a.parquet", row_group_size=3)
    pq.write_table(pa.Table.from_pylist(RECORDS[13:13]), folder / "b.parquet")
    pq.write_table(pa.Table.from_pylist(RECORDS[13:]), folder / "c.parquet", row_group_size=100)
    return CorpusConfig(source="parquet", path=folder)


def make_huggingface(folder: Path) -> CorpusConfig:
    (folder / "train.jsonl").write_bytes(lines_of(RECORDS))
    return CorpusConfig(source="huggingface", dataset=str(folder))


def make_saved(folder: Path) -> CorpusConfig:
    import datasets

    datasets.disable_progress_bars()
    datasets.DatasetDict(test=datasets.Dataset.from_list(RECORDS)).save_to_disk(folder / "saved")
    return CorpusConfig(source="huggingface", dataset=str(folder / "saved"), split="test")


def make_sample(folder: Path) -> CorpusConfig:
    for part, numbers in {"train": range(12), "valid": range(12, 15), "test": range(15, 20)}.items():
        raw = "".join(f" \n = Title {n} = \n \n {RECORDS[n]['text']} \n \n" for n in numbers)
        (folder / f"{part}.raw.gz").write_bytes(gzip.compress(raw.encode()))
    return CorpusConfig(source="sample")


MAKERS = [make_text, make_jsonl, make_parquet, make_huggingface, make_saved, make_sample]


@pytest.fixture(params=MAKERS, ids=lambda maker: maker.__name__.removeprefix("make_"))
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Source]:
    make: Callable[[Path], CorpusConfig] = request.param
    config = make(tmp_path)
    return lambda: open_source(config, tmp_path)


def test_all_documents_in_order_with_stable_unique_ids(opened: Callable[[], Source]) -> None:
    documents = list(opened().documents())
    assert len(documents) == len(RECORDS)
    assert all(f"text {n} é" in document.text for n, document in enumerate(documents))
    assert len({document.document_id for document in documents}) == len(RECORDS)
    assert documents == list(opened().documents())
    assert all(isinstance(json.loads(document.meta), dict) for document in documents)


@pytest.mark.parametrize("taken", [0, 1, 6, 7, 9, 12, 13, 19, 20])
def test_reading_goes_on_in_the_middle(opened: Callable[[], Source], taken: int) -> None:
    source = opened()
    begun = list(islice(source.documents(), taken))
    state = json.loads(json.dumps(source.state())) if taken else None
    rest = list(opened().documents(state))
    assert begun + rest == list(opened().documents())


def test_a_state_at_the_end_leaves_nothing(opened: Callable[[], Source]) -> None:
    source = opened()
    list(source.documents())
    assert list(opened().documents(source.state())) == []


def test_meta_is_kept_and_the_piles_own_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(
        lines_of([{"meta": {"a": 1}, "text": "x"}, {"text": "y", "meta": 1, "url": "u"}])
    )
    documents = list(open_source(CorpusConfig(source="jsonl", path=tmp_path), tmp_path).documents())
    assert [json.loads(document.meta) for document in documents] == [{"a": 1}, {"meta": 1, "url": "u"}]
    assert documents[1].source == "a.jsonl:2"


def test_ids_do_not_depend_on_where_the_corpus_lies(tmp_path: Path) -> None:
    def ids(folder: Path) -> list[int]:
        folder.mkdir()
        return [document.document_id for document in open_source(make_text(folder), folder).documents()]

    assert ids(tmp_path / "here") == ids(tmp_path / "there")


def test_half_a_character_in_json_does_not_break_its_meta(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a\\ud800", "title": "b\\ud800"}')
    (document,) = open_source(CorpusConfig(source="jsonl", path=tmp_path), tmp_path).documents()
    document.meta.encode()


def test_a_file_name_that_is_not_utf8_is_told_apart_and_can_be_written(tmp_path: Path) -> None:
    for name in (b"caf\xe9.txt", b"caf\xea.txt", "café.txt".encode()):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_text(f"from {name!r}")
    documents = read(tmp_path, source="text")
    assert {document.source for document in documents} == {"caf\\xe9.txt", "caf\\xea.txt", "café.txt"}
    assert len({document.document_id for document in documents}) == 3
    assert [document.source.encode() for document in documents]


def read(folder: Path, **config: object) -> list[Document]:
    return list(open_source(CorpusConfig.model_validate({"path": folder, **config}), folder).documents())


def cut_zst() -> bytes:
    stream = io.BytesIO(zstandard.compress(lines_of(RECORDS * 50)))
    return stream.getvalue()[:-40]


@pytest.mark.parametrize(
    ("name", "content", "config", "message"),
    [
        ("a.jsonl", b'{"text": "x"}\n{"text": \n', {"source": "jsonl"}, r"a\.jsonl, line 2: not JSON"),
        ("a.jsonl", b'{"text": "x"}\n["y"]\n', {"source": "jsonl"}, r"line 2: not a JSON object but list"),
        ("a.jsonl", b'{"text": "\xff"}\n', {"source": "jsonl"}, r"line 1: not UTF-8"),
        (
            "a.jsonl",
            b'{"body": "x", "url": 1}\n',
            {"source": "jsonl"},
            r"a.jsonl:1 has no field 'text', only 'body', 'url'",
        ),
        ("a.jsonl", b'{"text": 3}\n', {"source": "jsonl"}, "holds int, not text"),
        ("a.jsonl.gz", gzip.compress(lines_of(RECORDS))[:-9], {"source": "jsonl"}, "is damaged"),
        ("a.jsonl.gz", b"no gzip", {"source": "jsonl"}, "is damaged"),
        ("a.jsonl.gz", gzip.compress(b"{}")[:10] + b"\xff" * 20, {"source": "jsonl"}, "is damaged"),
        ("a.jsonl.zst", b"no zstd", {"source": "jsonl"}, "is damaged"),
        ("a.jsonl.zst", cut_zst(), {"source": "jsonl"}, "ends in the middle"),
        ("a.txt", b"caf\xe9", {"source": "text"}, r"a\.txt is not UTF-8 \(byte 3\)"),
        ("a.pdf", b"x", {"source": "text"}, r"holds no file that ends in \.txt or \.md"),
        ("a.parquet", b"no parquet", {"source": "parquet"}, "cannot be read as parquet"),
        ("train.jsonl", b'{"text": \n', {"source": "huggingface", "dataset": "HERE"}, "cannot be read"),
        ("train.jsonl", b'{"body": "x"}', {"source": "huggingface", "dataset": "HERE"}, "row 0 has no field 'text'"),
        ("train.jsonl", b"{}", {"source": "huggingface", "dataset": "HERE", "split": "x"}, "corpus.split"),
        ("train.raw.gz", b"", {"source": "sample"}, "run `monosema fetch` again"),
    ],
)
def test_what_is_wrong_is_said(
    tmp_path: Path, name: str, content: bytes, config: dict[str, object], message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    if "dataset" in config:
        config = {**config, "dataset": str(tmp_path)}
    with pytest.raises(CorpusError, match=message):
        read(tmp_path, **config)


def test_a_missing_folder_and_a_wrong_suffix(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="does not exist: set corpus"):
        read(tmp_path / "none", source="text")
    (tmp_path / "a.csv").write_text("x")
    with pytest.raises(CorpusError, match=r"does not end in \.parquet: set corpus.source"):
        read(tmp_path / "a.csv", source="parquet")
