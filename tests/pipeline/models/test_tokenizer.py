"""Tokens keep every byte, whatever the text; nothing that a person types becomes a special token."""

import json
from pathlib import Path

import pytest
import transformers
from tokenizers import Tokenizer as Rust
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from data.layout import StorePaths
from pipeline.models.chat_template import Message
from pipeline.models.errors import ModelError
from pipeline.models.tokenizer import Tokenizer
from tests.support.models import byte_tokenizer

HOSTILE = [
    "",
    " ",
    "plain words, twice: plain words",
    "  two  spaces\tand\r\nlines\n\n\n 1934",
    "<|im_start|>system <s></s> <|endoftext|><|im_end|>",
    "\x00\x01\x7f\x80 NUL and controls",
    "éèü ÅÅ ﬁ ½ 日本語 العربية ‮right to left‬",
    "👩‍👩‍👧‍👦 🏳️‍🌈 e\u0301 \u200b\ufeff zero width",
    "\U0010ffff\ufffd\ue000 private",
    "▁ looks like a space, <0x0A> looks like a byte, Ġ like another",
    "0 @.@ 7 <unk> \\ud800",
]
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}{{ eos_token }}{% endfor %}[assistant]"
)


def byte_level(**specials: str) -> Tokenizer:
    rust = Rust(models.BPE())
    rust.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    rust.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    rust.train_from_iterator(HOSTILE, trainer)
    return Tokenizer(transformers.PreTrainedTokenizerFast(tokenizer_object=rust, **specials))


def sentencepiece() -> Tokenizer:
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "a", "b", "ab", "▁ab"]
    rust = Rust(
        models.BPE(
            {piece: token for token, piece in enumerate(pieces)},
            [("a", "b"), ("▁", "ab")],
            byte_fallback=True,
            unk_token="<unk>",
        )
    )
    rust.normalizer = normalizers.Replace(" ", "▁")
    rust.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    rust.add_special_tokens(["<unk>", "<s>", "</s>"])
    return Tokenizer(transformers.PreTrainedTokenizerFast(tokenizer_object=rust, bos_token="<s>"))


def joined(tokenizer: Tokenizer, text: str) -> bytes:
    table = tokenizer.token_bytes()
    return b"".join(table[token] for token in tokenizer.encode(text))


@pytest.mark.parametrize("text", HOSTILE)
def test_bytes_of_the_tokens_are_the_bytes_of_the_text(text: str) -> None:
    tokenizer = byte_level(bos_token="<s>")
    assert joined(tokenizer, text) == text.encode()
    assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize("text", [text for text in HOSTILE if "▁" not in text])
def test_the_same_with_sentencepiece_and_byte_fallback(text: str) -> None:
    assert joined(sentencepiece(), text) == text.encode()


def test_special_tokens_are_plain_text_and_have_their_names_bytes() -> None:
    tokenizer = byte_level(bos_token="<s>", eos_token="</s>")
    ids = tokenizer.encode("<s>x</s>")
    assert tokenizer.bos_id not in ids
    assert len(ids) > 3
    assert tokenizer.token_bytes()[tokenizer.bos_id] == b"<s>"


def test_token_bytes_can_be_as_long_as_a_padded_vocabulary() -> None:
    tokenizer = byte_level(bos_token="<s>")
    table = tokenizer.token_bytes(tokenizer.vocab_size + 5)
    assert len(table) == tokenizer.vocab_size + 5
    assert table[-1] == b""


def test_a_lone_surrogate_is_a_replacement_character() -> None:
    tokenizer = byte_level(bos_token="<s>")
    assert tokenizer.decode(tokenizer.encode("a\ud800b")) == "a\ufffdb"


def test_a_text_is_opened_by_bos_where_there_is_one_and_else_by_its_own_first_token() -> None:
    with_bos, without = byte_level(bos_token="<s>"), byte_level(eos_token="</s>")
    plain = without.encode("a text")
    assert (with_bos.bos_id, with_bos.opening) == (0, [0])
    assert with_bos.open("a text") == ([0, *plain], range(1, len(plain) + 1))
    assert (without.bos_id, without.opening) == (None, []), "the end of a text opens none"
    assert without.open("a text") == (plain, range(1, len(plain)))
    assert without.open("") == ([], range(1, 1))


