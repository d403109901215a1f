"""YAML as text: mappings and lists of scalars that keep how they were written, until a key says what they are.

YAML 1.1, which PyYAML implements, reads `010` as 8, `1:30` as 90, `no` as false and `2026-11-28` as a date. Here a
plain (unquoted) scalar stays a `Scalar`; `scalars.py` reads it by the type of its key.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import yaml

_PLAIN = "!plain"
_STR, _SEQ, _MAP, _MERGE = (f"tag:yaml.org,2002:{name}" for name in ("str", "seq", "map", "merge"))
_MOST_NODES = 100_000
"""Values of a document with every alias written out; a few lines of aliases of aliases make billions."""


class Scalar(str):
    """A scalar without quotes, as it is written."""


class _Loader(yaml.SafeLoader):
    """Plain scalars as `Scalar`; `<<` merges; repeated keys, other tags and bombs of aliases are errors."""

    yaml_implicit_resolvers: dict[str | None, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's name
    yaml_constructors: dict[str | None, Any] = {}  # noqa: RUF012 - PyYAML's name

    def get_single_node(self) -> yaml.Node | None:
        node = super().get_single_node()
        if node is not None and _written_out(node, {}) > _MOST_NODES:
            raise yaml.constructor.ConstructorError(None, None, "too many aliases of aliases", node.start_mark)
        return node

    def compose_mapping_node(self, anchor: str | None) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        names: set[str] = set()
        for name in (key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if name in names:
                raise yaml.constructor.ConstructorError(None, None, f"key '{name}' is listed twice", node.start_mark)
            names.add(name)
        return node


_Loader.add_implicit_resolver(_MERGE, re.compile(r"^<<$"), ["<"])
_Loader.add_implicit_resolver(_PLAIN, re.compile(""), None)  # type: ignore[arg-type]
_Loader.add_constructor(_PLAIN, lambda loader, node: Scalar(loader.construct_scalar(node)))
_Loader.add_constructor(_STR, lambda loader, node: str(loader.construct_scalar(node)))
_Loader.add_constructor(_SEQ, yaml.SafeLoader.construct_yaml_seq)
_Loader.add_constructor(_MAP, yaml.SafeLoader.construct_yaml_map)
_Loader.add_constructor(None, yaml.SafeLoader.construct_undefined)


def parse(text: str) -> Any:
    """Mappings, lists, `Scalar` for what has no quotes and str for what has. Raises `yaml.YAMLError`."""
    try:
        return yaml.load(text, Loader=_Loader)
    except RecursionError:
        raise yaml.YAMLError("is nested too deeply") from None


def meaning(text: str) -> Any:
    """What a YAML 1.1 reader such as PyYAML makes of a plain scalar; the text itself where that is no scalar."""
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):  # ValueError: no such date, too many digits
        return text
    return value if isinstance(value, Hashable) else text


class _Dumper(yaml.SafeDumper):
    """Quotes text that any YAML reader might take for something else."""


def _quoted_where_needed(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    style = "'" if _NUMBER_LIKE.match(text) and "\n" not in text else None
    return dumper.represent_scalar(_STR, text, style=style)


_NUMBER_LIKE = re.compile(r"^[-+]?\.?[0-9]")
_Dumper.add_representer(str, _quoted_where_needed)
_Dumper.add_representer(Scalar, _quoted_where_needed)


def dump(content: object) -> str:
    """Plain mappings, lists and scalars as YAML that `parse` and other readers take for the same."""
    return str(yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True))


def _written_out(node: yaml.Node, sizes: dict[int, int]) -> int:
    """Nodes below this one, each alias counted in full. Raises `ConstructorError` for a node inside itself."""
    if isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) in sizes:
        if not sizes[id(node)]:
            raise yaml.constructor.ConstructorError(None, None, "an alias inside itself", node.start_mark)
        return sizes[id(node)]
    sizes[id(node)] = 0
    below = [part for each in node.value for part in (each if isinstance(each, tuple) else (each,))]
    sizes[id(node)] = 1 + sum(_written_out(part, sizes) for part in below)
    return sizes[id(node)]
