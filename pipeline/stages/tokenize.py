"""Tokenize: documents become tokens, and the sequences in which a language model reads them (data/artifacts/corpus.py).

Documents stay whole up to the context length; longer ones are split. A document is for training or held out by its id
alone. Where reading stops:

    max_tokens and max_held_out_tokens   when both are reached; a kind that has reached its own is left out
    max_tokens alone                     when it is reached; held-out documents are those that came until then
    max_held_out_tokens alone, or none   at the end of the corpus

The document with which a limit is reached is the last of its kind, and whole. Of a corpus on disk a limit takes a
random sample of documents by the run's seed, and of the held-out ones, without a limit of their own, the same share;
"until" is then meant in the order in which they are drawn. Of a streamed corpus, whose length is not known, it takes
the first.

Conversations are read by the model's chat template; whose each token is, and whether it counts, is kept beside it.
"""

from typing import Any

from data.artifacts.chats import describe_chats, describe_marks
from data.artifacts.corpus import Cutting, describe_limits
from pipeline.corpus import is_streamed, open_source
from pipeline.corpus.document import describe_reading
from pipeline.corpus.tokenization import Tokenization, check_corpus, read_documents
from pipeline.corpus.writer import CorpusWriter
from pipeline.fetching.local import model_config, model_folder, sample_corpus_folder
from pipeline.models.tokenizer import Tokenizer
from pipeline.progress import log
from pipeline.recipe import Recipe
from pipeline.stage import Stage, Work


def _work(work: Work) -> dict[str, Any]:
    recipe = work.recipe
    folder = model_folder(work.inputs["fetch"], work.paths)
    tokenizer = Tokenizer.load(folder, opening=recipe.tokenize.opening)
    source = open_source(recipe.corpus, sample_corpus_folder(work.paths.store))
    writer = CorpusWriter(work.folder, has_roles=recipe.corpus.turns is not None)
    try:
        tokenization = Tokenization(recipe, tokenizer, model_config(folder)["vocab_size"], writer)
        read_documents(source, tokenization)
        tally, drawn = tokenization.tally, tokenization.drawn
        for told in (source.passed_over, describe_reading(source.counts)):
            if told:
                log(told)
        check_corpus(tally, recipe, source.name, writer.document_ids)
        num_sequences, num_split = writer.finish(Cutting(recipe.tokenize.context_length - 1, tokenizer.bos_id))
    finally:
        writer.close()
    counts = {
        "corpus": source.name,
        **tally.counts(),
        **(
            {"turns": recipe.corpus.turns, "template_tokens": recipe.corpus.template_tokens}
            if recipe.corpus.turns
            else {}
        ),
        **{f"num_{name}": value for name, value in source.counts.items()},
        "passed_over": source.passed_over,
        "limits": tokenization.reached(),
        "num_corpus_documents": drawn.num_documents if drawn else None,
        "num_corpus_tokens": drawn.num_tokens if drawn else None,
        "num_sequences": num_sequences,
        "num_split_documents": num_split,
        "context_length": recipe.tokenize.context_length,
        "bos_id": tokenizer.bos_id,
        "vocab_size": tokenizer.vocab_size,
    }
    for told in (describe_limits(counts), describe_chats(counts), describe_marks(counts)):
        if told:
            log(told)
    return counts


def _config(recipe: Recipe) -> dict[str, Any]:
    limits = (recipe.tokenize.max_tokens, recipe.tokenize.max_held_out_tokens)
    drawn = limits != (None, None) and not is_streamed(recipe.corpus)
    return {
        "tokenize": recipe.tokenize.model_dump(mode="json"),
        "held_out_fraction": recipe.corpus.held_out_fraction,
        **({"sample": "documents"} if drawn else {}),
    }


STAGE = Stage(name="tokenize", work=_work, config=_config, needs=("fetch",))
run = STAGE.run
