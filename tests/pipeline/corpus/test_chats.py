"""Conversations against templates that are written out: every token, whose it is, and whether it counts."""

import json
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from backend.html.spans import UNCOUNTED
from data.artifacts.chats import describe_chats, describe_marks
from data.artifacts.corpus import COUNTED, ROLES, TokenizedCorpus
from data.errors import ConfigError, CorpusError
from data.layout import StorePaths
from data.manifests import Manifest, load_manifest
from pipeline.activations.batches import count_tokens, read_batch, training_batches
from pipeline.commands.summary import _on_the_corpus
from pipeline.corpus import tokenization
from pipeline.corpus.chats import Chats
from pipeline.corpus.conversations import Chat
from pipeline.corpus.document import make_document
from pipeline.models.chat_template import Message
from pipeline.models.tokenizer import Tokenizer
from pipeline.recipe import Recipe, make_recipe
from pipeline.recipe.corpus import CorpusConfig
from pipeline.stages import fetch, tokenize
from tests.support.chats import (
    ASSISTANT,
    DEVELOPER,
    TALKS,
    TEMPLATE,
    TOOL,
    USER,
    add_special_token,
    make_talking_model,
    naive_bytes,
    write_talks,
)
from tests.support.killing import kill_tokenization

PIECES = {"all": {USER, ASSISTANT}, "assistant": {ASSISTANT}, "user": {USER}}
REFUSES = "{% if messages[0]['role'] != 'user' %}{{ raise_exception('begin with the user') }}{% endif %}"
OWN = "{% for m in messages %}<s>{{ m['role'] }}\n{{ m['content'] }}</s>\n{% endfor %}"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_talking_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def talks(tmp_path: Path) -> Path:
    return write_talks(tmp_path / "talks.jsonl")


def recipe_of(model: Path, file: Path, **corpus: Any) -> Recipe:
    return make_recipe(
        {
            "name": "test",
            "corpus": {"source": "jsonl", "path": str(file), "held_out_fraction": 0.2, "turns": "all", **corpus},
            "model": {"name": "tiny", "source": str(model), "layer": 1, "dtype": "float32"},
            "tokenize": {"context_length": 64},
            "train": {"batch_size": 16, "saes": [{"architecture": "relu", "num_features": 8}]},
        }
    )


def run(recipe: Recipe, store: StorePaths) -> Manifest:
    fetch.run(recipe, store.run("test"))
    return tokenize.run(recipe, store.run("test"))


def opened(store: StorePaths) -> TokenizedCorpus:
    return TokenizedCorpus(store.run("test").stage("tokenize"))


def shown(corpus: TokenizedCorpus, model: Path) -> list[list[tuple[str, int, bool]]]:
    """Text, role and whether it counts of every token of every document."""
    names = [token.decode("latin-1") for token in Tokenizer.load(model).token_bytes()]
    assert corpus.roles is not None
    marks = [
        (names[token], mark % COUNTED, mark >= COUNTED) for token, mark in zip(corpus.tokens, corpus.roles, strict=True)
    ]
    return [marks[start : start + length] for start, length in zip(corpus.offsets, corpus.lengths, strict=True)]


@pytest.mark.parametrize("turns", ["all", "assistant", "user"])
@pytest.mark.parametrize("template_tokens", [False, True])
def test_every_token_is_known_and_some_count(
    store: StorePaths, model: Path, talks: Path, turns: str, template_tokens: bool
) -> None:
    counts = run(recipe_of(model, talks, turns=turns, template_tokens=template_tokens), store).counts
    counted = PIECES[turns] | ({TEMPLATE} if template_tokens else set())
    expected = [[(text, role, role in counted) for text, role in naive_bytes(talk)] for talk in TALKS]
    corpus = opened(store)
    assert shown(corpus, model) == expected
    training = [talk for talk, held_out in zip(expected, corpus.held_out, strict=True) if not held_out]
    assert counts["num_counted_tokens"] == sum(one[2] for talk in training for one in talk)
    assert counts["num_tokens"] == sum(map(len, training))
    assert counts["turns"] == turns
    assert "by the model's chat template" in _on_the_corpus(counts)[0]


