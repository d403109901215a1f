"""What is written without quotes, read by the type of its key: names stay text, numbers are plain decimal numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from segcct.config.yaml_text import Scalar, meaning

_NULL = {"", "~", "null", "Null", "NULL"}
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INTEGER = re.compile(r"^[-+]?(0|[1-9][0-9]*)$")
_DECIMAL = re.compile(r"^[-+]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?$")


@dataclass(frozen=True)
class Misread:
    """A value that no key of numbers takes, because YAML reads it as something else than a person would."""

    text: str
    taken_for: str

    def __str__(self) -> str:
        return self.text if self.text == self.taken_for else f"{self.text}, which YAML takes for {self.taken_for}"


def typed(value: Any, annotation: Any) -> Any:
    """`value` with every `Scalar` in it read as the annotation wants; what does not fit is left for pydantic to refuse.

    The name of a key is text whatever it looks like, `null` too.

    Args:
        value: what `yaml_text.parse` returns, or plain Python values.
        annotation: a type, a union, a list, a mapping, or a section (a pydantic model).
    """
    members = _members(annotation)
    if isinstance(value, Mapping):
        section = next((kind for kind in members if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
        if section is not None:
            kinds = {name: field.annotation for name, field in section.model_fields.items()}
            return {name: typed(each, kinds.get(name, str)) for name, each in value.items()}
        key, inner = next((get_args(member) for member in members if get_origin(member) is dict), (str, str))
        names = [str(name) if isinstance(name, Scalar) and key is str else typed(name, key) for name in value]
        return {name: typed(each, inner) for name, each in zip(names, value.values(), strict=True)}
    if isinstance(value, list):
        element: Any = next((get_args(member)[0] for member in members if get_origin(member) is list), str)
        return [typed(each, element) for each in value]
    types = {get_origin(member) or member for member in members}
    if isinstance(value, Scalar):
        return _scalar(str(value), types)
    if isinstance(value, bool) and types & {int, float} and bool not in types:
        return Misread(str(value).lower(), str(value).lower())
    return value


def _members(annotation: Any) -> list[Any]:
    """The alternatives of an annotation, `Annotated` taken off; those of a Literal by their types."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _members(get_args(annotation)[0])
    if origin in (Union, UnionType):
        return [member for part in get_args(annotation) for member in _members(part)]
    if origin is Literal:
        return [type(each) for each in get_args(annotation)]
    return [annotation]


def _scalar(text: str, types: set[Any]) -> Any:
    numbers, words = bool(types & {int, float}), bool(types & {str, Path})
    if text in _NULL and (not numbers or NoneType in types or not words):
        return None
    if words and not numbers:
        return text
    if bool in types and text in _BOOL:
        return _BOOL[text]
    return _number(text, strict=words) if numbers else text


def _number(text: str, *, strict: bool) -> Any:
    """A decimal number; text where YAML agrees that it is text; `Misread` otherwise.

    Args:
        text: what is written.
        strict: the key takes text too, so that nothing else would refuse what looks like a number.
    """
    try:
        if _INTEGER.match(text):
            return int(text)
        if _DECIMAL.match(text):
            return float(text)
    except ValueError:  # thousands of digits
        return text
    other = meaning(text)
    if isinstance(other, str) or other is None:
        return text
    if not strict and isinstance(other, int | float) and _as_python_reads(text) == other:
        return other  # 1_000, 01.5, .inf
    return Misread(text, "a date" if isinstance(other, date) else str(other).lower())


def _as_python_reads(text: str) -> float | None:
    try:
        return float(text.lower().replace(".inf", "inf"))
    except ValueError:
        return None
