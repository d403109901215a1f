"""One of a thing is no several of them."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from segcct.plurals import counted, sized

PACKAGE = Path(__file__).parents[2] / "segcct"
NOUNS = "cases|masks|patients|pictures|rows|files|problems|epochs|folds|labels"


@pytest.mark.parametrize(
    ("number", "noun", "text"),
    [
        (1, "case", "1 case"),
        (0, "case", "0 cases"),
        (2, "class", "2 classes"),
        (2, "epoch", "2 epochs"),
        (1, "class", "1 class"),
    ],
)
def test_a_number_with_its_noun(number: int, noun: str, text: str) -> None:
    assert counted(number, noun) == text


def test_thousands_may_be_set_off() -> None:
    assert counted(50_000, "picture", comma=True) == "50,000 pictures"


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (78_000, "78 kB"),
        (999_900, "1 MB"),
        (1_012_000, "1.01 MB"),
        (8 * 2**30, "8.59 GB"),
    ],
)
def test_bytes_in_the_unit_that_suits_them(count: int, text: str) -> None:
    assert sized(count) == text


def test_messages_count_by_the_helper() -> None:
    """`{len(masks)} masks` would say `1 masks`."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.JoinedStr):
                continue
            for number, text in zip(node.values, node.values[1:], strict=False):
                counts = isinstance(number, ast.FormattedValue) and ast.unparse(number.value).startswith("len(")
                if counts and isinstance(text, ast.Constant) and re.match(rf" (more )?({NOUNS})\b", str(text.value)):
                    found.append(f"{path.relative_to(PACKAGE)}:{node.lineno}")
    assert found == []
