"""Tables that other packages can extend by modules named as entry points, which are imported when a table is read."""

from __future__ import annotations

import pkgutil
import sys
from collections.abc import Iterator, Mapping
from functools import cache
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


class Registry(Mapping[str, Any]):
    """A table: name -> thing. A row of our own says where the thing stands (`module:attribute`) and is imported when it
    is asked for; modules of other packages add theirs by `register`."""

    def __init__(self, kind: str, group: str, rows: Mapping[str, str]) -> None:
        self.kind = kind
        self._group = group
        self._rows = dict(rows)
        self._added: dict[str, Any] = {}

    def register(self, name: str, thing: Any) -> None:
        """Add a thing. Raises `ValueError` where another has the name; an equal one may be added again."""
        if name in self._rows or self._added.get(name, thing) != thing:
            raise ValueError(f"there is a {self.kind} '{name}' already")
        self._added[name] = thing

    @property
    def registered(self) -> Mapping[str, Any]:
        """What was added so far, by whoever is imported."""
        return self._added

    def added(self) -> tuple[str, ...]:
        """Names that other packages registered."""
        load_plugins(self._group)
        return tuple(self._added)

    def checked(self, name: str) -> str:
        """The name itself. Raises `ValueError`, which lists the valid names, where it is not one of them."""
        if name in self:
            return name
        import difflib

        nearest = difflib.get_close_matches(name, list(self), n=1)
        names = ", ".join(f"'{each}'" for each in self)
        raise ValueError(f"one of {names}" + (f"; the nearest is '{nearest[0]}'" if nearest else ""))

    def __getitem__(self, name: str) -> Any:
        return pkgutil.resolve_name(self._rows[name]) if name in self._rows else self._added[name]

    def __iter__(self) -> Iterator[str]:
        return iter((*self._rows, *self.added()))

    def __len__(self) -> int:
        return len(self._rows) + len(self.added())

    def __contains__(self, name: object) -> bool:
        return name in self._rows or name in self._added or name in self.added()
