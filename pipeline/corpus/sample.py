"""The sample corpus: WikiText-2 (CC BY-SA), 720 articles of Wikipedia; one article is one document."""

import gzip
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from data.errors import CorpusError
from pipeline.corpus.document import Document, Source, State, make_document
from pipeline.corpus.wikitext import articles
from pipeline.recipe import CorpusConfig

PARTS = ("train", "valid", "test")
SAMPLE_FILES = tuple(f"{part}.raw.gz" for part in PARTS)


class SampleCorpus(Source):
    """All three parts of WikiText-2. Our own held-out share is taken from the whole."""

    name = "WikiText-2"

    def __init__(self, folder: Path, config: CorpusConfig) -> None:
        """folder: where `fetch` put SAMPLE_FILES."""
        super().__init__(config.max_document_characters)
        self.folder = folder
        self._part = self._article = 0

    def records(self, place: State | None) -> Iterator[Document]:
        self._part, self._article = (place["part"], place["article"]) if place else (0, 0)
        while self._part < len(PARTS):
            yield from self._documents_of(PARTS[self._part])
            self._part, self._article = self._part + 1, 0

    def place(self) -> State:
        return {"part": self._part, "article": self._article}

    def _documents_of(self, part: str) -> Iterator[Document]:
        file = self.folder / f"{part}.raw.gz"
        try:
            with gzip.open(file, "rt", encoding="utf-8") as lines:
                for article in islice(articles(lines), self._article, None):
                    locator = f"{part}/{self._article}/{article.title}"
                    self._article += 1
                    meta = {"title": article.title, "part": part}
                    yield make_document("wikitext-2", locator, f"WikiText-2: {article.title}", article.text, meta)
        except (OSError, EOFError, zlib.error) as error:
            raise CorpusError(
                f"{file} cannot be read ({error}): delete {self.folder} and run `monosema fetch` again"
            ) from None
