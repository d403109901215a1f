"""The documentation as the tests read it: pages, fenced blocks, shell lines, inline code, links."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_FENCE = re.compile(r"^```(\w*)\s*$")
_SPAN = re.compile(r"`([^`]+)`")
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


@dataclass(frozen=True)
class ShellLine:
    """One command of a shell block, its continuation lines joined."""

    block: Block
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.block}: {shlex.join(self.words)}"


def pages() -> list[Path]:
    """Every page, written by hand or generated, the README first."""
    top = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "data/README.md")]
    return top + sorted((ROOT / "docs").rglob("*.md"))


@cache
def _read(page: Path) -> tuple[tuple[Block, ...], str]:
    """Blocks, and the text outside of them."""
    blocks, outside, open_at, language, inside = [], [], 0, "", []
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1):
        fence = _FENCE.match(line.strip())
        if fence and not open_at:
            open_at, language, inside = number, fence[1], []
        elif fence:
            blocks.append(Block(page, open_at + 1, language, "\n".join(inside) + "\n"))
            open_at = 0
        else:
            (inside if open_at else outside).append(line)
    if open_at:
        raise AssertionError(f"{page}: the block of line {open_at} is never closed")
    return tuple(blocks), "\n".join(outside)


def blocks(page: Path, language: str | None = None) -> list[Block]:
    """The fenced blocks of a page, or those in one language."""
    return [block for block in _read(page)[0] if language in (None, block.language)]


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return _read(page)[1]


def spans(page: Path) -> list[str]:
    """Inline code of a page, each in one line."""
    return [" ".join(span.split()) for span in _SPAN.findall(prose(page))]


def words_of(page: Path) -> str:
    """The page without code and without the targets of its links."""
    return _LINK.sub(" ", _SPAN.sub(" ", prose(page)))


def links(page: Path) -> list[str]:
    """Targets of links and images."""
    return _LINK.findall(prose(page))


def anchors(page: Path) -> set[str]:
    """What `#...` may name on a page, by GitHub's rule."""
    found: set[str] = set()
    for heading in _HEADING.findall(prose(page)):
        text = _LINK.sub(lambda match: match[0].partition("]")[0].lstrip("!["), heading).replace("`", "")
        slug = re.sub(r"[^\w\- ]", "", text.lower()).strip().replace(" ", "-")
        number = 0
        while (unique := slug if number == 0 else f"{slug}-{number}") in found:
            number += 1
        found.add(unique)
    return found


def shell_lines() -> Iterator[ShellLine]:
    """Every command of every shell block."""
    for page in pages():
        for block in blocks(page, "sh"):
            for line in block.text.replace("\\\n", " ").splitlines():
                yield from _commands(block, shlex.split(line, comments=True))


@cache
def made_by_init() -> frozenset[str]:
    """Configs that commands on the pages write by `segcct init DIR`."""
    made = [line.words[2] for line in shell_lines() if line.words[:2] == ("segcct", "init")]
    return frozenset(f"configs/{Path(folder).name}.yaml" for folder in made)


def _commands(block: Block, words: list[str]) -> Iterator[ShellLine]:
    """A line's commands, without the variables set before them."""
    while words:
        end = words.index("&&") if "&&" in words else len(words)
        command, words = words[:end], words[end + 1 :]
        while command and re.match(r"^[A-Z_]+=", command[0]):
            command.pop(0)
        if command:
            yield ShellLine(block, tuple(command))
