"""Hostile configs, and hostile patterns and expressions of a model.json."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import yaml

from tests.support.hostile_checkpoint import Change
from tests.support.json_changes import put


def _with(**values: Any) -> Change:
    """Set keys of the data section."""

    def change(sound: bytes) -> bytes:
        content = yaml.safe_load(sound)
        content["data"] |= values
        return yaml.safe_dump(content).encode()

    return change


def _text(key: str, scalar: str) -> Change:
    """Set a key of the data section to a scalar, written literally."""
    return lambda sound: sound.replace(b"data:\n", f"data:\n  {key}: {scalar}\n".encode(), 1)


def _more(text: str | bytes) -> Change:
    behind = text if isinstance(text, bytes) else text.encode()
    return lambda sound: sound + b"\n" + behind + b"\n"


def _lists(**files: str) -> Change:
    return _with(split={"kind": "lists", **files})


def _bomb(line: Callable[[int], str]) -> Change:
    return _more("x0: &x0 [1, 2]\nm0: &m0 {a: 1, b: 2}\n" + "\n".join(line(level) for level in range(1, 41)))


_INDENTED = "\n".join(" " * level + "a:" for level in range(600))

CONFIGS: dict[str, Change] = {
    "empty": lambda sound: b"",
    "a null character": _more(b"x: a\0b"),
    "utf-16": lambda sound: sound.decode().encode("utf-16"),
    "latin-1": _more(b"x: \xe4"),
    "half a surrogate": _with(root="\udc00"),
    "an array": lambda sound: b"- 1\n- 2\n",
    "a number": lambda sound: b"7",
    "two documents": _more("---\na: 1"),
    "a version nobody knows": lambda sound: b"%YAML 9.9\n---\n" + sound,
    "an open quote": _more('x: "1'),
    "a tab": _more("x:\n\ta: 1"),
    "a tag": _more("x: !stranger 1"),
    "an object of Python": _more("x: !!python/object/apply:os.getcwd []"),
    "binary in base64": _more("x: !!binary aGVsbG8="),
    "an alias of nothing": _more("x: *nothing"),
    "an alias inside itself": _more("x: &x [*x]"),
    "a mapping inside itself": _more("x: &x {a: *x}"),
    "aliases of aliases": _bomb(lambda level: f"x{level}: &x{level} [*x{level - 1}, *x{level - 1}]"),
    "merges of merges": _bomb(lambda level: f"m{level}: &m{level} {{<<: [*m{level - 1}, *m{level - 1}]}}"),
    "aliases as keys": _bomb(lambda level: f"x{level}: &x{level} {{? *x{level - 1} : *x{level - 1}}}"),
    "a merge of a number": _more("x: {<<: 3}"),
    "deep brackets": _more("x: " + "[" * 50_000),
    "deep mappings": _more("x: " + "{a: " * 20_000),
    "deep dashes": _more("x: " + "- " * 20_000),
    "deep indentation": _more("x:\n" + _INDENTED),
    "a hundred megabytes": _more(b"# " + b"x" * 100_000_000),
    "100,000 values in a row": _more("x: [" + "1," * 100_000 + "]"),
    "20,000 keys": _more("\n".join(f"k{number}: 1" for number in range(20_000))),
    "a key of 200 kB": _more("x" * 200_000 + ": 1"),
    "a text of 200 kB": _with(scheme="x" * 200_000),
    "lines of 200 kB": _more("x: '" + "a\n\n" * 60_000 + "'"),
    "100,000 digits": _text("image_size", "7" * 100_000),
    "beyond all numbers": _text("spacing_mm", "1e999"),
    "not a number": _text("spacing_mm", ".nan"),
    "a billion pixels": _with(image_size=10**9),
    "size below zero": _with(image_size=-32),
    "a date that is none": _text("fold", "2026-99-99"),
    "a root with a null character": _with(root="a\0b"),
    "a root of 10,000 characters": _with(root="x" * 10_000),
    "a root on a device": _with(root="/dev/zero"),
    "a root that is a list": _with(root=["a", "b"]),
    "a scheme upwards": _with(scheme="../../etc/passwd"),
    "a pattern of 60 stars": _with(channels={"t1": "*a" * 60}),
    "a pattern upwards": _with(channels={"t1": "../canary.raw"}),
    "a pattern from the root": _with(channels={"t1": "/etc/passwd"}),
    "a pattern with a null character": _with(channels={"t1": "t1\0.nii.gz"}),
    "a pattern of 100,000 characters": _with(channels={"t1": "x" * 100_000}),
    "a channel without pattern": _with(channels={"t1": ""}),
    "5,000 channels": _with(channels={f"c{number}": "t1.nii.gz" for number in range(5_000)}),
    "an expression that does not end": _with(patient="(a+)+$"),
    "a split list on a device": _lists(train_list="/dev/zero"),
    "a split list of numbers without end": _lists(train_list="/dev/urandom"),
    "a split list that is a folder": _lists(train_list="/etc"),
    "a split list of bytes": _lists(train_list="/proc/self/exe"),
    "a split list of long name": _lists(train_list="x" * 10_000),
    "a split list with a null character": _lists(train_list="a\0b"),
    "3,000 classes of one value": _with(labels={f"c{number}": 1 for number in range(3_000)}),
    "a label beyond all": _with(labels={"one": 10**18, "two": 2}),
    "a label map beyond all": _with(label_map={1: 10**18}),
    "regions of strangers": _with(regions={"all": [7, 8, 9]}),
    "a hundred thousand workers": _with(workers=100_000),
}

_EXPRESSIONS = {
    "nested repeats": "(a+)+$",
    "alternatives alike": "(a|a)*b",
    "five stars": "(.*).*.*.*.*x",
    "repeats of thousands": "(a{1,60000}){1,60000}",
    "many optional parts": "(" + "a?" * 40 + "a" * 40 + ")",
    "many alternatives": "(" + "|".join(["a"] * 2000) + ")",
    "a reference back": r"(a*)\1\1\1\1$",
    "a conditional": "(a)?(?(1)b|c)",
    "a look ahead in a repeat": "((?=a+)a)*b",
    "open": "(a",
    "no group": "a",
    "deep groups": "(" * 250 + "a" + ")" * 250,
    "100,000 characters": "(" + "a" * 100_000 + ")",
    "a billion repeats": "(a{999999999})",
    "beyond all repeats": "(a{99999999999999999999})",
    "a null character": "(a\0b)",
}
_PATTERNS = {
    "60 stars": "*a" * 60,
    "folders without end": "**/" * 300 + "t1.nii.gz",
    "upwards": "../scans/p0/t1.nii.gz",
    "from the root": "/etc/passwd",
    "a null character": "t1\0.nii.gz",
    "100,000 characters": "x" * 100_000,
    "another placeholder": "{secret}.nii.gz",
    "nothing": "",
}
CARD_PATTERNS = {
    **{f"patient: {name}": put("data", "patient", value=text) for name, text in _EXPRESSIONS.items()},
    "patient as list": put("data", "patient", value=["(a)"]),
    **{f"channel: {name}": put("data", "channels", value={"t1": text}) for name, text in _PATTERNS.items()},
    **{f"mask: {name}": put("data", "intensity", value={"rule": "zscore_mask", "mask": text})
       for name, text in _PATTERNS.items()},
}  # fmt: skip
"""Patterns and expressions of a model.json that match nothing, or would not end."""

THEMSELVES = frozenset(
    {
        "half a surrogate",
        "a root with a null character",
        "a root of 10,000 characters",
        "a root on a device",
        *(
            f"{where}: {what}"
            for where in ("channel", "mask")
            for what in ("100,000 characters", "another placeholder")
        ),
    }
)
"""Inputs whose error names the root or the pattern from the file, instead of the file."""
