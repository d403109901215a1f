"""Hostile names: nothing that came from outside moves the cursor, computes in a spreadsheet, or becomes markup."""

from __future__ import annotations

import io
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from segcct import cli
from segcct.errors import DataError, RunError
from segcct.escape import TerminalStream, for_cell, for_markdown, for_terminal, from_cell, in_a_line
from segcct.figures.sheet import draw_sheet, encode
from segcct.progress import Progress, say

CLEAR = "\x1b[2J"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("scan_01, Müller 東京", "scan_01, Müller 東京"),
        (f"{CLEAR}x", r"\x1b[2Jx"),
        ("a\rb\bc\x07", r"a\rb\x08c\x07"),
        ("\x9b31m", r"\x9b31m"),
        ("gnp.\u202etxt", r"gnp.\u202etxt"),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
    ],
)
def test_a_terminal_shows_control_characters_and_does_not_obey_them(text, shown):
    assert for_terminal(text) == shown


def test_a_name_in_a_message_is_one_line():
    assert in_a_line(f"a\nsegcct: all is well{CLEAR}") == r"a\nsegcct: all is well\x1b[2J"
    assert str(DataError("is damaged", file="a\nb.nii")) == r"a\nb.nii: is damaged"


@pytest.mark.parametrize(
    "text", ["=HYPERLINK(A1)", "+1+cmd|'/c calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\uff1d1+1", "'=1"]
)
def test_what_a_spreadsheet_takes_for_a_formula_gets_an_apostrophe(text):
    assert for_cell(text) == "'" + text
    assert from_cell(for_cell(text)) == text


@pytest.mark.parametrize("value", ["-0.5", "+1e-3", "-inf", "", "case_1", "'quoted'", -0.5, None, 3])
def test_numbers_and_plain_text_stay(value):
    assert for_cell(value) == value


@given(st.text())
def test_cells_are_read_as_they_were_written(text):
    assert from_cell(for_cell(text)) == text


@given(st.text())
def test_no_cell_begins_as_a_formula(text):
    written = for_cell(text)
    if written[:1] in set("=+-@\t\r"):
        float(written)


def test_a_name_that_is_no_utf8_is_written_as_text_and_read_as_it_was():
    name = b"\xff=1".decode(errors="surrogateescape")
    assert for_cell(name) == r"\udcff=1"
    assert from_cell(for_cell(name)) == name


def test_markdown_cells_hold_no_markup():
    assert for_markdown("a|b<script>`c`\nd") == r"a\|b&lt;script>\`c\`\nd"


def test_progress_and_lines_on_stderr_keep_their_own_control_characters_only(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", TerminalStream(terminal))
    say(f"{CLEAR}case")
    Progress(f"{CLEAR}case")(1, 1)
    shown = terminal.getvalue()
    assert CLEAR not in shown
    assert shown.count(r"\x1b[2J") == 2
    assert shown.startswith("\x1b[K")


def test_commands_print_no_control_character_of_a_name(monkeypatch, capsys, tmp_path):
    def run(parsed):
        print(f"{CLEAR}printed")
        raise RunError(f"{CLEAR}failed", file=f"{CLEAR}\n", found=CLEAR)

    monkeypatch.setattr("segcct.commands.dataset_commands._phantom", run)
    assert cli.main(["phantom", "acdc", str(tmp_path)]) == 1
    shown = capsys.readouterr()
    assert "\x1b" not in shown.out + shown.err
    assert shown.err.count("\n") == 1


def test_titles_of_pictures_are_one_line_and_pictures_hold_no_text():
    picture = Image.new("RGB", (640, 64))
    plain, hostile = (draw_sheet([("", picture)], title, "", {}, {}) for title in ("a", f"a\n\n{CLEAR}"))
    assert plain.size == hostile.size
    png = Image.open(io.BytesIO(encode(hostile, ["#ff0000"])))
    assert png.info.keys() <= {"transparency", "dpi"}
