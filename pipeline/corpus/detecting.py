"""Whether a corpus holds conversations, by its first records."""

from itertools import islice
from pathlib import Path

from data.errors import CorpusError
from pipeline.corpus import open_source
from pipeline.recipe import CorpusConfig
from pipeline.recipe.corpus import CHAT_SOURCES

FIRST_RECORDS = 20


def holds_chats(config: CorpusConfig, sample_folder: Path) -> bool:
    """Whether one of the first records is a conversation, in one of the fields by which chat data is known.

    A corpus that cannot be read holds none: who reads it says why.
    """
    if config.source not in CHAT_SOURCES:
        return False
    try:
        source = open_source(config.model_copy(update={"turns": "all"}), sample_folder)
        return any(one.chat and one.chat.messages for one in islice(source.documents(), FIRST_RECORDS))
    except CorpusError:
        return False
