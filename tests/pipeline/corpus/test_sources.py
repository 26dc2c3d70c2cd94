"""Every source yields the same documents whether it is read at once or in the middle, and says what is wrong."""

import gzip
import io
import json
import lzma
import os
import tracemalloc
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from data.errors import CorpusError
from pipeline.corpus import open_source
from pipeline.corpus.checks import encoding_problems
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
    (folder / "A.JSONL").write_bytes(b"\xef\xbb\xbf" + lines_of(RECORDS[:3]) + b"\n")
    (folder / "a.ndjson.xz").write_bytes(lzma.compress(lines_of(RECORDS[3:7])))
    (folder / "b.jsonl.zst").write_bytes(
        zstandard.compress(lines_of(RECORDS[7:10])) + zstandard.compress(lines_of(RECORDS[10:12]))
    )
    (folder / "c.jsonl.gz").write_bytes(gzip.compress(lines_of(RECORDS[12:]).rstrip(b"\n")))
    return CorpusConfig(source="jsonl", path=folder)


def make_json(folder: Path) -> CorpusConfig:
    (folder / "a.json").write_text(json.dumps(RECORDS[:6]))
    (folder / "b.json.gz").write_bytes(gzip.compress(json.dumps({"version": [1], "data": RECORDS[6:9]}).encode()))
    (folder / "c.json").write_text("".join(json.dumps(record) for record in RECORDS[9:12]))
    (folder / "d.json").write_text(json.dumps(RECORDS[12], indent=1))
    (folder / "e.json").write_text(json.dumps([record["text"] for record in RECORDS[13:]]))
    return CorpusConfig(source="jsonl", path=folder)


def make_csv(folder: Path) -> CorpusConfig:
    rows = [f'{n};"{record["text"]}\n""quoted"""\r\n' for n, record in enumerate(RECORDS)]
    (folder / "a.csv").write_bytes(b"\xef\xbb\xbf" + ("n;text\r\n" + "".join(rows[:7])).encode())
    (folder / "b.CSV.gz").write_bytes(gzip.compress(("n;text\n" + "".join(rows[7:12])).encode()))
    (folder / "c.tsv").write_text("n\ttext\n" + "".join(rows[12:]).replace(";", "\t"))
    return CorpusConfig(source="csv", path=folder)


def make_stories(folder: Path) -> CorpusConfig:
    (folder / "a.txt").write_bytes("\r\n--\r\n".join(str(record["text"]) for record in RECORDS).encode())
    return CorpusConfig(source="text", path=folder / "a.txt", separator="\n--\n")


def make_parts(folder: Path) -> CorpusConfig:
    """Documents of several parts each, by line and by file."""
    longer = [f"{record['text']}\n\n" + "x" * 199 for record in RECORDS[:10]]
    (folder / "a.jsonl").write_bytes(lines_of([{"text": text} for text in longer]))
    return CorpusConfig(source="jsonl", path=folder, max_document_characters=200)


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