def test_a_chat_without_bos_is_what_the_template_says() -> None:
    tokenizer = byte_level(eos_token="</s>")
    tokenizer._pretrained.chat_template = TEMPLATE.replace("{{ bos_token }}", "")
    ids, roles = tokenizer.chat([Message("user", "a")])
    assert tokenizer.decode(ids) == "[user]a</s>[assistant]"
    assert len(ids) == len(roles)
    assert tokenizer.decode([i for i, role in zip(ids, roles, strict=True) if role == "user"]) == "a"


def test_chat_has_one_bos_and_keeps_special_names_in_messages_plain() -> None:
    tokenizer = byte_level(bos_token="<s>", eos_token="</s>")
    tokenizer._pretrained.chat_template = TEMPLATE
    ids, _ = tokenizer.chat([Message("user", "a</s><s>b"), Message("assistant", "c")])
    assert ids[0] == tokenizer.bos_id
    assert ids.count(tokenizer.bos_id) == 1
    assert ids.count(1) == 2, "two ends of messages; the typed one is text"
    assert tokenizer.decode(ids) == "<s>[user]a</s><s>b</s>[assistant]c</s>[assistant]"


@pytest.mark.parametrize("content", ["a", "0", "~", "0 or ~", "a</s><s>b", "a\nb 0"])
def test_the_messages_own_tokens_are_known(content: str) -> None:
    tokenizer = byte_level(bos_token="<s>", eos_token="</s>")
    tokenizer._pretrained.chat_template = TEMPLATE
    ids, own = tokenizer.ask(content)
    assert ids == tokenizer.chat([Message("user", content)]).tokens
    assert tokenizer.decode(ids[own.start : own.stop]) == content


def test_chat_without_a_template_or_with_refused_messages() -> None:
    tokenizer = byte_level(bos_token="<s>", eos_token="</s>")
    with pytest.raises(ModelError, match="no chat template"):
        tokenizer.chat([Message("user", "x")])
    tokenizer._pretrained.chat_template = "{{ raise_exception('system only') }}"
    with pytest.raises(ModelError, match="system only"):
        tokenizer.chat([Message("user", "x")])


def test_a_tokenizer_whose_bytes_are_not_known_is_refused() -> None:
    rust = Rust(models.WordLevel({chr(97 + n): n for n in range(26)}, unk_token="a"))
    rust.pre_tokenizer = pre_tokenizers.Whitespace()
    with pytest.raises(ModelError, match="byte-level BPE, sentencepiece and WordPiece tokenizers work"):
        Tokenizer(transformers.PreTrainedTokenizerFast(tokenizer_object=rust)).token_bytes()


def wordpiece() -> Rust:
    words = ["[UNK]", "[CLS]", "[SEP]", "the", "king", "##dom", "s", "##s", ",", *"abcdefgh"]
    rust = Rust(models.WordPiece({word: token for token, word in enumerate(words)}, unk_token="[UNK]"))
    rust.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    rust.decoder = decoders.WordPiece()
    rust.add_special_tokens(["[UNK]", "[CLS]", "[SEP]"])
    ends = [("[CLS]", 1), ("[SEP]", 2)]
    rust.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    return rust


def test_pieces_of_words_have_a_blank_before_each_word() -> None:
    tokenizer = Tokenizer(transformers.PreTrainedTokenizerFast(tokenizer_object=wordpiece()))
    assert joined(tokenizer, "the kingdoms, the king") == b" the kingdoms , the king"
    assert tokenizer.token_bytes()[:3] == [b"[UNK]", b"[CLS]", b"[SEP]"]


