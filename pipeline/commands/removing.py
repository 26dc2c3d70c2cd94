"""`monosema unpublish`: taking a published run off the pages."""

from contextlib import nullcontext

from data.layout import StorePaths
from data.published.state import make_invisible, visible_key
from pipeline.progress import log
from pipeline.stage import alone


def unpublish(store: StorePaths, run: str) -> None:
    """Remove what is published of a run, and say what stays.

    Raises ConfigError where no such run is published, ArtifactError while it is being published, StorageError where
    files cannot be removed.
    """
    paths = store.run(run)
    is_made_here = visible_key(paths) is not None and paths.root.is_dir()
    with alone(paths, "publish") if is_made_here else nullcontext():
        make_invisible(paths)
    said = f"run '{run}' is no longer published; lists, labels, verdicts, prompts and texts that people made stay"
    if paths.root.is_dir():
        said += f", and so does what it was made of, in {paths.root}: to run its recipe publishes it again"
    log(said)
