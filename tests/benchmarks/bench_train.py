"""Training three sizes from one reading of the shards against three separate trainings, as a person would start them.

Both are whole commands on the sample's own activations: process start, reading, training, saving.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from data.errors import ArtifactError
from data.layout import StorePaths, default_store
from data.manifests import require_stage
from pipeline.recipe import SAEConfig, load_recipe
from tests.benchmarks.table import Row

RECIPE = "sample"
INPUTS = ("fetch", "tokenize", "harvest")


def run() -> list[Row]:
    recipe = load_recipe(RECIPE)
    sizes = [sae for sae in recipe.train.saes if sae.architecture == "relu"]
    with tempfile.TemporaryDirectory() as scratch:
        store = linked_store(Path(scratch))
        together = seconds_to_train(store, sizes)
        apart = sum(seconds_to_train(store, [sae]) for sae in sizes)
    names = " + ".join(f"{sae.num_features:,}" for sae in sizes)
    note = f"ReLU {names}, one command each, one after the other; at least 1.3"
    return [Row("training three sizes", f"{together:.1f} s", f"{apart:.1f} s", apart / together, note)]


def linked_store(folder: Path) -> StorePaths:
    """An empty store that shares what the sample has harvested."""
    source, store = default_store().run(RECIPE), StorePaths(folder)
    store.run(RECIPE).root.mkdir(parents=True)
    for stage in INPUTS:
        try:
            require_stage(source, stage)
        except ArtifactError as error:
            raise SystemExit(
                f"the sample is not harvested ({error}): run `monosema run --recipe {RECIPE} --until harvest` first"
            ) from None
        store.run(RECIPE).stage(stage).symlink_to(source.stage(stage), target_is_directory=True)
    return store


def seconds_to_train(store: StorePaths, saes: Sequence[SAEConfig]) -> float:
    """Wall time of `monosema train` with these autoencoders."""
    tables = ", ".join(toml_table(sae) for sae in saes)
    command = [sys.executable, "-m", "pipeline.cli", "train", "--recipe", RECIPE, "--store", str(store.root)]
    start = time.perf_counter()
    subprocess.run([*command, "--set", f"train.saes=[{tables}]"], check=True, capture_output=True, env=os.environ)
    return time.perf_counter() - start


def toml_table(sae: SAEConfig) -> str:
    """The autoencoder as an inline table of TOML, as `--set` takes it."""
    fields = sae.model_dump(exclude_none=True).items()
    pairs = (f'{name} = "{value}"' if isinstance(value, str) else f"{name} = {value}" for name, value in fields)
    return f"{{{', '.join(pairs)}}}"


if __name__ == "__main__":
    for row in run():
        print(*row, sep="\t")
