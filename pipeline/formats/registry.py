"""SAEs that SAELens knows by release and id, through SAELens itself: `saelens:RELEASE/ID`, an optional extra.

Whatever it loads it saves as one of its own folders, which saelens.py reads like any other.
"""

import json
from pathlib import Path

from data.errors import FormatError
from pipeline.formats.saelens import CONFIG_FILE

PREFIX = "saelens:"


def release_of(source: str) -> str | None:
    """The release that a source of an SAE names; None where it is a folder or a Hub id."""
    return source.removeprefix(PREFIX) if source.startswith(PREFIX) else None


def split_release(source: str) -> tuple[str, str]:
    """Of `saelens:RELEASE/ID` the release, with the prefix, and the id. Raises FormatError where one is missing."""
    release, _, sae_id = source.removeprefix(PREFIX).partition("/")
    if not release or not sae_id:
        raise FormatError(f"{source} names no SAE: write saelens:RELEASE/ID, as SAELens lists its pretrained SAEs")
    return PREFIX + release, sae_id


def require_saelens() -> None:
    """Raise FormatError where SAELens is not installed."""
    try:
        import sae_lens  # noqa: F401
    except ImportError as error:
        raise FormatError(
            f"SAEs by release and id come through SAELens, which is not installed here ({error}): install it with "
            'pip install "monosema[saelens]"'
        ) from None


def save_pretrained(release: str, sae_id: str, folder: Path) -> None:
    """Have SAELens load an SAE and save it in a folder. Raises FormatError, with what SAELens says of it."""
    require_saelens()
    from sae_lens import SAE

    try:
        SAE.from_pretrained(release, sae_id, device="cpu").save_model(folder)
    except Exception as error:  # of its own, the Hub's or the network's: each means that there is no such SAE here
        raise FormatError(f"SAELens cannot load '{sae_id}' of release '{release}': {error}") from error
    _name_model(folder / CONFIG_FILE)


def _name_model(file: Path) -> None:
    """Give the language model the Hub id that TransformerLens has for its name, where it has one."""
    from transformer_lens.loading_from_pretrained import get_official_model_name

    config = json.loads(file.read_text(encoding="utf-8"))
    metadata = config.setdefault("metadata", {})
    try:
        official = get_official_model_name(str(metadata.get("model_name")))
    except ValueError:
        return
    if "/" in official:
        metadata["model_name"] = official
        file.write_text(json.dumps(config, indent=1), encoding="utf-8")
