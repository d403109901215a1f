"""Progress on stderr: plain lines now and then, a bar on a terminal, and the words for a duration."""

from __future__ import annotations

import errno
import io
import sys
import time

import pytest

from segcct.progress import Progress, duration, say


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (89, "89 s"), (95, "2 min"), (3540, "59 min"), (4800, "1 h 20 min")]
)
def test_duration(seconds, words):
    assert duration(seconds) == words


def test_plain_lines_come_now_and_then_and_at_the_end(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    progress = Progress("reading")
    for done in range(1, 41):
        now[0] += 1.0
        progress(done, 40)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "reading: 15/40 in 15 s, 25 s left",
        "reading: 30/40 in 30 s, 10 s left",
        "reading: 40/40 in 40 s",
    ]


def test_a_terminal_gets_one_line_that_is_rewritten(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    progress = Progress("reading")
    progress(2, 2)
    assert capsys.readouterr().err == "\r\x1b[Kreading: 2/2 in 0 s\n"


def test_a_terminal_that_is_gone_ends_no_work(monkeypatch):
    class Gone(io.StringIO):
        error: OSError = OSError(errno.EIO, "Input/output error")

        def write(self, text: str) -> int:
            raise self.error

    monkeypatch.setattr(sys, "stderr", Gone())
    say("the work goes on")
    Progress("reading")(2, 2)
    Gone.error = BrokenPipeError(errno.EPIPE, "Broken pipe")  # as of `2>&1 | head`, which ends the command
    with pytest.raises(BrokenPipeError):
        say("nobody reads this")
