"""The sentence encoder of search by meaning: loaded once, and asked on the caller's own thread.

It is one of the judges, too, and tries the label that a person writes as that judge would.

A query takes it a few milliseconds of NumPy, so it has no place in the queue of the language model's worker, and a
server without the `live` extra has it too.
"""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from cachetools import LRUCache

from backend.published.candidates import TriedText
from backend.published.catalogue import OpenRun
from backend.settings import Settings

if TYPE_CHECKING:
    from pipeline.models.sentences import SentenceEncoder

VECTORS_CACHED = 1024
"""Of what was typed lately."""
LEAST_LETTERS = 3
"""A shorter query means too little."""
YES = 0.5
"""Nearness from which on a judge says that a label fits."""
REQUIRED_PACKAGES = ("safetensors", "tokenizers")


class Sentences:
    """The encoder of a run's meanings, one in memory."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = Lock()
        self._loaded: tuple[Path, SentenceEncoder] | None = None
        self._failed: dict[Path, str] = {}
        self._vectors: LRUCache[tuple[Path, str], npt.NDArray[np.float32]] = LRUCache(VECTORS_CACHED)

    def why_off(self, run: OpenRun) -> str:
        """The reason why a run cannot be searched by meaning, and how to turn that on; "" when it can."""
        folder = self._folder(run)
        if folder is None or not run.tables.meaning_width:
            return 'The recipe of this run turns search by meaning off (embed.source = "none").'
        missing = [name for name in REQUIRED_PACKAGES if importlib.util.find_spec(name) is None]
        if missing:
            return f"Search by meaning needs {' and '.join(missing)}: `pip install {' '.join(missing)}` installs it."
        if not (folder / "config.json").is_file():
            return (
                f"Search by meaning needs the sentence encoder of this run in {folder}: run the recipe again, or copy "
                "it there."
            )
        return self._failed.get(folder, "")

    def vector(self, run: OpenRun, text: str) -> npt.NDArray[np.float32] | None:
        """The vector of a text, norm 1; None where search by meaning is off, or the text says too little."""
        folder, text = self._folder(run), " ".join(text.split())
        if folder is None or sum(map(str.isalpha, text)) < LEAST_LETTERS or self.why_off(run):
            return None
        vectors = self._encode(run, folder, [text])
        return None if vectors is None else vectors[0]

    def try_label(self, run: OpenRun, label: str, tried: Sequence[TriedText], task: str) -> list[bool] | None:
        """Whether a label is right about each text, by the judge `sentences` at a task; None where that is off."""
        from pipeline.models.nearness import different_texts, mark, nearness

        folder = self._folder(run)
        if folder is None or self.why_off(run):
            return None
        pairs = [(label, mark(one.pieces, one.marked if task == "fuzzing" else ())) for one in tried]
        vectors_ND = self._encode(run, folder, different_texts(pairs))
        if vectors_ND is None:
            return None
        shares = nearness(pairs, vectors_ND)
        return [(share >= YES) == one.active for share, one in zip(shares, tried, strict=True)]

    def _encode(self, run: OpenRun, folder: Path, texts: Sequence[str]) -> npt.NDArray[np.float32] | None:
        """The vectors of texts [N, D]; those of texts that were asked for lately are known. None without an encoder."""
        with self._lock:
            known = {text: vector for text in texts if (vector := self._vectors.get((folder, text))) is not None}
            missing = [text for text in dict.fromkeys(texts) if text not in known]
            encoder = self._encoder(folder, run.tables.meaning_width) if missing else None
        if missing and encoder is None:
            return None
        if encoder is not None:
            known |= zip(missing, encoder.encode(missing), strict=True)
            with self._lock:
                self._vectors.update({(folder, text): known[text] for text in missing})
        return np.stack([known[text] for text in texts])

    def _folder(self, run: OpenRun) -> Path | None:
        """The encoder's folder; an absolute one stays as it is."""
        name = run.record.corpus.get("embed", {}).get("encoder")
        return self._settings.paths.root / name if name else None

    def _encoder(self, folder: Path, width: int) -> "SentenceEncoder | None":
        """The encoder, loaded at first use; None when it cannot be, which `why_off` says from then on."""
        from pipeline.models.errors import ModelError
        from pipeline.models.sentences import SentenceEncoder

        if self._loaded is None or self._loaded[0] != folder:
            try:
                encoder = SentenceEncoder.load(folder)
            except ModelError as error:
                self._failed[folder] = str(error)
                return None
            self._loaded = (folder, encoder)
        encoder = self._loaded[1]
        if encoder.width != width:
            self._failed[folder] = f"The sentence encoder in {folder} is another than that of this run."
            return None
        return encoder
