"""The command line: `monosema`.

Light to import: what a command needs is imported when it runs.
"""

import errno
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from data.errors import ConfigError, MonosemaError
from data.layout import RunPaths, StorePaths, default_store
from pipeline.memory import collect_seldom
from pipeline.models.errors import ModelError
from pipeline.progress import log
from pipeline.runs import parts_of, run_checked, run_checked_stage, run_stage, will_ask_judges
from pipeline.stages import STAGES

if TYPE_CHECKING:
    from socket import socket

    from pipeline.recipe import ReadRecipe

INTERRUPTED = 130
CANNOT_WRITE = {errno.EACCES, errno.ENOTDIR, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT}

app = typer.Typer(
    help="Sparse autoencoders for Llama models: from a corpus to a dashboard of features.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

RecipeOption = Annotated[str, typer.Option("--recipe", help="A recipe by name (sample), or the path of a .toml file.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.FIELD=VALUE", help="Change one field of the recipe. May be repeated."),
]
StoreOption = Annotated[
    Path | None, typer.Option("--store", help="Folder of all artifacts. Else MONOSEMA_STORE, or data/store.")
]
RunOption = Annotated[str | None, typer.Option("--run", help="Name of a published run. Else the newest.")]
HostOption = Annotated[str, typer.Option(help="Address to listen on.")]
PortOption = Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")]


def main() -> None:
    """Run the command line. An error that a person can fix is one message on stderr, and exit status 1."""
    collect_seldom()
    try:
        app()
    except (MonosemaError, ModelError) as error:
        _fail(str(error))
    except OSError as error:
        if error.errno not in CANNOT_WRITE:
            raise
        _fail(f"{error.filename or 'the store'} cannot be written ({error.strerror}): make room, or choose --store")
    except SystemExit as ending:
        if ending.code == INTERRUPTED:
            print("stopped; run the same command to go on", file=sys.stderr)
        raise


def _fail(message: str) -> None:
    print(f"error: {message}", file=sys.stderr)
    raise SystemExit(1)


@app.command("run")
def run_command(
    recipe: RecipeOption = "sample",
    until: Annotated[str, typer.Option(help="Stop after this stage.")] = STAGES[-1],
    set_: SetOption = None,
    store: StoreOption = None,
) -> None:
    """Take a recipe through all stages; those that are up to date are not run again."""
    if until not in STAGES:
        raise ConfigError(f"there is no stage '{until}': use one of {', '.join(STAGES)}")
    read, paths = _read(recipe, set_, store)
    run_checked(read, paths, until)
    if until == STAGES[-1]:
        _summarise(read, paths, "")


def _add_stage_command(name: str) -> None:
    def command(recipe: RecipeOption = "sample", set_: SetOption = None, store: StoreOption = None) -> None:
        run_checked_stage(name, *_read(recipe, set_, store))

    app.command(name, help=f"Run stage `{name}` alone; the stages that it needs must stand.")(command)


for _name in STAGES:
    if _name != "scale":  # has options of its own
        _add_stage_command(_name)


@app.command()
def scale(
    recipe: RecipeOption = "sample-scaling",
    budget: Annotated[
        str | None, typer.Option(help="Say what it should buy: 200gpu-hours, 3hours, 1e18FLOPs or 5e8tokens.")
    ] = None,
    write_recipe: Annotated[
        Path | None, typer.Option(help="With --budget: write the recipe that trains what it should buy.")
    ] = None,
    set_: SetOption = None,
    store: StoreOption = None,
) -> None:
    """Train a grid of small autoencoders, fit scaling laws to it, and say which size and tokens a budget should buy."""
    from pipeline.commands.scaling import check_asked, print_scaling

    read, paths = _read(recipe, set_, store)
    asked = check_asked(read, budget, write_recipe)
    run_checked(read, paths, until="harvest")
    print_scaling(read.recipe, paths, run_stage("scale", read.recipe, paths), asked)


@app.command()
def serve(host: HostOption = "127.0.0.1", port: PortOption = 8000, store: StoreOption = None) -> None:
    """Serve what is published."""
    from pipeline.commands import serving

    listener = serving.take_port(host, port)
    serving.require_published(_store(store))
    serving.serve_store(_store(store), listener)


@app.command()
def demo(
    serve: Annotated[bool, typer.Option(help="Serve at the end.")] = True,
    host: HostOption = "127.0.0.1",
    port: PortOption = 8000,
    set_: SetOption = None,
    store: StoreOption = None,
) -> None:
    """Run the sample recipe from nothing to a dashboard, and serve it."""
    from pipeline.commands import serving

    listener = serving.take_port(host, port) if serve else None
    read, paths = _read("sample", set_, store)
    run_checked(read, paths)
    _end_run(read, paths, host, port, listener)


def _summarise(read: "ReadRecipe", paths: RunPaths, address: str) -> None:
    """The summary of each run of a recipe."""
    from pipeline.commands.summary import print_summary

    for _, of_one in parts_of(read.recipe, paths):
        print_summary(paths.store, of_one.run, address)


def _end_run(
    read: "ReadRecipe", paths: RunPaths, host: str, port: int, listener: "socket | None", note: str = ""
) -> None:
    """The summary of a run, a note on it, and then its server if one is asked for."""
    from pipeline.commands import serving

    address = f"http://{host}:{listener.getsockname()[1] if listener else port}"
    _summarise(read, paths, address)
    if note:
        log(note)
    if listener is None:
        log("`make demo`, or `monosema serve`, serves it")
    else:
        serving.serve_store(paths.store, listener)


@app.command()
def show(
    sae: Annotated[
        str, typer.Argument(help="The SAE: a folder, a Hub id with the folder in it, or saelens:RELEASE/ID.")
    ],
    model: Annotated[str | None, typer.Option(help="Folder or Hub id, or sample. Else what the SAE names.")] = None,
    corpus: Annotated[str | None, typer.Option(help="Folder, file or Hub dataset, or sample. Else the SAE's.")] = None,
    layer: Annotated[int | None, typer.Option(help="Layer that it reads, from 0. Else what the SAE says.")] = None,
    hook: Annotated[
        str | None, typer.Option(help="resid_pre, resid_mid, resid_post, attn or mlp. Else what the SAE says.")
    ] = None,
    tokens: Annotated[int, typer.Option(min=1, help="Tokens of the corpus to read, of documents at random.")] = 300_000,
    context_length: Annotated[int | None, typer.Option(min=8, help="Tokens of a sequence. Else the SAE's.")] = None,
    format_: Annotated[str | None, typer.Option("--format", help="Format of its files. Else told by them.")] = None,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of the SAE on the Hub.")] = None,
    normalise: Annotated[
        str | None, typer.Option(help="none, mean_norm, layer_norm or constant_norm, where its files are wrong.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the run. Else made of model and SAE.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:N or mps.")] = "cpu",
    full: Annotated[bool, typer.Option("--full", help="Measure all that a recipe measures; slower.")] = False,
    anyway: Annotated[bool, typer.Option("--anyway", help="Go on where the SAE does not seem to fit.")] = False,
    serve: Annotated[bool, typer.Option(help="Serve at the end.")] = True,
    host: HostOption = "127.0.0.1",
    port: PortOption = 8000,
    set_: SetOption = None,
    store: StoreOption = None,
) -> None:
    """Show an SAE that is there already: its features on a corpus, from its files to a dashboard."""
    from pipeline.commands import serving, showing

    listener = serving.take_port(host, port) if serve else None
    settings = tuple(set_ or ())
    asked = showing.Asked(
        sae, model, corpus, layer, tokens, context_length, format_, revision, normalise, name, device, settings, hook,
        full,
    )  # fmt: skip
    read = showing.with_chats(showing.make_show_recipe(asked, _store(store)), _store(store))
    paths = _store(store).run(read.recipe.name)
    run_checked(read, paths, trial=lambda: showing.refuse_misfit(read.recipe, paths.store, anyway=anyway))
    _end_run(read, paths, host, port, listener, note="" if full else showing.MORE)


@app.command()
def plan(recipe: RecipeOption = "sample", set_: SetOption = None, store: StoreOption = None) -> None:
    """Say what a recipe needs (tokens, disk and memory), and what keeps it from running here."""
    from pipeline.commands.plan import print_plan

    read, paths = _read(recipe, set_, store)
    print_plan(read, paths, asks_judges=will_ask_judges(read, paths))


@app.command()
def doctor(
    run: RunOption = None,
    deep: Annotated[bool, typer.Option("--deep", help="Read all that is published and compare its hashes.")] = False,
    store: StoreOption = None,
) -> None:
    """Prove a published run: compute samples of it anew and compare."""
    from pipeline.doctor.doctor import run_doctor

    if not run_doctor(_store(store), run, deep):
        raise SystemExit(1)


@app.command()
def unpublish(run: Annotated[str, typer.Argument(help="Name of a published run.")], store: StoreOption = None) -> None:
    """Take a published run off the pages. What people made stays, and what the run was made of."""
    from pipeline.commands import removing

    removing.unpublish(_store(store), run)


@app.command("export")
def export_command(
    target: Annotated[Path, typer.Argument(help="The .tar file to write; with --format, the folder to make.")],
    run: RunOption = None,
    format_: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="Write the SAEs for saelens, sparsify or dictionary_learning, or their pages for neuronpedia.",
        ),
    ] = None,
    sae: Annotated[str | None, typer.Option(help="With --format: this SAE alone.")] = None,
    push: Annotated[
        str | None, typer.Option(help="With --format: put them into this repository of the Hub, too. Needs HF_TOKEN.")
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="With --push: for a repository that is made.")] = False,
    store: StoreOption = None,
) -> None:
    """Write a published run to one file, or its SAEs for other libraries."""
    if format_ is not None:
        from pipeline.commands.exporting import export_to

        export_to(_store(store), run, sae, format_, target, push, private=private)
        return
    if push is not None:
        raise ConfigError("--push puts SAEs on the Hub: say in which format, e.g. --format saelens")
    from pipeline.publishing.archive import export_run

    log(f"run '{export_run(_store(store), run, target)}' is in {target}")


@app.command("import")
def import_command(
    source: Annotated[Path, typer.Argument(help="A file that `export` wrote.")], store: StoreOption = None
) -> None:
    """Publish the run of an exported file in this store."""
    from pipeline.publishing.archive import import_run

    log(f"run '{import_run(_store(store), source)}' is published: `monosema serve` shows it")


def _store(path: Path | None) -> StorePaths:
    return default_store() if path is None else StorePaths(path.expanduser().resolve())


def _read(recipe: str, overrides: list[str] | None, store: Path | None) -> tuple["ReadRecipe", RunPaths]:
    """The recipe as far as it can be read; what is wrong with it is told together with all else that is wrong."""
    from pipeline.recipe import read_recipe

    read = read_recipe(recipe, overrides or [])
    return read, _store(store).run(read.recipe.name)


if __name__ == "__main__":
    main()
