"""YAML plus command-line overrides -> a typed configuration, with errors that name file, key, value and a way out."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from segcct.config import yaml_text
from segcct.config.layout_table import NameIn
from segcct.config.scalars import typed
from segcct.config.yaml_text import Scalar
from segcct.errors import ConfigError, items
from segcct.files.small_file import read_small
from segcct.plurals import counted

Config = TypeVar("Config", bound=BaseModel)
COMMAND_LINE = "command line"
MOST_BYTES = 2**18
"""Of a config; the largest in use have a hundredth of it, and reading YAML takes seconds per megabyte."""
_MOST_PROBLEMS = 20
"""That are put into words."""
_MOST_READ = 100
"""Of pydantic's problems; some of them are one of ours."""
_ALTERNATIVES = {"bool", "int", "float", "str"}
"""What pydantic adds to the place of a problem, for each type that a value might have."""


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


def load(kind: type[Config], file: Path, overrides: Mapping[str, Any] | None = None) -> Config:
    """The configuration in `file`, with `overrides` (dotted key -> value) laid over it.

    Raises `ConfigError` for an unreadable file, an unknown key, a wrong type or an impossible combination.
    """
    return build(kind, read_yaml(file), overrides or {}, source=str(file))


def build(kind: type[Config], content: Mapping[str, Any], overrides: Mapping[str, Any], *, source: str) -> Config:
    """`content` with `overrides` laid over it, validated; `source` is named in errors."""
    by_key = leaf_overrides(kind, overrides)
    merged = dict(content)
    for dotted, value in by_key.items():
        merged = _laid_over(merged, dotted.split("."), value)
    try:
        return kind.model_validate(typed(merged, kind))
    except ValidationError as error:
        raise _worded(kind, error, by_key, source) from None