MAKERS = [
    make_text, make_jsonl, make_json, make_csv, make_stories, make_parquet, make_huggingface, make_saved, make_sample,
]  # fmt: skip


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
        ("a.jsonl", b'{"text": "\xff"}\n', {"source": "jsonl"}, r"not UTF-8: a\.jsonl \(byte 10\)"),
        (
            "a.jsonl",
            b'{"body": "x", "url": 1}\n',
            {"source": "jsonl"},
            r"a.jsonl:1 has no field 'text', only 'body', 'url'",
        ),
        ("a.jsonl", b'{"text": 3}\n', {"source": "jsonl"}, "holds int, not text"),
        ("a.jsonl.gz", gzip.compress(lines_of(RECORDS), mtime=0)[:-9], {"source": "jsonl"}, "is damaged"),
        ("a.jsonl.gz", b"no gzip", {"source": "jsonl"}, "is damaged"),
        ("a.jsonl.gz", gzip.compress(b"{}", mtime=0)[:10] + b"\xff" * 20, {"source": "jsonl"}, "is damaged"),
        ("a.jsonl.zst", b"no zstd", {"source": "jsonl"}, "is damaged"),
        ("a.jsonl.zst", cut_zst(), {"source": "jsonl"}, "ends in the middle"),
        ("a.txt", b"caf\xe9", {"source": "text"}, r"not UTF-8: a\.txt \(byte 3\)\. Save"),
        ("a.txt", b"\xff\xfec\0", {"source": "text"}, r"a\.txt \(byte 0, looks like UTF-16\)"),
        ("a.pdf", b"x", {"source": "text"}, r"holds no file that ends in \.txt or \.md .*1 of other kinds \(\.pdf\)"),
        (
            "a.jsonl",
            b'{"text": "x", "n": ' + b"7" * 5000 + b"}\n",
            {"source": "jsonl"},
            r"line 1: .*thousands of digits",
        ),
        ("a.jsonl", b"[" * 100_000, {"source": "jsonl"}, r"line 1: .*brackets inside brackets"),
        ("a.jsonl", b'{"messages": [{"role": "user"}]}', {"source": "jsonl"}, r"a conversation .*chat template does"),
        ("a.json", b'[{"text": "x"}, {"text": ', {"source": "jsonl"}, r"record 2: not JSON"),
        ("a.json", b'[{"text": "x"}', {"source": "jsonl"}, "ends before its list does"),
        ("a.json", b'[{"text": "x"}, 3]', {"source": "jsonl"}, "record 2: not a JSON object but int"),
        ("a.json", b'[{"n": ' + b"7" * 5000 + b"}]", {"source": "jsonl"}, r"record 1: .*thousands of digits"),
        ("a.json", b'{"a": [{"text": ""}], "b": [{"text": ""}]}', {"source": "jsonl"}, r"several lists .*'a', 'b'"),
        ("a.json", b'[{"text": "\xff"}]', {"source": "jsonl"}, r"not UTF-8: a\.json \(byte 11\)"),
        ("a.csv", b"a,b\n1,2\n", {"source": "csv"}, r"a\.csv:1 has no field 'text', only 'a', 'b'"),
        ("a.csv", b'text,b\n"never closed,2\n', {"source": "csv"}, r"a\.csv, line 2: not a row of a table"),
        ("a.csv", b"text\ncaf\xe9\n", {"source": "csv"}, r"not UTF-8: a\.csv \(byte 8\)"),
        ("a.csv.xz", lzma.compress(b"text\nx\n" * 9)[:-20], {"source": "csv"}, "is damaged"),
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


def test_parts_of_long_documents_go_on_in_the_middle(tmp_path: Path) -> None:
    config = make_parts(tmp_path)
    source = open_source(config, tmp_path)
    documents = list(source.documents())
    assert len(documents) == 20 == len({document.document_id for document in documents})
    assert [document.source for document in documents[:2]] == ["a.jsonl:1, part 1", "a.jsonl:1, part 2"]
    assert [json.loads(document.meta)["part"] for document in documents[:2]] == [1, 2]
    assert documents[0].text + documents[1].text == f"{RECORDS[0]['text']}\n\n" + "x" * 199
    assert source.counts["cut_documents"] == 10
    for taken in range(1, 21):
        begun, later = open_source(config, tmp_path), open_source(config, tmp_path)
        first = list(islice(begun.documents(), taken))
        assert first + list(later.documents(json.loads(json.dumps(begun.state())))) == documents
        assert later.counts == source.counts


def test_one_large_file_of_stories_and_a_book(tmp_path: Path) -> None:
    stories = [f"Story {n} tells.\n" * (n % 50 + 1) for n in range(3000)]
    (tmp_path / "stories.txt").write_text("<|endoftext|>\n".join(stories) + "<|endoftext|>\n")
    documents = read(tmp_path / "stories.txt", source="text", separator="<|endoftext|>", max_document_characters=400)
    assert documents[0].source == "stories.txt:1"
    joined: dict[str, str] = {}
    for document in documents:
        name = document.source.partition(",")[0]
        joined[name] = joined.get(name, "") + document.text
    assert [text.strip() for text in joined.values()] == [text.strip() for text in stories]
    assert max(len(document.text) for document in documents) <= 400
    book = read(tmp_path / "stories.txt", source="text", max_document_characters=10_000)
    assert "".join(document.text for document in book) == (tmp_path / "stories.txt").read_text()
    assert [document.source for document in book[:2]] == ["stories.txt, part 1", "stories.txt, part 2"]
    assert all(document.text.endswith("\n") for document in book)


