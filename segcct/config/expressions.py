"""Regular expressions of configs and model cards: only those that end soon on any name.

A model card comes with weights from anywhere, and `(a+)+$` does not end on a name of forty letters. What can vary
may not stand inside a repetition, and what remains grows as a power of the name's length, which is bounded too.
"""

from __future__ import annotations

import importlib
import math
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from segcct.errors import DataError
from segcct.files.file_names import composed

_LONGEST = 300
_MOST_OPEN = 3
_MOST_CHOICES = 1024
_MOST_STEPS = 10**7
_SHORT = 16
"""Repetitions up to which a part counts as so many alternatives, and not as one of any length."""
_REPEATS = ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT")
_SINGLE = ("LITERAL", "NOT_LITERAL", "ANY", "IN", "CATEGORY", "AT", "GROUPREF")


def check_patient_expression(expression: str) -> None:
    """Raises `ValueError` for a text that is not a regular expression with one group, or that may take too long."""
    try:
        groups = re.compile(expression).groups
    except (re.error, OverflowError, RecursionError):
        groups = 0
    if groups != 1:
        raise ValueError(f"data.patient must be a regular expression with one (group), found {expression[:_LONGEST]}")
    if len(expression) > _LONGEST:
        raise ValueError(f"data.patient has {len(expression)} characters; at most {_LONGEST} are allowed")
    _freedom(expression)


def search_patient(expression: str, name: str) -> re.Match[str] | None:
    """`re.search` of a checked expression in a name in composed Unicode, as expressions are typed.

    Raises `DataError` for a name so long that it would take too long.
    """
    repeats, choices = _freedom(expression)
    # As many ways as there are to place the ends of the open parts, and the beginning of the match.
    if math.comb(len(name) + repeats + 1, repeats + 1) * choices > _MOST_STEPS:
        raise DataError(
            "the name is too long for data.patient",
            found=f"{len(name)} characters, {name[:60]}...",
            remedy="Use fewer of * and + in the expression, or a shorter name",
        )
    return re.search(expression, composed(name))


@lru_cache(maxsize=32)
def _freedom(expression: str) -> tuple[int, int]:
    """How many parts of an expression may have any length, and how many ways there are through the others."""
    tree = importlib.import_module("re._parser").parse(expression)
    repeats, choices = _measure(tree, expression)
    if repeats > _MOST_OPEN or choices > _MOST_CHOICES:
        raise ValueError(
            f"data.patient may take too long: {expression} has more than {_MOST_OPEN} parts of any length, or too many "
            "alternatives"
        )
    return repeats, choices


def _measure(tree: Iterable[Any], expression: str) -> tuple[int, int]:
    """(parts of any length, ways through alternatives and optional parts) of a parsed expression."""
    repeats, choices = 0, 1
    for kind, argument in tree:
        name = str(kind)
        inner: list[Iterable[Any]] = []
        if name in _REPEATS:
            low, high, body = argument
            inner = [body]
            below = _measure(body, expression)
            if high > 1 and below != (0, 1):
                raise ValueError(
                    f"data.patient may take too long: in {expression} a repeated part holds another repetition or "
                    "alternatives"
                )
            repeats += low != high and high > _SHORT
            choices *= high - low + 1 if high <= _SHORT else 1
        elif name == "BRANCH":
            inner = argument[1]
            choices *= len(inner)
        elif name in ("SUBPATTERN", "ASSERT", "ASSERT_NOT"):
            inner = [argument[-1]]
        elif name == "ATOMIC_GROUP":
            inner = [argument]
        elif name not in _SINGLE:
            raise ValueError(f"data.patient holds what is not allowed there ({name.lower()}): {expression}")
        for body in inner:
            more, ways = _measure(body, expression)
            repeats, choices = repeats + more, choices * ways
    return repeats, choices
