"""Damage to JSON files: to their text, and by other values at a path of keys."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

from tests.support.hostile_checkpoint import Change

JSON_CHANGES: dict[str, Change] = {
    "empty": lambda sound: b"",
    "half": lambda sound: sound[: len(sound) // 2],
    "an array": lambda sound: b"[" + sound + b"]",
    "null": lambda sound: b"null",
    "a text": lambda sound: b'"model"',
    "an empty object": lambda sound: b"{}",
    "another object": lambda sound: b'{"name": "package", "version": "1.0.0", "scripts": {"test": "x"}}',
    "deep": lambda sound: b'{"x": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    "deep objects": lambda sound: b'{"x":' * 500 + b"1" + b"}" * 500,
    "latin-1": lambda sound: b'{"x\xe4": 1, ' + sound[1:],
    "utf-16": lambda sound: sound.decode().encode("utf-16"),
    "not a number": lambda sound: b'{"x": NaN, ' + sound[1:],
    "beyond all numbers": lambda sound: b'{"x": 1e999, ' + sound[1:],
    "many digits": lambda sound: b'{"x": ' + b"7" * 6000 + b", " + sound[1:],
    "a key twice": lambda sound: b'{"x": 1, "x": 2, ' + sound[1:],
    "half a surrogate": lambda sound: b'{"x": "\\udc00", ' + sound[1:],
    "binary": lambda sound: bytes(range(128, 256)) * 8,
}


def in_json(change: Callable[[dict[str, Any]], None]) -> Change:
    """The change of a JSON object, as a change of its file."""

    def changed(sound: bytes) -> bytes:
        content = json.loads(sound)
        change(content)
        return json.dumps(content).encode()

    return changed


def put(*path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """Set the value at a path of keys; `*` is the first key."""

    def change(content: dict[str, Any]) -> None:
        *inner, last = path
        for key in inner:
            content = content[next(iter(content)) if key == "*" else key]
        content[next(iter(content)) if last == "*" else last] = value

    return change


def drop(*path: str) -> Callable[[dict[str, Any]], None]:
    """Remove the value at a path of keys; `*` is the first key."""

    def change(content: dict[str, Any]) -> None:
        for key in path[:-1]:
            content = content[next(iter(content)) if key == "*" else key]
        del content[path[-1]]

    return change


_OTHERS: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    7,
    0.5,
    10**18,
    "",
    "x",
    "/etc/passwd",
    "../..",
    [],
    [1],
    ["x"],
    {},
    {"x": 1},
)


def retyped(seed: int) -> Change:
    """Replace one or two values, anywhere in the object, mostly by values of another type."""

    def change(sound: bytes) -> bytes:
        content, rng = json.loads(sound), random.Random(seed)
        for _ in range(rng.randint(1, 2)):
            holder, key = rng.choice(list(_places(content)))
            holder[key] = rng.choice(_OTHERS)
        return json.dumps(content).encode()

    return change


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every mapping or list inside, with each of its keys or positions."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in entries:
        yield value, key
        yield from _places(inner)
