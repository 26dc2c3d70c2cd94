"""Folders of made-up texts."""

import random
from pathlib import Path


def make_text_folder(folder: Path, num_files: int) -> None:
    """Files of made-up sentences: enough for a held-out share, and with words that a feature can find."""
    rng = random.Random(0)
    nouns = ["river", "engine", "teacher", "window", "garden", "signal", "market", "letter"]
    verbs = ["follows", "opens", "repairs", "paints", "measures", "forgets"]
    folder.mkdir()
    for number in range(num_files):
        sentences = [f"The {rng.choice(nouns)} {rng.choice(verbs)} the {rng.choice(nouns)}." for _ in range(60)]
        (folder / f"{number:03d}.txt").write_text(" ".join(sentences))


WORDS = ["the", "river", "storm", "king", "of", "bad", "weather", "ran", "over", "hills", "and", "houses", "while",
         "people", "slept"]  # fmt: skip


def make_word_folder(folder: Path, num_files: int, longest: int) -> None:
    """Files of 5 to `longest` random words."""
    rng = random.Random(0)
    folder.mkdir()
    for number in range(num_files):
        (folder / f"{number}.txt").write_text(" ".join(rng.choice(WORDS) for _ in range(rng.randint(5, longest))))
