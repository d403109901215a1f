"""Tables that other packages can extend by modules named as entry points, which are imported when a table is read."""

from __future__ import annotations

import pkgutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from segcct.errors import PluginError


@cache
def _groups_named() -> str:
    """What installed packages name as entry points, all in one text. `importlib.metadata` knows it too, but takes a
    tenth of a second to import, which every `--help` would wait for."""
    places = [Path(place) for place in sys.path]
    files = [file for place in places for file in place.glob("*.*-info/entry_points.txt")]
    return "\n".join(file.read_text(encoding="utf-8", errors="replace") for file in files)


@cache
def load_plugins(group: str) -> None:
    """Import every module that an installed package names under an entry-point group, once.

    Raises:
        PluginError: one cannot be imported, or what it registers is refused; names its package.
    """
    if group not in _groups_named():
        return
    from importlib.metadata import entry_points

    for point in entry_points(group=group):
        try:
            point.load()
        except Exception as error:  # other people's code fails in any way
            package = "an unknown package" if point.dist is None else f"package {point.dist.name}"
            raise PluginError(
                f"the entry point {point.name} of {package} cannot be loaded ({group})",
                found=f"{type(error).__name__}: {error}",
                remedy="Fix or uninstall that package",
            ) from error


def may_replace(new: Any, old: Any) -> bool:
    """Whether a thing may take the name of another: of an equal one or, where a cell of a notebook runs again, of its
    earlier version, made of functions or classes that have the same names in `__main__`."""
    return bool(new == old or _defined_in_main(new) & _defined_in_main(old))


def _defined_in_main(thing: Any) -> set[str]:
    """Names of the functions and classes of `__main__` that a thing is, or that a row has in its fields, if only as
    `module:attribute`."""
    parts = [getattr(thing, field.name) for field in fields(thing)] if is_dataclass(thing) else [thing]
    names = set()
    for part in parts:
        if isinstance(part, str):
            module, _, name = part.partition(":")
        else:
            function = part.func if isinstance(part, partial) else part
            definition = function if hasattr(function, "__qualname__") else type(function)
            module, name = definition.__module__, definition.__qualname__
        if module == "__main__":
            names.add(name)
    return names


class Registry(Mapping[str, Any]):
    """A table: name -> thing. A row of our own is a thing, or says where it is defined (`module:attribute`) and is
    imported from there when it is asked for; modules of other packages add theirs by `register`."""

    def __init__(self, kind: str, group: str, rows: Mapping[str, Any]) -> None:
        self.kind = kind
        self._group = group
        self._rows = dict(rows)
        self._added: dict[str, Any] = {}
        self._installed: set[str] = set()

    def register(self, name: str, thing: Any) -> None:
        """Add a thing. Raises `PluginError` where another has the name that it may not replace (`may_replace`)."""
        if name in self._rows or not may_replace(thing, self._added.get(name, thing)):
            raise PluginError(f"there is a {self.kind} '{name}' already", remedy="Register yours under another name")
        self._added[name] = thing

    @property
    def registered(self) -> Mapping[str, Any]:
        """What was added so far, by whoever is imported."""
        return self._added

    def added(self) -> tuple[str, ...]:
        """Names that other packages registered."""
        before = set(self._added)
        load_plugins(self._group)
        self._installed |= self._added.keys() - before
        return tuple(self._added)

    def added_here(self) -> tuple[Any, ...]:
        """What this process registered and no entry point: another process does not know it."""
        return tuple(self._added[name] for name in self.added() if name not in self._installed)

    def checked(self, name: str) -> str:
        """The name itself. Raises `ValueError`, which lists the valid names, where it is not one of them."""
        if name in self:
            return name
        import difflib

        nearest = difflib.get_close_matches(name, list(self), n=1)
        names = ", ".join(f"'{each}'" for each in self)
        raise ValueError(f"one of {names}" + (f"; the nearest is '{nearest[0]}'" if nearest else ""))

    def __getitem__(self, name: str) -> Any:
        thing = self._rows[name] if name in self._rows else self._added[name]
        return pkgutil.resolve_name(thing) if isinstance(thing, str) else thing

    def __iter__(self) -> Iterator[str]:
        return iter((*self._rows, *self.added()))

    def __len__(self) -> int:
        return len(self._rows) + len(self.added())

    def __contains__(self, name: object) -> bool:
        return name in self._rows or name in self._added or name in self.added()