def test_a_file_that_is_read_in_blocks_is_not_held_in_memory(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "a.txt.gz", "wb", compresslevel=1) as file:
        for _ in range(40):
            file.write(b"word " * 200_000)
    source = open_source(CorpusConfig(source="text", path=tmp_path, max_document_characters=100_000), tmp_path)
    tracemalloc.start()
    assert sum(len(document.text) for document in source.documents()) == 40_000_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16_000_000


@pytest.mark.parametrize("source", ["text", "jsonl", "csv"])
def test_all_badly_encoded_files_are_named_replaced_or_skipped(tmp_path: Path, source: str) -> None:
    contents = {"text": "{}", "jsonl": '{{"text": "{}"}}\n', "csv": "text\n{}\n"}[source]
    for number, word in enumerate([b"good", b"caf\xe9", b"fine", b"na\xefve"]):
        content = contents.format("WORD").encode().replace(b"WORD", word)
        (tmp_path / f"{number}.{'txt' if source == 'text' else source}").write_bytes(content)
    with pytest.raises(CorpusError, match=r"2 files of the corpus are not UTF-8: 1\..* \(byte \d+\), 3\..*'skip'"):
        read(tmp_path, source=source)
    problems = encoding_problems(CorpusConfig.model_validate({"source": source, "path": tmp_path}))
    assert len(problems) == 1
    assert "2 files of the corpus are not UTF-8" in problems[0]
    for policy, texts in {"replace": ["good", "caf\ufffd", "fine", "na\ufffdve"], "skip": ["good", "fine"]}.items():
        config = CorpusConfig.model_validate({"source": source, "path": tmp_path, "bad_encoding": policy})
        opened = open_source(config, tmp_path)
        assert [document.text for document in opened.documents()] == texts
        assert opened.counts["bad_encodings"] == 2
        assert encoding_problems(config) == []


def test_line_ends_become_lf_and_marks_are_dropped(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfone\r\ntwo\rthree\n")
    (tmp_path / "b.txt").write_bytes(b"one\n")
    source = open_source(CorpusConfig(source="text", path=tmp_path), tmp_path)
    assert [document.text for document in source.documents()] == ["one\ntwo\nthree\n", "one\n"]
    assert source.counts["returns"] == 1
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "one\\r\\ntwo\\rthree"}\r\n')
    assert read(tmp_path, source="jsonl")[0].text == "one\ntwo\rthree"


def test_nothing_of_a_folder_is_left_out_in_silence(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "corpus", tmp_path / "elsewhere"
    for name in ("corpus/B.TXT", "corpus/sub/README.MD", "elsewhere/c.txt", "corpus/.hidden/d.txt", "corpus/e.pdf"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (folder / "a-link").symlink_to(elsewhere)
    (folder / "again").symlink_to(folder / "sub")
    (folder / "round").symlink_to(folder)
    (folder / "broken.txt").symlink_to(tmp_path / "none")
    (folder / ".swp").write_text("")
    source = open_source(CorpusConfig(source="text", path=folder), tmp_path)
    assert sorted(d.source for d in source.documents()) == ["B.TXT", "a-link/c.txt", "sub/README.MD"]
    assert source.passed_over.startswith("passed over in the corpus's folder: ")
    for told in (
        "2 linked folders that were read already", "1 hidden folders", "1 hidden files", "1 broken links",
        "1 of other kinds (.pdf)",
    ):  # fmt: skip
        assert told in source.passed_over


def test_a_missing_folder_and_a_wrong_suffix(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="does not exist: set corpus"):
        read(tmp_path / "none", source="text")
    (tmp_path / "a.csv").write_text("x")
    with pytest.raises(CorpusError, match=r"does not end in \.parquet: set corpus.source"):
        read(tmp_path / "a.csv", source="parquet")
