"""Tokenize: documents become tokens, and the sequences in which a language model reads them (data/artifacts/corpus.py).

Documents stay whole up to the context length; longer ones are split. A document is for training or held out by its id
alone. Where reading stops:

    max_tokens and max_held_out_tokens   when both are reached; a kind that has reached its own is left out
    max_tokens alone                     when it is reached; held-out documents are those that came until then
    max_held_out_tokens alone, or none   at the end of the corpus

The document with which a limit is reached is the last of its kind, and whole.
"""

from dataclasses import asdict
from typing import Any

from pipeline.corpus import open_source
from pipeline.corpus.tokenization import Tokenization, check_corpus, read_documents
from pipeline.corpus.writer import CorpusWriter
from pipeline.fetching.local import model_config, model_folder, sample_corpus_folder
from pipeline.models.tokenizer import Tokenizer
from pipeline.recipe import Recipe
from pipeline.stage import Stage, Work


def _work(work: Work) -> dict[str, Any]:
    recipe = work.recipe
    folder = model_folder(work.inputs["fetch"], work.paths)
    tokenizer = Tokenizer.load(folder)
    source = open_source(recipe.corpus, sample_corpus_folder(work.paths.store))
    writer = CorpusWriter(work.folder)
    try:
        tokenization = Tokenization(recipe, tokenizer, model_config(folder)["vocab_size"], writer)
        read_documents(source, tokenization)
        tally = tokenization.tally
        check_corpus(tally, recipe, source.name, writer.document_ids)
        num_sequences, num_split = writer.finish(recipe.tokenize.context_length)
    finally:
        writer.close()
    return {
        "corpus": source.name,
        **{f"num_{name}": value for name, value in asdict(tally).items()},
        "num_sequences": num_sequences,
        "num_split_documents": num_split,
        "context_length": recipe.tokenize.context_length,
        "bos_id": tokenizer.bos_id,
        "vocab_size": tokenizer.vocab_size,
    }


def _config(recipe: Recipe) -> dict[str, Any]:
    return {
        "tokenize": recipe.tokenize.model_dump(mode="json"),
        "held_out_fraction": recipe.corpus.held_out_fraction,
    }


STAGE = Stage(name="tokenize", work=_work, config=_config, needs=("fetch",))
run = STAGE.run
