"""Publish: what the server reads of a run, in LanceDB, and its rows in SQL. The only stage that writes either.

The artifact in runs/ is its manifest alone, whose key names the published folder (see data/published/state.py). The run
becomes visible, or changes, by the SQL transaction that ends the stage; until then the earlier state is served.

Shapes: F features of one SAE, R features of all SAEs, S SAEs, D width.
"""

import shutil
from typing import Any

from data.layout import RunPaths
from data.manifests import Manifest, load_manifest
from data.published.state import is_intact, is_visible, make_visible, refuse_taken
from pipeline.publishing.folder import publish_config, write_folder
from pipeline.recipe import Recipe
from pipeline.stage import Stage, Work
from pipeline.stages import STAGES


class PublishStage(Stage):
    """A stage whose artifact must also stand where the server looks for it."""

    def run(self, recipe: Recipe, paths: RunPaths) -> Manifest:
        refuse_taken(paths.store, paths.run, recipe.model.name, recipe.sae_names)
        finished = paths.stage(self.name)
        if is_intact(finished) and not is_intact(paths.published(load_manifest(finished).key)):
            shutil.rmtree(finished)
        manifest = super().run(recipe, paths)
        if not is_visible(paths, manifest.key):  # killed before it was
            make_visible(paths, manifest.key)
        return manifest


def _work(work: Work) -> dict[str, Any]:
    folder = work.paths.published(work.key)
    if not is_intact(folder):
        write_folder(work, folder)
    return load_manifest(folder).counts


STAGE = PublishStage(
    name="publish",
    version=5,  # interest by what words tell, compounds and words without spaces in the search
    work=_work,
    config=publish_config,
    needs=STAGES[:-1],
    finish=lambda work: make_visible(work.paths, work.key),
)
run = STAGE.run
