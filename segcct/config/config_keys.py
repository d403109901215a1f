"""The keys of a configuration: its leaves by dotted name, and the key that was meant by one that is unknown."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pydantic import BaseModel
from pydantic.fields import FieldInfo


class Key(NamedTuple):
    """A valid key: its dotted name, the field behind it, and whether deeper names are free (a mapping)."""

    name: str
    field: FieldInfo
    open: bool


def keys(kind: type[BaseModel], prefix: str = "") -> Iterator[Key]:
    """Every leaf key of a configuration, in the order of its definition."""
    for name, field in kind.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            yield from keys(section, f"{prefix}{name}.")
        else:
            yield Key(prefix + name, field, "dict" in str(field.annotation))


def nearest(dotted: str, names: Sequence[str]) -> str:
    """The most similar key: by whole name, else by last part, so that `epochs` finds `train.epochs`."""
    leaves = {name.rpartition(".")[2]: name for name in reversed(names)}
    by_name = difflib.get_close_matches(dotted, names, n=1, cutoff=0.75)
    by_leaf = difflib.get_close_matches(dotted.rpartition(".")[2], list(reversed(leaves)), n=1, cutoff=0.6)
    if by_leaf and not by_name:
        return leaves[by_leaf[0]]
    return (by_name or difflib.get_close_matches(dotted, names, n=1, cutoff=0.0))[0]
