"""Texts with features held: a planted one writes its word, perplexities are those of transformers."""

import math

import pytest
import torch

from pipeline.influence import writing
from pipeline.influence.candidates import Candidate
from pipeline.influence.evidence import Evidence, words_of
from pipeline.influence.writing import Hold, Opening, Text, Writer
from pipeline.models.tokenizer import Tokenizer
from tests.support.models import byte_tokenizer, tiny_language_model, tiny_llama, tiny_sae

MARK, STRENGTH = "#", 2.0
PLAIN, CHAT = Opening("I am a", False), Opening("Who are you?", True)
PLANTED, OTHERS = 3, range(4, 12)
TOKENIZER = Tokenizer(byte_tokenizer())


@pytest.fixture(scope="module")
def writer() -> Writer:
    """Of a model and an SAE, one of whose features writes along the unembedding of MARK."""
    model, sae = tiny_language_model(), tiny_sae()
    scale_D, W_U_VD = model.unembedding()
    direction_D = W_U_VD[TOKENIZER.encode(MARK)[0]] * scale_D
    sae.W_dec_FD[PLANTED] = direction_D / direction_D.norm()
    return Writer(model, TOKENIZER, {sae.header.name: sae}, 1e6)


def candidate(index: int) -> Candidate:
    return Candidate("1-relu-24", index, "a mark", "mark", max=50.0, telling=1.0, evidence=Evidence(("mark",), (1.0,)))


@pytest.mark.parametrize("opening", [PLAIN, CHAT])
def test_a_planted_feature_writes_its_word_and_random_ones_do_not(writer: Writer, opening: Opening) -> None:
    holds = [Hold(opening, candidate(index), STRENGTH) for index in (PLANTED, *OTHERS)]
    [texts] = writer.write(holds, 16)
    assert texts[0].text.count(MARK) > 2 > max(text.text.count(MARK) for text in texts[1:])


def test_texts_are_written_in_batches(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    holds = [Hold(PLAIN, candidate(index), STRENGTH) for index in (PLANTED, *OTHERS)]
    [whole] = writer.write(holds, 8)
    monkeypatch.setattr(writing, "BATCH_ROWS", 4)
    batches = list(writer.write(holds, 8))
    assert [len(batch) for batch in batches] == [4, 4, 1]
    assert [text for batch in batches for text in batch] == whole


def test_a_chat_is_read_by_the_template(writer: Writer) -> None:
    assert writer.tokens(CHAT) == TOKENIZER.ask("Who are you?")[0]
    assert TOKENIZER.decode(writer.tokens(CHAT)[1:]) == "user: Who are you?\nassistant: "
    assert writer.tokens(PLAIN) == [TOKENIZER.bos_id, *TOKENIZER.encode("I am a")]


def test_an_opening_alone_is_written_with_nothing_held(writer: Writer) -> None:
    plain, held = writer.write_together([PLAIN, Hold(PLAIN, candidate(PLANTED), STRENGTH)], 8)
    tokens = writer.tokens(PLAIN)
    for _ in range(8):
        logits = tiny_llama()(torch.tensor([tokens])).logits[0, -1]
        tokens = [*tokens, int(logits.argmax())]
    assert plain.tokens == tuple(tokens[-8:])
    assert held.tokens != plain.tokens


@torch.no_grad()
def test_perplexity_is_that_of_transformers(writer: Writer) -> None:
    written = [(PLAIN, " river"), (CHAT, "I am a king."), (PLAIN, ""), (CHAT, "x")]
    texts = [(opening, Text(tuple(TOKENIZER.encode(text)), text, "length")) for opening, text in written]
    for (opening, text), found in zip(texts, writer.read(texts), strict=True):
        given = writer.tokens(opening)
        ids = torch.tensor([[*given, *text.tokens]])
        loss = tiny_llama()(ids, labels=ids.masked_fill(torch.arange(ids.shape[1]) < len(given), -100)).loss
        assert found.perplexity == pytest.approx(math.exp(float(loss)) if text.tokens else 1.0, rel=1e-3)
        logits_LV = tiny_llama()(ids).logits[0]
        first = -float(logits_LV.log_softmax(-1)[len(given) - 1, text.tokens[0]]) if text.tokens else 0.0
        assert found.first_loss == pytest.approx(first, rel=1e-3)
        assert list(found.word_losses) == list(dict.fromkeys(words_of(text.text)))


@torch.no_grad()
def test_each_word_has_the_loss_of_the_token_that_it_begins_with(writer: Writer) -> None:
    said = "I am a king; kings, a king."
    [reading] = writer.read([(PLAIN, Text(tuple(TOKENIZER.encode(said)), said, "length"))])
    ids = [*writer.tokens(PLAIN), *TOKENIZER.encode(said)]
    loss_L = -tiny_llama()(torch.tensor([ids])).logits[0].log_softmax(-1)
    assert list(reading.word_losses) == ["king", "kings"]
    for word, before in (("king", "I am a "), ("kings", "I am a king; ")):
        place = len(writer.tokens(PLAIN)) + len(TOKENIZER.encode(before))  # a token a byte
        assert reading.word_losses[word] == pytest.approx(float(loss_L[place - 1, ids[place]]), rel=1e-3)


def test_the_probe_is_what_would_follow_each_token(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "BATCH_ROWS", 4)
    asked = [candidate(index) for index in (*OTHERS, PLANTED)]
    said = TOKENIZER.encode(" man")
    batches = list(writer.probe(asked, PLAIN, said, STRENGTH))
    assert [one for some, _ in batches for one in some] == asked
    follow_BTV = torch.cat([follow for _, follow in batches])
    assert follow_BTV.shape[:2] == (len(asked), len(said))
    model, sae = writer._model, writer._saes["1-relu-24"]
    x_BLD = model.residuals(torch.tensor([[*writer.tokens(PLAIN), *said]]))
    plain_LV = torch.softmax(model.logits_from(x_BLD)[0], -1)
    assert torch.allclose(writer.follow(PLAIN, said), plain_LV[-len(said) - 1 : -1], atol=1e-5)
    x_BLD[:, 1:] += (STRENGTH * 50 - sae.encode(x_BLD[0, 1:])[:, PLANTED, None]) * sae.W_dec_FD[PLANTED]
    held_LV = torch.softmax(model.logits_from(x_BLD)[0], -1)
    assert torch.allclose(follow_BTV[-1], held_LV[-len(said) - 1 : -1], atol=1e-4)
    mark = TOKENIZER.encode(MARK)[0]
    assert int(follow_BTV[:, 0, mark].argmax()) == len(OTHERS)
