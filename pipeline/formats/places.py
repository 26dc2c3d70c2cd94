"""Where a foreign SAE lies: a local folder, or a repository of the Hub with a folder in it, fetched once; or a release
that SAELens knows."""

import shutil
from collections.abc import Collection
from pathlib import Path, PurePosixPath

from data.errors import FormatError
from data.layout import StorePaths
from pipeline.fetching.ensure import fetch_once, folder_name
from pipeline.fetching.local import fingerprint, local_folder
from pipeline.formats import dictionary_learning, gemma_scope, monosema, openmoss, registry, saelens, sparsify
from pipeline.recipe.imports import SAESource

FILES = (
    *("cfg.json", "config.json", "hyperparams.json", "sae_weights.safetensors", "sae.safetensors", "ae.pt"),
    *("params.npz", "params.safetensors", "checkpoints/final.safetensors", "activation_scaler.json"),
    "activation_whitening.safetensors",
)
"""Files that any of the formats reads."""
READERS = (saelens, openmoss, sparsify, dictionary_learning, gemma_scope, monosema)
FOLDERS_NAMED = 8


def split_source(source: str) -> tuple[str, str]:
    """A local folder as it is; of a Hub id with more parts than two, the id and the folder in the repository; of
    saelens:RELEASE/ID the release and the id. Raises FormatError."""
    if registry.release_of(source) is not None:
        return registry.split_release(source)
    parts = source.strip("/").split("/")
    if Path(source).expanduser().is_dir() or source.startswith((".", "/", "~")) or len(parts) < 3:
        return source, ""
    return "/".join(parts[:2]), "/".join(parts[2:])


def ensure_sae(config: SAESource, store: StorePaths) -> Path:
    """The local folder of the SAE, fetched unless it is there. Raises FormatError, ConfigError or ModelError."""
    if (release := registry.release_of(config.source)) is not None:
        return _ensure_release(release, config, store)
    local = local_folder(config.source, config.field)
    if local is not None:
        return _below(local, config.folder)
    name = folder_name(f"{config.source}/{config.folder}" if config.folder else config.source, config.revision)
    if not (store.saes / name).is_dir():
        _require_one(config)
    return _below(fetch_once(store.saes / name, lambda partial: _fetch(config, partial)), config.folder)


def _ensure_release(release: str, config: SAESource, store: StorePaths) -> Path:
    """The folder into which SAELens saved an SAE that it knows."""
    if config.revision is not None or ".." in PurePosixPath(config.folder).parts:
        raise FormatError(f"{config.source}/{config.folder}: SAELens knows releases and ids alone, without a revision")
    kept = store.saes / folder_name(f"{config.source}/{config.folder}", None)
    if not kept.is_dir():
        registry.require_saelens()
    found = fetch_once(kept, lambda partial: registry.save_pretrained(release, config.folder, partial / config.folder))
    return _below(found, config.folder)


def sae_key(folder: Path) -> str:
    """Changes when one of the SAE's files does; of names, sizes and times alone."""
    return fingerprint(sorted(folder / name for name in FILES if (folder / name).is_file()), folder)


def _below(root: Path, folder: str) -> Path:
    found = (root / folder).resolve()
    if not found.is_relative_to(root) or not found.is_dir():
        raise FormatError(f"{root} has no folder '{folder}': {_named(_folders(_local_names(root)))}")
    return found


def check_holds_one(folder: Path) -> None:
    """Raise FormatError when a folder holds no SAE of any format, with those below it that do."""
    if not _recognised(names := _local_names(folder)):
        raise FormatError(f"{folder} holds no SAE of a known format: {_named(_folders(names))}")


def _require_one(config: SAESource) -> None:
    """Raise FormatError when the repository's folder holds no SAE, with those that do. Nothing is written."""
    from pipeline.fetching import hub

    names = set(hub.list_files(config.source, config.revision, config.field))
    prefix = _prefix(config)
    if not _recognised({name.removeprefix(prefix) for name in names if name.startswith(prefix)}):
        where = f"{config.source}/{config.folder}".rstrip("/")
        raise FormatError(f"{where} holds no SAE of a known format: {_named(_folders(names))}")


def _prefix(config: SAESource) -> str:
    return f"{config.folder.strip('/')}/" if config.folder else ""


def _fetch(config: SAESource, partial: Path) -> None:
    from pipeline.fetching import hub

    prefix = _prefix(config)
    above = str(PurePosixPath(config.folder).parent / "config.json") if config.folder else "config.json"
    hub.download(config.source, config.revision, partial, [*(prefix + name for name in FILES), above], config.field)
    shutil.rmtree(partial / ".cache", ignore_errors=True)


def _local_names(folder: Path) -> set[str]:
    """Files that formats read, down to three folders below."""
    return {
        path.relative_to(folder).as_posix()
        for depth in ("", "*/", "*/*/", "*/*/*/")
        for name in FILES
        for path in folder.glob(f"{depth}{name}")
    }


def _recognised(names: set[str]) -> bool:
    return any(reader.recognises(names) for reader in READERS)


def _folders(names: Collection[str]) -> list[str]:
    """Folders that hold an SAE, by the names of all files."""
    found: dict[str, set[str]] = {}
    for name in names:
        for wanted in FILES:
            if name == wanted or name.endswith(f"/{wanted}"):
                found.setdefault(name.removesuffix(wanted).rstrip("/"), set()).add(wanted)
    return sorted(folder for folder, held in found.items() if folder and _recognised(held))


def _named(folders: list[str]) -> str:
    if not folders:
        return "give the folder that holds its cfg.json and its weights"
    more = len(folders) - FOLDERS_NAMED
    listed = ", ".join(folders[:FOLDERS_NAMED]) + (f" and {more:,} more" if more > 0 else "")
    return f"give one of those below it: {listed}"