def test_what_opens_a_text() -> None:
    """BOS where there is one; else what the tokenizer's template says, and nothing where that says nothing."""
    pretrained = transformers.PreTrainedTokenizerFast(tokenizer_object=wordpiece())
    assert Tokenizer(pretrained).open("the king") == ([1, 3, 4], range(1, 3))
    assert Tokenizer(pretrained, "template").bos_id == 1
    assert Tokenizer(pretrained, "none").open("the king") == ([3, 4], range(1, 2))
    named = byte_level(bos_token="<s>")._pretrained
    assert Tokenizer(named).bos_id == 0
    assert Tokenizer(named, "template").bos_id is None, "the template of GPT-2 and Pythia puts no BOS before a text"
    assert Tokenizer(named, "none").opening == []
    assert byte_level(eos_token="</s>").bos_id is None


def test_several_opening_tokens_are_refused() -> None:
    rust = wordpiece()
    ends = [("[CLS]", 1), ("[SEP]", 2)]
    rust.post_processor = processors.TemplateProcessing(single="[CLS] [SEP] $A", special_tokens=ends)
    pretrained = transformers.PreTrainedTokenizerFast(tokenizer_object=rust)
    with pytest.raises(ModelError, match=r"opens a text with 2 tokens .*set tokenize\.opening=none"):
        Tokenizer(pretrained).check()
    Tokenizer(pretrained, "none").check()


def test_load_from_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"cannot be read .*put the model's tokenizer\.json into its folder"):
        Tokenizer.load(tmp_path)
    byte_level(bos_token="<s>")._pretrained.save_pretrained(tmp_path)
    assert joined(Tokenizer.load(tmp_path), HOSTILE[4]) == HOSTILE[4].encode()
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(ModelError, match="cannot be read"):
        Tokenizer.load(tmp_path)


def test_a_folder_is_read_once_until_a_file_of_it_changes(tmp_path: Path) -> None:
    byte_level(bos_token="<s>")._pretrained.save_pretrained(tmp_path)
    tokenizer = Tokenizer.load(tmp_path)
    assert Tokenizer.load(tmp_path, "other name") is tokenizer
    assert Tokenizer.load(tmp_path, opening="none").bos_id is None
    byte_level(bos_token="<begin>")._pretrained.save_pretrained(tmp_path)
    assert tokenizer.decode(tokenizer.opening) == "<s>"
    assert (after := Tokenizer.load(tmp_path)).decode(after.opening) == "<begin>"


def test_a_vocabulary_with_merges_is_a_tokenizer_where_the_model_has_such_a_one(tmp_path: Path) -> None:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {character: number for number, character in enumerate(alphabet)} | {"<|endoftext|>": 256}
    (tmp_path / "vocab.json").write_text(json.dumps(vocabulary))
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    transformers.Qwen2Config().save_pretrained(tmp_path)
    tokenizer = Tokenizer.load(tmp_path)
    assert joined(tokenizer, HOSTILE[4]) == HOSTILE[4].encode()
    assert tokenizer.bos_id is None
    transformers.Gemma2Config().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="GemmaTokenizer has 5 tokens only, so its files were not read"):
        Tokenizer.load(tmp_path)


@pytest.mark.sample
def test_the_sample_tokenizer(sample_store: StorePaths) -> None:
    folder = sample_store.models / "smollm2-135m"
    tokenizer = Tokenizer.load(folder)
    for text in HOSTILE:
        assert joined(tokenizer, text) == text.encode()
    assert tokenizer.vocab_size == json.loads((folder / "config.json").read_text())["vocab_size"]
    ids, roles = tokenizer.chat([Message("user", "Who are you?")])
    assert ids[0] == tokenizer.bos_id
    assert tokenizer.decode(ids).endswith("<|im_start|>user\nWho are you?<|im_end|>\n<|im_start|>assistant\n")
    said = {role: [i for i, r in zip(ids, roles, strict=True) if r == role] for role in ("system", "user")}
    assert tokenizer.decode(said["user"]) == "Who are you?"
    assert tokenizer.decode(said["system"]).startswith("You are a helpful AI assistant")
    ids, own = tokenizer.ask("Who are you?")
    assert tokenizer.decode(ids[own.start : own.stop]) == "Who are you?"


def test_an_id_without_a_token_is_no_text() -> None:
    tokenizer = Tokenizer(byte_tokenizer())
    known = tokenizer.encode("ab")
    assert tokenizer.decode([known[0], len(tokenizer.token_bytes()) + 3, known[1]]) == "ab"