def test_rows_are_the_tokens_that_count(store: StorePaths, model: Path, talks: Path) -> None:
    run(recipe_of(model, talks, turns="assistant"), store)
    corpus = opened(store)
    expected = {
        (document, position)
        for document, talk in enumerate(shown(corpus, model))
        for position, (_, role, _) in enumerate(talk)
        if role == ASSISTANT and not corpus.held_out[document]
    }
    found, batches = [], training_batches(corpus, 256)
    for numbers in batches:
        batch = read_batch(corpus, numbers, 0)
        rows = corpus.sequences["document"][batch.index_N["sequence"]].tolist()
        found += list(zip(rows, batch.index_N["position"].tolist(), strict=True))
        assert batch.tokens_BL[batch.own_BL].tolist() == [
            corpus.tokens[corpus.offsets[row] + position] for row, position in found[-len(rows) :]
        ]
    assert len(found) == len(set(found)) == sum(count_tokens(corpus, numbers) for numbers in batches)
    assert set(found) == expected


def test_sequences_without_a_token_that_counts_are_not_read(store: StorePaths, model: Path, tmp_path: Path) -> None:
    talk = [{"role": "user", "content": "x" * 200}, {"role": "assistant", "content": "No."}]
    run(recipe_of(model, write_talks(tmp_path / "long.jsonl", [talk] * 20), turns="assistant"), store)
    corpus = opened(store)
    numbers = np.concatenate([corpus.sequence_numbers(held_out=held_out) for held_out in (False, True)])
    with_any = [n for n, one in enumerate(corpus.sequences.tolist()) if corpus.counted(one).any()]
    assert sorted(numbers.tolist()) == with_any
    assert 0 < len(with_any) < len(corpus.sequences)


@pytest.mark.parametrize("kill_at", [1, 3])
def test_a_killed_run_ends_with_the_same_bytes(
    tmp_path: Path, model: Path, talks: Path, kill_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenization, "BATCH_DOCUMENTS", 7)
    recipe = recipe_of(model, talks)
    whole = run(recipe, StorePaths(tmp_path / "whole"))
    batches = kill_tokenization(monkeypatch, kill_at)
    store = StorePaths(tmp_path / "killed")
    with pytest.raises(KeyboardInterrupt):
        run(recipe, store)
    batches.append(0)
    assert run(recipe, store).files == whole.files


def test_all_forms_of_files_are_the_same_conversations(store: StorePaths, model: Path, tmp_path: Path) -> None:
    names = {"user": "human", "assistant": "gpt"}
    shared = [[{"from": names[m["role"]], "value": m["content"]} for m in talk] for talk in TALKS]
    records = [{"messages": talk} for talk in TALKS]
    forms: dict[str, tuple[str, str]] = {
        "messages.jsonl": ("jsonl", "".join(json.dumps(one) + "\n" for one in records)),
        "shared.jsonl": ("jsonl", "".join(json.dumps({"conversations": talk}) + "\n" for talk in shared)),
        "bare.jsonl": ("jsonl", "".join(json.dumps(talk) + "\n" for talk in TALKS)),
        "list.json": ("jsonl", json.dumps(records)),
        "data.json": ("jsonl", json.dumps({"data": records})),
    }
    pq.write_table(pa.Table.from_pylist(records), tmp_path / "talks.parquet")
    datasets.Dataset.from_list(records).save_to_disk(str(tmp_path / "saved"))
    settings: list[dict[str, Any]] = [
        {"source": "parquet", "path": str(tmp_path / "talks.parquet")},
        {"source": "huggingface", "dataset": str(tmp_path / "saved"), "path": None},
        {"text_field": "said", "path": str(write_named(tmp_path / "named.jsonl"))},
    ]
    for name, (source, text) in forms.items():
        (tmp_path / name).write_text(text)
        settings.append({"source": source, "path": str(tmp_path / name)})
    expected = [[(text, role, role != TEMPLATE) for text, role in naive_bytes(talk)] for talk in TALKS]
    for number, corpus in enumerate(settings):
        own = StorePaths(store.root / str(number))
        run(recipe_of(model, tmp_path, **corpus), own)
        assert shown(opened(own), model) == expected, corpus


def tool_talks() -> list[list[dict[str, Any]]]:
    return [
        [
            {"role": "developer", "content": f"Use the tools {n}"},
            {"role": "user", "content": [{"type": "text", "text": f"What is {n}"}, {"type": "text", "text": "+ 1?"}]},
            {"role": "tool", "content": str(n + 1), "name": "add"},
            {"role": "assistant", "content": f"It is {n + 1}."},
        ]
        for n in range(60)
    ]


