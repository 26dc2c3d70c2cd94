"""Whether the model's chat template takes the first conversations, and plain text that looks like a filled one."""

from itertools import islice

from data.artifacts.chats import say_marked
from data.errors import MonosemaError
from data.layout import StorePaths
from pipeline.corpus import is_streamed, open_source
from pipeline.corpus.chats import Chats, mark_of
from pipeline.fetching.local import sample_corpus_folder
from pipeline.models.chat_template import telling_names
from pipeline.models.errors import ModelError
from pipeline.preflight.model import ModelFound
from pipeline.recipe import CorpusConfig, ReadRecipe

FIRST_CHATS = 64
FIRST_TEXTS = 200


def chat_problems(read: ReadRecipe, store: StorePaths, model: ModelFound) -> list[str]:
    """What keeps the first conversations from being read. For a model in which nothing else is wrong: it is looked at
    by transformers."""
    config = read.recipe.corpus
    if config.turns is None or model.folder is None:
        return []
    from pipeline.models.tokenizer import Tokenizer

    try:
        chats = Chats.of(config, Tokenizer.load(model.folder, model.name, opening=model.opening))
        assert chats is not None, "the recipe asks for turns"
        if not is_streamed(config):
            for document in islice(open_source(config, sample_corpus_folder(store)).documents(), FIRST_CHATS):
                chats.encode(document)
    except (MonosemaError, ModelError) as error:
        return [str(error)]
    return []


def find_marks(config: CorpusConfig, store: StorePaths, special_names: list[str]) -> str:
    """What the first texts call for where they look like filled templates, as a sentence; "" where none does.

    special_names: of the model's tokens.
    """
    if config.turns is not None or is_streamed(config) or config.source == "sample":
        return ""
    names = telling_names(special_names, None)
    texts = [one.text for one in islice(open_source(config, sample_corpus_folder(store)).documents(), FIRST_TEXTS)]
    marks = [mark for text in texts if (mark := mark_of(text, names))]
    return say_marked(len(marks), len(texts), marks[0], "first documents") if marks else ""
