"""The keys of a configuration by dotted name, and what pydantic finds wrong with their values, in words."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from segcct.config.descriptions import description_of
from segcct.errors import ConfigError, items
from segcct.plurals import counted

COMMAND_LINE = "command line"
_MOST_PROBLEMS = 20
"""Most problems that one message lists."""
_MOST_READ = 100
"""Most of pydantic's problems that are read; several of them may be one problem of a key."""
_ALTERNATIVES = {"bool", "int", "float", "str"}
"""What pydantic adds to the place of a problem, for each type that a value might have."""
_TYPES = {
    "int_": "a whole number",
    "float_": "a number",
    "bool_": "true or false",
    "string_type": "text",
    "dict_": "a mapping",
    "model_": "a section of keys",
    "list_": "a list",
}
"""How pydantic's names of problems with a type begin -> the type in words."""
_LIMITS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}


class Key(NamedTuple):
    """A valid key: its dotted name, the section and field behind it, and whether deeper names are free (a mapping)."""

    name: str
    section: type[BaseModel]
    field: FieldInfo
    open: bool

    @property
    def description(self) -> str:
        """What the key does, in one line."""
        return description_of(self.section, self.name.rpartition(".")[2])


def keys(kind: type[BaseModel], prefix: str = "") -> Iterator[Key]:
    """Every leaf key of a configuration, in the order of its definition."""
    for name, field in kind.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            yield from keys(section, f"{prefix}{name}.")
        else:
            yield Key(prefix + name, kind, field, "dict" in str(field.annotation))


def nearest(dotted: str, names: Sequence[str]) -> str:
    """The most similar key: by whole name, else by last part, so that `epochs` finds `train.epochs`."""
    leaves = {name.rpartition(".")[2]: name for name in reversed(names)}
    by_name = difflib.get_close_matches(dotted, names, n=1, cutoff=0.75)
    by_leaf = difflib.get_close_matches(dotted.rpartition(".")[2], list(reversed(leaves)), n=1, cutoff=0.6)
    if by_leaf and not by_name:
        return leaves[by_leaf[0]]
    return (by_name or difflib.get_close_matches(dotted, names, n=1, cutoff=0.0))[0]


def config_error(
    kind: type[BaseModel], error: ValidationError, overrides: Mapping[str, Any], source: str
) -> ConfigError:
    """One `ConfigError` for all problems pydantic found, each with key, value, what is allowed and the nearest key."""
    raw = error.errors(include_url=False)
    problems = _by_key(kind, raw[:_MOST_READ])
    errors = [_one(kind, details, overrides, source) for details in problems[:_MOST_PROBLEMS]]
    if len(problems) == 1:
        return errors[0]
    count = len(problems) + len(raw[_MOST_READ:])
    more = f"\n  - and {count - len(errors)} more" if count > len(errors) else ""
    return ConfigError(f"{counted(count, 'problem')} in the configuration:{items(errors)}{more}")


def _by_key(kind: type[BaseModel], raw: Sequence[Any]) -> list[Any]:
    """pydantic's problems; those of the types that one value might have (an option: number or text) in one."""
    problems: list[Any] = []
    for details in raw:
        details["msg"] = _expected(details)
        if details["loc"] and details["loc"][-1] in _ALTERNATIVES:
            details["loc"] = details["loc"][:-1]
        dotted = _dotted(kind, details["loc"])
        same = [each for each in problems[-1:] if each["input"] is details["input"]]
        if same and _dotted(kind, same[0]["loc"]) == dotted:
            same[0]["msg"] += "" if details["msg"] in same[0]["msg"] else f" or {details['msg']}"
        else:
            problems.append(details)
    return problems


def _expected(details: Any) -> str:
    """What a value must be, in words."""
    context = details.get("ctx", {})
    limits = [f"{words} {context[name]:.12g}" for name, words in _LIMITS.items() if name in context]
    types = [words for name, words in _TYPES.items() if details["type"].startswith(name)]
    message: str = details["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    return [*limits, *types, message][0]


def _one(kind: type[BaseModel], details: Any, overrides: Mapping[str, Any], source: str) -> ConfigError:
    dotted = _dotted(kind, details["loc"])
    typed = any(f"{dotted}.".startswith(f"{key}.") or key.startswith(f"{dotted}.") for key in overrides)
    file = COMMAND_LINE if typed and dotted else source
    names = [key.name for key in keys(kind)]
    if details["type"] == "extra_forbidden":
        dotted = next((key for key in overrides if key.startswith(dotted + ".")), dotted)  # as it was typed
        remedy = f"Nearest valid key: {nearest(dotted, names)}"
        return ConfigError(f"unknown key {shown(dotted)}", file=file, remedy=remedy)
    if details["type"] == "missing":
        return ConfigError(f"key {shown(dotted)} is missing", file=file, expected=_description(kind, dotted))
    message = shown(details["msg"], most=400)
    if details["type"] == "value_error" and dotted not in names:
        return ConfigError("impossible combination", file=file, found=message)
    value = details["input"]
    return ConfigError(
        f"key {shown(dotted)} has a value that cannot be used",
        file=file,
        found=f"'{shown(value)}'" if type(value) is str else shown(value),
        expected=message[:1].lower() + message[1:],
    )


def _dotted(kind: type[BaseModel], location: Sequence[str | int]) -> str:
    """pydantic's location without the union branches it adds behind the key."""
    parts: list[str] = []
    by_name = {key.name: key for key in keys(kind)}
    for part in location:
        name = ".".join(parts)
        if name in by_name and not by_name[name].open:
            break
        parts.append(str(part))
    return ".".join(parts)


def _description(kind: type[BaseModel], dotted: str) -> str | None:
    for key in keys(kind):
        if key.name == dotted and key.description:
            return key.description
    inside = [key.name for key in keys(kind) if key.name.startswith(dotted + ".") and key.field.is_required()]
    return f"at least {', '.join(inside)}" if inside else None


def shown(value: object, most: int = 80) -> str:
    """A value in a message, cut where it is long."""
    if isinstance(value, BaseModel):
        return "see its keys"
    text = "null" if value is None else str(value)
    return text if len(text) <= most else text[: most - 3] + "..."
