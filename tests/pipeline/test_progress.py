"""The plain lines of a long step; the bar is drawn once to see that it can be."""

import pytest

from pipeline import progress


def test_a_plain_line_now_and_then_and_one_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    lines = progress.Progress("harvest", 1000, "tok", done=100, clock=lambda: now)
    lines.advance(200)
    assert capsys.readouterr().err == ""
    now = 10.0
    lines.advance(200, loss=1.23456)
    assert capsys.readouterr().err == "harvest: 500 of 1,000 tok (50%), 40 tok/s, 13 s left, loss 1.235\n"
    now = 25.0
    lines.close(finished=True)
    assert capsys.readouterr().err == "harvest: 500 tok in 25 s, 16 tok/s, loss 1.235\n"


def test_unknown_total_and_no_progress(capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    lines = progress.Progress("read", None, "doc", clock=lambda: now)
    now = 10.0
    lines.advance(0)
    assert capsys.readouterr().err == "read: 0 doc, 0 doc/s\n"


def test_an_error_passes_and_says_how_far_it_came(capsys: pytest.CaptureFixture[str]) -> None:
    def fails() -> None:
        with progress.track("train", 5, "step") as bar:
            bar.advance(2)
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert "train: stopped after 2 step in " in capsys.readouterr().err


def test_the_bar_is_drawn_and_log_lines_keep_their_brackets(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    progress.console.cache_clear()
    try:
        with progress.track("train", 10, "step") as bar:
            bar.advance(5, loss=0.5, state="[warm]")
            progress.log("a [bold] line")
    finally:
        progress.console.cache_clear()
    drawn = capsys.readouterr().err
    assert "a [bold] line" in drawn
    assert "[warm]" in drawn
    assert "━" in drawn


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.44, "0.4 s"), (12.3, "12 s"), (187, "3:07"), (3723, "1:02:03"), (3599.9, "1:00:00")]
)
def test_format_seconds(seconds: float, text: str) -> None:
    assert progress.format_seconds(seconds) == text