def leaf_overrides(kind: type[BaseModel], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Overrides with those of whole sections (`train` -> {epochs: 7}) taken apart, so that other keys stay as they are.

    The value of a single key that is a mapping, such as `data.labels`, is one value and stays whole.
    """
    sections = {name.rpartition(".")[0] for name in (key.name for key in keys(kind))}
    sections |= {name.rpartition(".")[0] for name in sections}
    by_key: dict[str, Any] = {}
    for dotted, value in overrides.items():
        if dotted in sections and isinstance(value, Mapping) and value:
            by_key |= leaf_overrides(kind, {f"{dotted}.{name}": each for name, each in value.items()})
        else:
            by_key[dotted] = value
    return by_key


def parse_overrides(arguments: Sequence[str]) -> dict[str, Any]:
    """`["--train.epochs", "3", "--model.name=unet"]` -> dotted key -> value, which `load` reads by the key's type.

    What is no YAML, such as the file pattern `{id}_t1.nii.gz`, is taken as the text it is.
    """
    overrides: dict[str, Any] = {}
    rest = list(arguments)
    while rest:
        flag = rest.pop(0)
        if not flag.startswith("--") or len(flag) == 2:
            raise ConfigError(f"'{flag}' is not a key", file=COMMAND_LINE, expected="--section.key value")
        dotted, equals, text = flag[2:].partition("=")
        if not equals:
            if not rest or rest[0].startswith("--"):
                raise ConfigError(f"key {dotted} has no value", file=COMMAND_LINE, expected=f"--{dotted} VALUE")
            text = rest.pop(0)
        overrides[dotted] = _yaml_value(text)
    return overrides


def dump(config: BaseModel) -> str:
    """The configuration as YAML, every key resolved."""
    return yaml_text.dump(config.model_dump(mode="json"))


def values(config: BaseModel) -> dict[str, Any]:
    """Dotted key -> value, of every leaf key."""
    return {key.name: reduce(getattr, key.name.split("."), config) for key in keys(type(config))}


def describe(kind: type[BaseModel]) -> str:
    """One line per key: name, type or default, and what it does; for --help."""
    lines = []
    for key in keys(kind):
        lines.append(f"  --{key.name}  [{_default(key.field)}]")
        if key.field.description:
            lines.append("      " + " ".join(key.field.description.split()))
        tables = [each.table for each in key.field.metadata if isinstance(each, NameIn)]
        lines += [f"      One of {', '.join(table)}." for table in tables]
    return "\n".join(lines)


def _default(field: FieldInfo) -> str:
    """`required`, or the default as it would be written in YAML."""
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True, validated_data={})
    return f"default {str(value).lower() if isinstance(value, bool) else _shown(value)}"


def read_yaml(file: Path) -> dict[str, Any]:
    """A YAML file that holds a mapping without repeated keys, its scalars not yet read. Raises `ConfigError`."""
    if not file.is_file():
        near = ", ".join(sorted(str(path) for path in Path("configs").glob("*.yaml")))
        remedy = f"Configs here: {near}" if near else "`segcct init DIR` writes one for a folder of scans"
        raise ConfigError("no such config file", file=file, remedy=remedy)
    try:
        content = yaml_text.parse(read_small(file, MOST_BYTES).decode("utf-8"))
    except (yaml.YAMLError, ValueError) as error:  # PyYAML lets numbers and dates that cannot be through
        raise ConfigError("is not YAML", file=file, found=" ".join(str(error).split())[:300]) from None
    if not isinstance(content, dict):
        raise ConfigError(
            "holds no configuration", file=file, found=type(content).__name__, expected="sections of keys"
        )
    return content


def _yaml_value(text: str) -> Any:
    try:
        value = yaml_text.parse(text)
    except yaml.YAMLError:
        return text
    if isinstance(value, Scalar):
        return Scalar(text.strip())  # a # behind it is no comment here
    if value is None and text.strip():
        return text
    return text if value == {"id": ""} else value  # the pattern `{id}` reads as a mapping


def _laid_over(content: Mapping[str, Any], path: Sequence[str], value: Any) -> dict[str, Any]:
    head, *tail = path
    if not tail:
        return {**content, head: value}
    below = content.get(head)
    return {**content, head: _laid_over(below if isinstance(below, Mapping) else {}, tail, value)}


def _worded(kind: type[BaseModel], error: ValidationError, overrides: Mapping[str, Any], source: str) -> ConfigError:
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
        if details["loc"] and details["loc"][-1] in _ALTERNATIVES:
            details["loc"] = details["loc"][:-1]
        dotted = _dotted(kind, details["loc"])
        same = [each for each in problems[-1:] if each["input"] is details["input"]]
        if same and _dotted(kind, same[0]["loc"]) == dotted:
            other = details["msg"].removeprefix("Input should be ")
            same[0]["msg"] += "" if other in same[0]["msg"] else f" or {other}"
        else:
            problems.append(details)
    return problems


def _one(kind: type[BaseModel], details: Any, overrides: Mapping[str, Any], source: str) -> ConfigError:
    dotted = _dotted(kind, details["loc"])
    given = any(dotted == key or dotted.startswith(key + ".") or key.startswith(dotted + ".") for key in overrides)
    file = COMMAND_LINE if given and dotted else source
    known = [key.name for key in keys(kind)]
    if details["type"] == "extra_forbidden":
        inner = next((key for key in overrides if key.startswith(dotted + ".")), None)
        if inner is not None:  # a mistyped section: what was typed, not the mapping it became
            return ConfigError(
                f"unknown key {_shown(inner)}", file=file, found=_shown(overrides[inner]),
                remedy=f"Nearest valid key: {_nearest(inner, known)}",
            )  # fmt: skip
        return ConfigError(
            f"unknown key {_shown(dotted)}",
            file=file,
            found=_shown(details["input"]),
            remedy=f"Nearest valid key: {_nearest(dotted, known)}",
        )
    if details["type"] == "missing":
        return ConfigError(f"key {_shown(dotted)} is missing", file=file, expected=_description(kind, dotted))
    message = _shown(details["msg"].removeprefix("Value error, "), most=400)
    if details["type"] == "value_error" and dotted not in known:
        return ConfigError("impossible combination", file=file, found=message)
    return ConfigError(
        f"key {_shown(dotted)} has a value that cannot be used",
        file=file,
        found=_shown(details["input"]),
        expected=message[:1].lower() + message[1:],
    )


def _dotted(kind: type[BaseModel], location: Sequence[str | int]) -> str:
    """pydantic's location without the union branches it adds behind the key."""
    parts: list[str] = []
    known = {key.name: key for key in keys(kind)}
    for part in location:
        name = ".".join(parts)
        if name in known and not known[name].open:
            break
        parts.append(str(part))
    return ".".join(parts)


def _description(kind: type[BaseModel], dotted: str) -> str | None:
    for key in keys(kind):
        if key.name == dotted and key.field.description:
            return " ".join(key.field.description.split())
    inside = [key.name for key in keys(kind) if key.name.startswith(dotted + ".") and key.field.is_required()]
    return f"at least {', '.join(inside)}" if inside else None


def _nearest(dotted: str, known: Sequence[str]) -> str:
    """The likeliest key: by whole name, else by last part, so that `epochs` finds `train.epochs`."""
    whole = difflib.get_close_matches(dotted, known, n=1, cutoff=0.75)
    if whole:
        return whole[0]
    leaf = dotted.rsplit(".", 1)[-1]
    by_leaf = difflib.get_close_matches(leaf, [name.rsplit(".", 1)[-1] for name in known], n=1, cutoff=0.6)
    if by_leaf:
        return next(name for name in known if name.rsplit(".", 1)[-1] == by_leaf[0])
    return difflib.get_close_matches(dotted, known, n=1, cutoff=0.0)[0]


def _shown(value: object, most: int = 80) -> str:
    if isinstance(value, BaseModel):
        return "see its keys"
    text = "null" if value is None else str(value)
    return text if len(text) <= most else text[: most - 3] + "..."
