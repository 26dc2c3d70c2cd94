"""A folder of made-up texts."""

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