@pytest.mark.parametrize(
    ("turns", "counted"),
    [
        ("all", {DEVELOPER, USER, TOOL, ASSISTANT}),
        ("tool", {TOOL}),
        (["assistant", "developer"], {ASSISTANT, DEVELOPER}),
    ],
)
def test_tools_developers_and_contents_in_parts(
    store: StorePaths, model: Path, tmp_path: Path, turns: Any, counted: set[int]
) -> None:
    talks = tool_talks()
    expected = [
        [
            (text, role, role in counted)
            for text, role in naive_bytes([talk[0], {"role": "user", "content": f"What is {n} + 1?"}, *talk[2:]])
        ]
        for n, talk in enumerate(talks)
    ]
    parted = [{"messages": [{**one, "content": in_parts(one["content"])} for one in talk]} for talk in talks]
    datasets.Dataset.from_list(parted).save_to_disk(str(tmp_path / "saved"))
    places: list[dict[str, Any]] = [
        {"path": str(write_talks(tmp_path / "talks.jsonl", talks))},
        {"source": "huggingface", "dataset": str(tmp_path / "saved"), "path": None},
    ]
    for number, corpus in enumerate(places):
        own = StorePaths(store.root / str(number))
        counts = run(recipe_of(model, tmp_path, turns=turns, **corpus), own).counts
        assert shown(opened(own), model) == expected
        assert counts["turns"] in (turns, tuple(turns))
    told = describe_chats(counts)
    assert ("the assistant's and the developer's messages count" in told) == (turns == ["assistant", "developer"])


def in_parts(content: Any) -> list[dict[str, str]]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def write_named(file: Path) -> Path:
    file.write_text("".join(json.dumps({"said": talk, "messages": "no"}) + "\n" for talk in TALKS))
    return file


def document(messages: tuple[Message, ...], problem: str = "") -> Any:
    return make_document("jsonl", "a", "talks.jsonl:7", "text")._replace(chat=Chat(messages, problem))


def test_the_template_s_own_system_message_does_not_count(tmp_path: Path) -> None:
    kind = "{% if messages[0]['role'] != 'system' %}<s>system\nBe kind</s>\n{% endif %}" + OWN
    tokenizer = Tokenizer.load(make_talking_model(tmp_path / "kind", kind))
    chats = Chats.of(CorpusConfig(source="jsonl", path=tmp_path, turns="all"), tokenizer)
    assert chats is not None
    for messages, counted in (
        ((Message("user", "Hi"),), "Hi"),
        ((Message("system", "Be brief"), Message("user", "Hi")), "Be briefHi"),
    ):
        encoded = chats.encode(document(messages))
        assert encoded.roles_L is not None
        told = [token for token, mark in zip(encoded.tokens, encoded.roles_L, strict=True) if mark >= COUNTED]
        assert tokenizer.decode(told) == counted
        assert tokenizer.decode(encoded.tokens).endswith("</s>\n"), "no answer is begun"


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"messages": [{"content": "Hi"}]}, "bad.jsonl:3: message 1 has no role (it has content)"),
        ({"messages": [{"role": "user"}]}, "bad.jsonl:3: message 1 has no text ('content' is NoneType)"),
        (
            {"messages": [{"role": "narrator", "content": "4"}]},
            "message 1 has the role 'narrator', none of system, dev",
        ),
        ({"messages": [{"role": "user", "content": []}]}, "message 1 has no text ('content' is an empty list)"),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "See"}, {"type": "image_url"}]}]},
            "bad.jsonl:3: message 1 has a part of the type 'image_url', and only text can be read (part 2 of",
        ),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "message 1 has a part without text (part 1"),
        ({"messages": [{"role": "user", "content": [4]}]}, "message 1 has a part that is int, not a text (part 1"),
        ({"messages": ["Hi"]}, "bad.jsonl:3: message 1 is str, not an object with role and content"),
        ({"messages": []}, "bad.jsonl:3: 'messages' is empty"),
        ({"messages": "Hi"}, "bad.jsonl:3: 'messages' is str, not a list of messages"),
        ({"messages": [{"role": "assistant", "content": "Hi"}]}, "bad.jsonl:3: the model's chat template refuses"),
    ],
)
def test_a_conversation_that_cannot_be_had_is_named_or_left_out(
    store: StorePaths, tmp_path: Path, record: dict[str, Any], message: str
) -> None:
    model = make_talking_model(tmp_path / "model", REFUSES + OWN)
    lines = [json.dumps({"messages": talk}) for talk in TALKS]
    lines[2] = json.dumps(record)
    (tmp_path / "bad.jsonl").write_text("\n".join(lines))
    with pytest.raises(CorpusError) as error:
        run(recipe_of(model, tmp_path / "bad.jsonl"), store)
    assert message in str(error.value)
    assert "or set corpus.bad_conversations=skip" in str(error.value)
    counts = run(recipe_of(model, tmp_path / "bad.jsonl", bad_conversations="skip"), store).counts
    assert counts["num_bad_conversations"] == 1
    assert counts["num_documents"] + counts["num_held_out_documents"] == len(TALKS) - 1
    assert "1 conversations were left out" in _on_the_corpus(counts)[0]


