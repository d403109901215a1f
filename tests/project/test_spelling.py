"""Messages, help and pages are spelled as in the United States; keys and stored values keep what they were."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "segcct"
BRITISH = re.compile(
    r"\w*(?:colour|grey|labelled|behaviour|(?<!off_)centre|neighbour|favour|fibre|catalogue|tumour|modell|cancell|licence"
    r"|learnt|programme\b|oedema|millimetre|artefact|judgement"
    r"|(?:anonym|normal|standard|recogn|organ|summar|initial|optim|visual|general|random|regular|synthes)"
    r"is(?:e|ed|es|er|ing|ation)\b)\w*",
    re.IGNORECASE,
)
KEYS = re.compile(r"[a-z_]+|--[a-z-]+")
"""What stands alone is a name: an option's old spelling, a key of a file, a function."""


def sentences(tree: ast.Module) -> Iterator[ast.Constant]:
    """String constants that are no docstrings, without names."""
    documents = {
        id(statement.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        for statement in node.body
        if isinstance(statement, ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documents:
            yield node


def british(text: str) -> list[str]:
    words = [word for word in re.split(r"[^\w.-]+", text) if not re.fullmatch(r"[\w.]*unlabelled_list\.?", word)]
    return [] if KEYS.fullmatch(text) else [word for word in words if BRITISH.search(word)]


def test_messages_are_spelled_as_in_the_united_states() -> None:
    found = [
        f"{path.relative_to(PACKAGE)}:{node.lineno}: {', '.join(words)}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for node in sentences(ast.parse(path.read_text(encoding="utf-8")))
        if (words := british(str(node.value)))
    ]
    assert found == []


def test_pages_are_spelled_as_in_the_united_states() -> None:
    for path in sorted(PACKAGE.rglob("*.html")):
        text = re.sub(
            r"\{%.*?%\}|\{\{.*?\}\}|<script>.*?</script>|<style>.*?</style>", " ", path.read_text(), flags=re.DOTALL
        )
        assert BRITISH.findall(text) == [], path.name


def test_a_british_message_would_be_found() -> None:
    assert british("a mask in colours") == ["colours"]
    assert british("grey") == []
    assert british("set data.split.unlabelled_list") == []
