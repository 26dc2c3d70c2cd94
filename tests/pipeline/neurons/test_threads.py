"""Pieces side by side: all are done, each by a thread that runs its operators alone, and errors come out."""

from collections.abc import Iterator

import pytest
import torch

from pipeline.neurons.threads import run_side_by_side


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_all_pieces_are_done(device: str) -> None:
    done: list[tuple[int, int]] = []
    run_side_by_side((lambda n=n: done.append((n, torch.get_num_threads())) for n in range(40)), device)
    assert sorted(n for n, _ in done) == list(range(40))
    assert {threads for _, threads in done} == {1 if device == "cpu" else 2}
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_what_a_piece_raises_comes_out() -> None:
    def fail() -> None:
        raise RuntimeError("a piece")

    with pytest.raises(RuntimeError, match="a piece"):
        run_side_by_side([fail], "cpu")
