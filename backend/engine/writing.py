"""The worker's generation of unsteered text, step by step."""

from collections.abc import Iterator, Sequence

from backend.engine.messages import Draw, Prompt
from backend.engine.models import sink_norm
from backend.engine.reading import Reader
from backend.exceptions import RefusedError
from backend.published.catalogue import OpenRun


def write(
    reader: Reader, run: OpenRun, asked: Sequence[tuple[Prompt, Draw]], max_rows: int
) -> Iterator[list[str] | None]:
    """Continue each prompt with sampling parameters of its own, `max_rows` at a time; for `Engine.steps`."""
    from pipeline.models.errors import ModelError

    texts: list[str] = []
    try:
        for start in range(0, len(asked), max_rows):
            batch = asked[start : start + max_rows]
            written: list[list[bytes]] = [[] for _ in batch]
            for _ in _write_batch(reader, run, batch, written):
                yield None
            texts += [b"".join(pieces).decode("utf-8", "ignore") for pieces in written]
    except ModelError as error:
        raise RefusedError(str(error)) from None
    yield texts


def _write_batch(
    reader: Reader, run: OpenRun, asked: Sequence[tuple[Prompt, Draw]], written: list[list[bytes]]
) -> Iterator[None]:
    """Write token by token into `written`."""
    from pipeline.models.generate import End, Row, Sampling, generate

    loaded = reader.models.load(run)
    rows = []
    for prompt, draw in asked:
        sampling = Sampling(draw.temperature, draw.top_p, draw.max_new_tokens, draw.seed)
        rows.append(Row(reader.tokenize(run, prompt, draw.max_new_tokens), (), sampling))
    for step in generate(loaded.decoder, rows, sink_norm=sink_norm(run)):
        for event in step:
            if not isinstance(event, End) and event.probability is not None:
                written[event.row].append(loaded.pieces[event.token])
        yield None
