"""Text files: one file is one document, or several with a separator between them."""

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from pipeline.corpus.document import Document, State, make_document, part_of
from pipeline.corpus.encoding import TextBlocks, first_wrong_byte, refuse_encodings
from pipeline.corpus.files import FileKinds, name_in
from pipeline.corpus.pieces import Piece, cut
from pipeline.corpus.record_files import RecordFiles
from pipeline.recipe import CorpusConfig

TEXT_FILES = FileKinds((".txt", ".md"))


class TextFiles(RecordFiles):
    """Every .txt and .md file below a folder, or one such file; read in blocks, however large it is."""

    start: ClassVar[State] = {"file": 0, "pieces": 0}
    """`pieces`: documents of the file, and parts of long ones."""

    def __init__(self, path: Path, config: CorpusConfig) -> None:
        super().__init__(path, config, TEXT_FILES, "text files")
        self._separator, self._bad_encoding = config.separator, config.bad_encoding

    def _records_of(self, file: Path) -> Iterator[Document]:
        done, replace = self._place["pieces"], False
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
                    self._place["pieces"] = number
                    yield self._document(name, piece)
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
