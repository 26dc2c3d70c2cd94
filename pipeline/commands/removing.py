"""`monosema unpublish`: taking a published run off the pages."""

from data.layout import StorePaths
from data.published.state import make_invisible
from pipeline.progress import log


def unpublish(store: StorePaths, run: str) -> None:
    """Remove what is published of a run, and say what stays. Raises ConfigError where no such run is published."""
    paths = store.run(run)
    make_invisible(paths)
    said = f"run '{run}' is no longer published; lists, labels, verdicts, prompts and texts that people made stay"
    if paths.root.is_dir():
        said += f", and so does what it was made of, in {paths.root}: to run its recipe publishes it again"
    log(said)
