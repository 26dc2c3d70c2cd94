"""Text files: one file is one document, or several with a separator between them."""

from collections.abc import Iterator
from pathlib import Path

from pipeline.corpus.document import Document, Source, State, make_document, part_of
from pipeline.corpus.encoding import TextBlocks, first_wrong_byte, refuse_encodings
from pipeline.corpus.files import FileKinds, find_files, name_in
from pipeline.corpus.pieces import Piece, cut
from pipeline.recipe import CorpusConfig

TEXT_FILES = FileKinds((".txt", ".md"))


class TextFiles(Source):
    """Every .txt and .md file below a folder, or one such file; read in blocks, however large it is."""

    def __init__(self, path: Path, config: CorpusConfig) -> None:
        super().__init__(config.max_document_characters)
        self.path, self._separator, self._bad_encoding = path, config.separator, config.bad_encoding
        self.name = f"text files in {path.name}"
        found = find_files(path, TEXT_FILES)
        self._files, self.passed_over = found.files, found.describe_others()
        self._place: State = {"file": 0, "pieces": 0}

    def records(self, place: State | None) -> Iterator[Document]:
        self._place = dict(place or {"file": 0, "pieces": 0})
        first, done = self._place["file"], self._place["pieces"]
        for number in range(first, len(self._files)):
            for piece, document in self._pieces(self._files[number], done if number == first else 0):
                self._place = {"file": number, "pieces": piece}
                yield document

    def place(self) -> State:
        return dict(self._place)

    def _pieces(self, file: Path, done: int) -> Iterator[tuple[int, Document]]:
        """The documents of a file and parts of long ones, from 1, but for the first `done`."""
        replace = False
        if self._bad_encoding != "refuse" and first_wrong_byte(file) is not None:
            replace = self._bad_encoding == "replace"
            self.counts["bad_encodings"] += done == 0
            if not replace:
                return
        blocks = TextBlocks(file, replace=replace)
        name = name_in(self.path, file)
        try:
            for number, piece in enumerate(cut(blocks, self.longest, self._separator), 1):
                if number > done:
                    self.counts["cut_documents"] += piece.part == 2
                    yield number, self._document(name, piece)
        except UnicodeDecodeError:
            raise refuse_encodings(self.path, self._files) from None
        self.counts["returns"] += blocks.had_returns

    def _document(self, name: str, piece: Piece) -> Document:
        """A document of a file, or a part of one."""
        if self._separator is None:
            whole = make_document("text", name, name, piece.text)
        else:
            place = f"{name}:{piece.document + 1}"
            whole = make_document("text", place, place, piece.text if piece.part else piece.text.strip())
        return part_of(whole, piece.part, piece.text) if piece.part else whole