def test_what_cannot_be_read_as_conversations(store: StorePaths, model: Path, tmp_path: Path) -> None:
    (tmp_path / "texts.jsonl").write_text('{"text": "Hi"}\n')
    with pytest.raises(CorpusError, match="has no 'messages' nor 'conversations' nor 'conversation', only 'text'"):
        run(recipe_of(model, tmp_path / "texts.jsonl"), store)
    only_users = [[{"role": "user", "content": f"Hi {n}"}] for n in range(40)]
    with pytest.raises(CorpusError, match="no turn of 'assistant'"):
        run(recipe_of(model, write_talks(tmp_path / "users.jsonl", only_users), turns="assistant"), store)
    plain = make_talking_model(tmp_path / "plain")
    (plain / "chat_template.jinja").unlink()
    with pytest.raises(CorpusError, match="the model has no chat template"):
        run(recipe_of(plain, write_talks(tmp_path / "talks.jsonl")), store)
    with pytest.raises(ConfigError, match="'nobody' is not whose tokens may count: give all, or system, developer"):
        recipe_of(model, tmp_path, turns="nobody")
    with pytest.raises(ConfigError, match="an empty list lets no token count"):
        recipe_of(model, tmp_path, turns=[])
    with pytest.raises(ConfigError, match="'text' holds no conversations"):
        recipe_of(model, tmp_path, source="text")
    with pytest.raises(ConfigError, match=r"set corpus.turns, too"):
        recipe_of(model, tmp_path, turns=None, template_tokens=True)
    with pytest.raises(CorpusError, match=r"is a conversation \('messages'\): set corpus.turns=all"):
        run(recipe_of(model, tmp_path / "talks.jsonl", turns=None), store)


def test_a_limit_counts_tokens_of_the_filled_template(store: StorePaths, model: Path, talks: Path) -> None:
    raw = recipe_of(model, talks).model_dump(mode="json")
    counts = run(make_recipe({**raw, "tokenize": {"context_length": 64, "max_tokens": 2000}}), store).counts
    assert 2000 <= counts["num_tokens"] < 2000 + max(len(naive_bytes(talk)) for talk in TALKS)


def test_plain_text_that_looks_like_a_filled_template_is_told(store: StorePaths, tmp_path: Path) -> None:
    model = make_talking_model(tmp_path / "model", OWN.replace("</s>", "<|turn|>"))
    add_special_token(model, "<|turn|>")
    assert Tokenizer.load(model).template_names == ("<|turn|>",)
    texts = [f"<s>user\nText {n}<|turn|>" if n % 3 == 0 else f"Text {n} says nothing" for n in range(60)]
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    counts = run(recipe_of(model, tmp_path / "texts.jsonl", turns=None), store).counts
    assert counts["num_marked_documents"] == 20
    assert opened(store).roles is None
    said = describe_marks(counts)
    assert said.startswith("20 of 60 documents hold '<|turn|>' as plain text")
    assert "corpus.turns=all" in said
    assert f"{said}." in _on_the_corpus(counts)
    assert describe_marks({**counts, "num_marked_documents": 0}) == ""


@pytest.mark.sample
def test_the_sample_model_s_own_template(sample_store: StorePaths, tmp_path: Path) -> None:
    file = write_talks(tmp_path / "talks.jsonl")
    raw = recipe_of(tmp_path, file, turns="assistant").model_dump(mode="json")
    model = {"name": "sample", "source": "sample", "layer": 14}
    manifest = run(make_recipe({**raw, "model": model, "tokenize": {"context_length": 512}}), sample_store)
    folder = sample_store.root / str(load_manifest(sample_store.run("test").stage("fetch")).counts["model"])
    corpus, tokenizer = opened(sample_store), Tokenizer.load(folder)
    filled = tokenizer._pretrained
    assert manifest.counts["bos_id"] == tokenizer.bos_id
    for row, talk in enumerate(TALKS):
        text = filled.apply_chat_template(talk, tokenize=False)
        ids = filled.backend_tokenizer.encode(text, add_special_tokens=False).ids
        tokens = corpus.document_tokens(row)
        assert [tokenizer.bos_id, *tokens] == ids
        counted = corpus.counted((row, 0, len(tokens)))
        told = [message["content"] for message in talk if message["role"] == "assistant"]
        assert tokenizer.decode(tokens[counted].tolist()) == "".join(told)


def test_roles_have_a_place_each() -> None:
    assert ROLES == ("template", "system", "user", "assistant", "developer", "tool")
    assert set(UNCOUNTED) == set(ROLES)
