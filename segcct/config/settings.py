"""YAML plus command-line overrides -> a typed configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from segcct.config import yaml_text
from segcct.config.config_keys import COMMAND_LINE, config_error, keys, shown
from segcct.config.data_section import DataSection
from segcct.config.layout_table import NameIn
from segcct.config.scalars import typed
from segcct.config.segmentation_config import SegmentationConfig
from segcct.config.yaml_text import Scalar
from segcct.errors import ConfigError, DataError, SegcctError
from segcct.files.json_record import first_problem
from segcct.files.small_file import read_small

Config = TypeVar("Config", bound=BaseModel)
MOST_BYTES = 2**18
"""Largest config that is read; those in use are a hundred times smaller. Reading YAML takes seconds per megabyte."""


def load(kind: type[Config], file: Path, overrides: Mapping[str, Any] | None = None) -> Config:
    """The configuration in `file`, with `overrides` (dotted key -> value) laid over it.

    Raises `ConfigError` for an unreadable file, an unknown key, a wrong type or an impossible combination.
    """
    return build(kind, read_yaml(file), overrides or {}, source=str(file))


def load_data_section(file: Path, arguments: Sequence[str] = ()) -> DataSection:
    """How a segmentation experiment reads its cases; `arguments` are words of the command line that change its keys.

    Raises `ConfigError` as `load`.
    """
    return load(SegmentationConfig, file, parse_overrides(arguments)).data


def build(kind: type[Config], content: Mapping[str, Any], overrides: Mapping[str, Any], *, source: str) -> Config:
    """`content` with `overrides` laid over it, validated; `source` is named in errors."""
    by_key = leaf_overrides(kind, overrides)
    merged = dict(content)
    for dotted, value in by_key.items():
        merged = _laid_over(merged, dotted.split("."), value)
    try:
        return kind.model_validate(typed(merged, kind))
    except ValidationError as error:
        raise config_error(kind, error, by_key, source) from None


def stored_section(
    kind: type[Config],
    content: Mapping[str, Any],
    *,
    file: str | Path | None = None,
    error: type[SegcctError] = DataError,
) -> Config:
    """A data section as a model, predictions or an evaluation hold it. Raises `error` naming the first key whose value
    cannot be used."""
    try:
        return kind.model_validate(dict(content))
    except ValidationError as problem:
        raise error("the stored data section cannot be used", file=file, found=first_problem(problem)) from None


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

    What is not YAML, such as the file pattern `{id}_t1.nii.gz`, is taken as the text it is.
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
        if key.description:
            lines.append("      " + key.description)
        tables = [each.table for each in key.field.metadata if isinstance(each, NameIn)]
        lines += [f"      One of {', '.join(table)}." for table in tables]
    return "\n".join(lines)


def _default(field: FieldInfo) -> str:
    """`required`, or the default as it would be written in YAML."""
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True, validated_data={})
    return f"default {str(value).lower() if isinstance(value, bool) else shown(value)}"


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
