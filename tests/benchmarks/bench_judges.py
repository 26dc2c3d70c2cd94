"""A local judge that reads the common beginning once and many questions together, against one question at a time.

The reference is the plain model of transformers on every whole question, by the same probabilities. `JUDGEMENTS` are
asked of ours; the reference answers the first of them, so that the benchmark ends.
"""

import time

import numpy as np
import torch

from pipeline.judges.local import LocalJudge
from pipeline.judges.protocol import Answer, Question, chat_messages
from pipeline.judges.tasks import SPECIFICITY
from pipeline.models.tokenizer import Tokenizer
from pipeline.recipe import load_recipe
from tests.benchmarks.bench_harvest import sample_model
from tests.benchmarks.table import Row

JUDGEMENTS, REFERENCE, TOKENS = 1000, 40, 24
WORDS = "the old river town began to grow when a new bridge was built near its market in early spring"
MOST_APART = 0.25
"""Of two answers on the scale of 0 to 3: batches round bfloat16 in another order."""


def run() -> list[Row]:
    recipe = load_recipe("sample")
    folder = sample_model(recipe)
    tokenizer = Tokenizer.load(folder)
    judge = LocalJudge.load(folder, tokenizer, "sample", dtype="bfloat16", device="cpu", batch_tokens=4096)
    questions = make_questions(tokenizer)
    found: dict[int, Answer] = {}
    start = time.perf_counter()
    judge.ask(questions, lambda at, answers: found.update(zip(at, answers, strict=True)))
    ours = JUDGEMENTS / (time.perf_counter() - start)
    start = time.perf_counter()
    plain = [one_at_a_time(judge, tokenizer, question) for question in questions[:REFERENCE]]
    reference = REFERENCE / (time.perf_counter() - start)
    apart = max(abs(value - (found[n].value or 0.0)) for n, value in enumerate(plain))
    assert apart < MOST_APART, f"answers differ by {apart:.3f}"
    note = f"{JUDGEMENTS:,} judgements; one at a time: {REFERENCE}; at least 5; answers within {apart:.3f}"
    return [Row("local judge", f"{ours:.1f} answers/s", f"{reference:.1f} answers/s", ours / reference, note)]


def make_questions(tokenizer: Tokenizer) -> list[Question]:
    """Texts of 2 x TOKENS random words around one that is marked, under random labels."""
    rng = np.random.default_rng(0)
    words = WORDS.split()
    questions = []
    for _ in range(JUDGEMENTS):
        chosen = [words[n] for n in rng.integers(len(words), size=2 * TOKENS + 1)]
        text = f"{' '.join(chosen[:TOKENS])}<< {chosen[TOKENS]}>> {' '.join(chosen[TOKENS + 1 :])}"
        questions.append(Question(SPECIFICITY, words[int(rng.integers(len(words)))], text))
    return questions


def one_at_a_time(judge: LocalJudge, tokenizer: Tokenizer, question: Question) -> float:
    tokens = torch.tensor([tokenizer.chat(chat_messages(question)).tokens])
    with torch.no_grad():
        logits_V = judge._model(input_ids=tokens, use_cache=False, logits_to_keep=1).logits[0, -1]
    shares = torch.softmax(logits_V[judge.answer_ids(question.task)].float(), 0)
    return float((shares * torch.arange(len(shares))).sum())
