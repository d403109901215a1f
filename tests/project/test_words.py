"""Texts for users are in the words of the field: those of MONAI, nnU-Net and scikit-learn."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.project.test_spelling import PACKAGE
from tests.support.documents import ROOT, pages, words_of

WORDS = {
    r"examinations?": "case",
    r"pictures?": "image, or figure for what is drawn",
    r"paint(?:ed|s|ing)?": "synthesize, class-mean fill",
    r"foretells?|foretold": "predict, correlate with",
    r"doubtful|to doubt": "flagged for review",
    r"judged?": "evaluate",
    r"shares? of": "fraction of",
    r"sds?": "std",
    r"beside": "next to, except, and",
    r"whole or not at all": "atomically",
    r"strangers?": "unknown arguments",
    r"dealt": "assigned",
    r"likeliest": "most probable",
    r"risen": "ramped up",
    r"mend(?:ed)?": "fix",
    r"go(?:es)? on with": "continue",
    r"stands? twice": "is listed twice",
    r"so many": "N",
    r"who (?:trains|validates|tests|selects)": "splits",
    r"(?<!there )is no (?:[\w.]+ )?(?:file|image|model|mask|folder|volume|array)": "is not a",
    r"(?:is|are|was|being) no (?:[\w.]+ )?(?:entry|images|lists?|multiple|numbers?|volumes?)": "is not a",
    r"as asked for": "as requested",
    r"likewise": "also",
    r"gone from": "missing from",
    r"(?:has|of) another (?:size|number)": "different",
    r"how it does on": "how well it performs on",
    r"told": "given, conditioned on",
    r"drawers?|doors?": "entry point",
    r"gain": "relative error reduction",
    r"take no notice": "ignore",
    r"anew": "again",
    r"more particular": "more specific",
    r"by now": "now",
    r"any ?more": "no longer",
    r"(?:test|of|which|one) side": "split",
    r"is sound": "no problems found",
    r"(?:is|are|and|was) (?:others|another)(?= (?:by now|file by))": "changed",
}
"""What does not stand in a text -> what does."""
NAMES = re.compile(r"`[^`]*`|--[\w.-]+|\b\w+(?:[._/]\w+)+|\bpictures/")
"""Keys, options, columns and files, which keep the names they were stored under."""
IN_NAMES = re.compile(r"examination|picture|paint|foretell|doubt|judge|stranger|drawer|painter|beside")
PATTERN = re.compile(rf"\b(?:{'|'.join(WORDS)})\b", re.IGNORECASE)


def strings(path: Path) -> list[ast.Constant]:
    """String constants of a file that are no docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documents = {
        id(statement.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        for statement in node.body
        if isinstance(statement, ast.Expr)
    }
    constants = [node for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    return [node for node in constants if isinstance(node.value, str) and id(node) not in documents]


def wrong(text: str) -> list[str]:
    """Words of a text that the field does not use; a text without a blank is a name."""
    return PATTERN.findall(NAMES.sub(" ", text)) if re.search(r"\s", text) else []


def test_messages_and_help() -> None:
    found = [
        f"{path.relative_to(PACKAGE)}:{node.lineno}: {', '.join(words)}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for node in strings(path)
        if (words := wrong(str(node.value)))
    ]
    assert found == []


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.html")), ids=lambda file: file.name)
def test_templates(file: Path) -> None:
    text = re.sub(
        r"\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}|<script>.*?</script>|<style>.*?</style>|<[^>]*>",
        " ",
        file.read_text(encoding="utf-8"),
        flags=re.DOTALL,
    )
    assert wrong(text) == []


def test_pages() -> None:
    looked_at = [page for page in pages() if page.name != "CHANGELOG.md"]
    assert [f"{page}: {word}" for page in looked_at for word in wrong(words_of(page))] == []


def test_comments_of_configs() -> None:
    found = []
    for file in sorted((ROOT / "configs").glob("*.yaml")):
        comments = " ".join(line.partition("#")[2] for line in file.read_text(encoding="utf-8").splitlines())
        found += [f"{file}: {word}" for word in wrong(comments)]
    assert found == []


def test_names_of_files() -> None:
    assert [path.name for path in PACKAGE.rglob("*") if IN_NAMES.search(path.stem)] == []


def test_a_word_would_be_found() -> None:
    assert wrong("the pictures beside it") == ["pictures", "beside"]
    assert wrong("pictures") == []
    assert wrong("`pictures` and train.pictures") == []
