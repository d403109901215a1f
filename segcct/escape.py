"""Text from outside (file names, headers, tables) escaped for where it is written; one function per place.

Pages are escaped by their templates (`report.html.render`).
"""

from __future__ import annotations

import re
import unicodedata
from typing import Any, TextIO, TypeVar

_FORMULA = re.compile("'*[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
"""How a cell begins that a spreadsheet computes; in some languages the wide forms of = + - @ too."""
_ESCAPED_FORMULA = re.compile("'+[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
_ESCAPED_BYTE = re.compile(r"\\u(dc[89a-f][0-9a-f])")
Value = TypeVar("Value")


def for_terminal(text: str) -> str:
    """Without control characters, which move the cursor, clear the screen or turn the line around: each is written as
    `\\x1b`. Line ends and tabs stay."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(char if char in "\n\t" else _visible(char) for char in text)


def in_a_line(text: str) -> str:
    """As `for_terminal`, with line ends and tabs written out too: a name in a message, a title of a figure."""
    return text if text.isprintable() else "".join(_visible(char) for char in text)


def for_cell(value: Value) -> Value | str:
    """A cell of a table that a spreadsheet may open: text that it would take for a formula gets an apostrophe before
    it. Numbers, also as text, stay as they are; bytes of a name that are not UTF-8 are written as `\\udcff`;
    `from_cell` gives back what was written."""
    if not isinstance(value, str):
        return value
    text = value.encode(errors="backslashreplace").decode()
    return f"'{text}" if _FORMULA.match(text) and not _is_number(text) else text


def from_cell(text: str) -> str:
    """The inverse of `for_cell` for text."""
    if "\\" in text:
        text = _ESCAPED_BYTE.sub(lambda match: chr(int(match[1], 16)), text)
    return text[1:] if text.startswith("'") and _ESCAPED_FORMULA.match(text) else text


def for_markdown(text: str) -> str:
    """A name in a Markdown table: no cell, line or tag of its own."""
    return in_a_line(re.sub(r"([|\\`])", r"\\\1", text)).replace("<", "&lt;")


class TerminalStream:
    """A text stream through which no control character passes; `raw` is the stream itself, for our own."""

    def __init__(self, stream: TextIO) -> None:
        self.raw = stream

    def write(self, text: str) -> int:
        """Write `text` as `for_terminal` has it; returns its length."""
        self.raw.write(for_terminal(text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.raw, name)


def raw(stream: TextIO) -> TextIO:
    """The stream itself behind a `TerminalStream`."""
    return stream.raw if isinstance(stream, TerminalStream) else stream


def _visible(char: str) -> str:
    if char.isprintable() or unicodedata.category(char) not in ("Cc", "Cf", "Zl", "Zp", "Cs"):
        return char
    return ascii(char)[1:-1]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text.isprintable()
