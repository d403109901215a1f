"""JSON files: an object of bounded size, in UTF-8, of finite numbers and distinct keys.

Every file of state is read here, so that one that is damaged, cut off or of another kind is refused before it is used.
What the object must hold is checked where it is used (`json_record.py`).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from segcct.errors import DataError, SegcctError, short_reason
from segcct.files.atomic_file import atomic_path
from segcct.files.small_file import read_small

MOST_BYTES = 2**30
"""predictions.json of a million images, at 700 to 1,000 bytes each, stays below."""
MOST_BYTES_OF_MODEL = 2**26
"""Of a file with no entry per case, such as model.json, which people share; most are a thousand times smaller."""
MOST_LEVELS = 100
_MOST_DIGITS = 20
_KINDS = {list: "an array", str: "a text", bool: "a truth value", type(None): "null"}
_ODD_TEXT = re.compile(r"\\u(0000|[dD][89a-fA-F])")
_ODD = re.compile("[\0\ud800-\udc7f\udd00-\udfff]")


def read_object(
    file: Path,
    what: str = "cannot be used",
    *,
    error: type[SegcctError] = DataError,
    expected: str | None = None,
    remedy: str | None = None,
    most_bytes: int = MOST_BYTES,
) -> dict[str, Any]:
    """The JSON object in a file.

    Args:
        file: the file.
        what: how the error begins, such as `is not an index of predictions`.
        error: the class of the error.
        expected: what the file should hold, for the error.
        remedy: what to do next, for the error.
        most_bytes: a larger file is not read.

    Raises:
        SegcctError: of class `error`, where the file is missing, larger than `most_bytes`, not UTF-8, no JSON, nested
            too deeply, no object, or holds a key twice, a number that is not finite or of more than 20 digits.
    """
    try:
        return parse_object(read_small(file, most_bytes))
    except FileNotFoundError:
        raise error("no such file", file=file, remedy=remedy) from None
    except (OSError, ValueError, RecursionError) as problem:
        found = reason_of_parse(problem)
        raise error(what, file=file, found=found, expected=expected, remedy=remedy) from None


def parse_object(content: bytes) -> dict[str, Any]:
    """The JSON object in some bytes. Raises `ValueError` or `RecursionError` as `read_object` describes."""
    if not content:
        raise ValueError("an empty file")
    text = content.decode("utf-8")
    parsed = json.loads(
        text, parse_float=_finite, parse_int=_whole, parse_constant=_no_number, object_pairs_hook=_distinct
    )
    if not isinstance(parsed, dict):
        raise ValueError(f"{_KINDS.get(type(parsed), 'a number')}, not an object")
    _refuse_depth(parsed)
    if _ODD_TEXT.search(text):
        _refuse_odd_text(parsed)
    return parsed


def reason_of_parse(problem: Exception) -> str:
    """Why a file was refused, in a few words."""
    if isinstance(problem, RecursionError):
        return "it is nested too deeply"
    if isinstance(problem, UnicodeDecodeError):
        return f"byte {problem.start} is not UTF-8"
    if isinstance(problem, OSError):
        return problem.strerror or type(problem).__name__
    return short_reason(problem)


def write_json(file: Path, content: Mapping[str, Any], *, private: bool = False) -> None:
    """Write JSON atomically, `private` for its owner alone; NaN is refused."""
    with atomic_path(file, private=private) as temporary:
        temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _refuse_depth(parsed: dict[str, Any]) -> None:
    """Python's parser goes as deep as the stack allows, deeper than code that walks over its result."""
    level: list[Any] = [parsed]
    for _ in range(MOST_LEVELS):
        inner = (each.values() if isinstance(each, dict) else each for each in level)
        level = [value for values in inner for value in values if isinstance(value, dict | list)]
        if not level:
            return
    raise RecursionError


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"a number that is too large: {text[:20]}")
    return value


def _whole(text: str) -> int:
    if len(text) > _MOST_DIGITS:
        raise ValueError(f"a number of {len(text)} digits")
    return int(text)


def _no_number(text: str) -> float:
    raise ValueError(f"{text} in place of a number")


def _distinct(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"key {twice[:40]!r} is listed twice")
    return content


def _refuse_odd_text(value: Any) -> None:
    """Half a surrogate pair cannot be written anywhere, and a null character ends a file name. U+DC80 to U+DCFF stand
    for bytes of a file name that are not UTF-8."""
    if isinstance(value, str) and _ODD.search(value):
        raise ValueError("text with invalid characters")
    inner = [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else ()
    for each in inner:
        _refuse_odd_text(each)
