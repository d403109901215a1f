"""Writes the pages of docs/reference (commands, configuration keys, models, metrics) from the program itself.

    python docs/generate_reference.py            # write them
    python docs/generate_reference.py --check    # exit 1 if they are not current, and say which

tests/project/test_docs.py holds that the committed pages are current.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from segcct.commands import build_parser
from segcct.config import ClassificationConfig, PretrainingConfig, ReconstructionConfig, SegmentationConfig
from segcct.config.descriptions import description_of
from segcct.metrics import all_metrics

ROOT = Path(__file__).resolve().parents[1]
FOLDER = Path(__file__).resolve().parent / "reference"
NOTE = "<!-- Written by docs/generate_reference.py; edit the program's own help texts instead. -->"
CONFIGS: dict[str, type[BaseModel]] = {
    "train-seg": SegmentationConfig,
    "train-m2i": ReconstructionConfig,
    "train-cls": ClassificationConfig,
    "pretrain": PretrainingConfig,
}
WORDS = {"integer": "integer", "number": "number", "string": "text", "boolean": "true or false"}


def pages() -> dict[str, str]:
    """File name below docs/reference -> its content."""
    return {"cli.md": cli_page(), "config.md": config_page(), "models.md": models_page(), "metrics.md": metrics_page()}


def cli_page() -> str:
    """Every command with its arguments."""
    commands = subparsers(build_parser())
    lines = [
        "# Commands",
        "",
        NOTE,
        "",
        "`segcct COMMAND --help` prints the same. Exit codes: 0 success; 1 an expected failure, reported in one line; "
        "2 wrong usage; 130 interrupted by Ctrl-C; 141 ended before it was done, because nobody reads the output.",
        "",
        "| command | purpose |",
        "|---|---|",
        *(
            row(f"[`segcct {name}`](#segcct-{name})", (parser.description or "").rstrip("."))
            for name, parser in commands.items()
        ),
    ]
    scripts = scripts_by_command()
    for name, parser in commands.items():
        lines += ["", *command_section(name, parser, scripts.get(name))]
    return "\n".join(lines) + "\n"


def subparsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Command name -> its parser."""
    action = next(each for each in parser._actions if isinstance(each, argparse._SubParsersAction))
    return dict(action.choices)


def scripts_by_command() -> dict[str, str]:
    """Command -> the file in scripts/ that runs it."""
    found = {}
    for file in sorted((ROOT / "scripts").glob("*.py")):
        match = re.search(r'main\(\["([a-z0-9-]+)"', file.read_text(encoding="utf-8"))
        if match:
            found[match[1]] = f"scripts/{file.name}"
    return found


def command_section(name: str, parser: argparse.ArgumentParser, script: str | None) -> Iterator[str]:
    """The lines of one command."""
    yield f"## segcct {name}"
    yield ""
    yield (parser.description or "") + (f" Also `python {script}`." if script else "")
    if name in CONFIGS:
        yield f"Takes every [configuration key](config.md#{name}) as `--section.key VALUE`."
    elif parser.get_default("takes_keys"):
        yield "Takes every [configuration key](config.md#train-seg) as `--section.key VALUE`."
    yield ""
    yield "| argument | | meaning |"
    yield "|---|---|---|"
    for action in parser._actions:
        if action.dest != "help" and action.help != argparse.SUPPRESS:
            yield row(invocation(action), necessity(parser, action), help_of(parser, action))


def invocation(action: argparse.Action) -> str:
    """`--split {train,val,test}`, `DIR`."""
    if not action.option_strings:
        return f"`{action.metavar or action.dest}`"
    name = ", ".join(action.option_strings)
    if action.nargs == 0:
        return f"`{name}`"
    value = action.metavar or ("{" + ",".join(action.choices) + "}" if action.choices else action.dest.upper())
    return f"`{name} {value}{' ...' if action.nargs in ('+', '*') else ''}`"


def necessity(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    """Whether an argument must be given."""
    for group in parser._mutually_exclusive_groups:
        if action in group._group_actions and group.required:
            return "one of " + ", ".join(f"`{each.option_strings[0]}`" for each in group._group_actions)
    return "required" if action.required and action.nargs not in ("*", "?") else ""


def help_of(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    """The help text with its defaults filled in."""
    return " ".join(((action.help or "") % {**vars(action), "prog": parser.prog}).split())


def config_page() -> str:
    """Every configuration key of every kind of training."""
    lines = [
        "# Configuration keys",
        "",
        NOTE,
        "",
        "A config is a YAML file of sections; any key can be overridden on the command line as `--section.key VALUE`. "
        "Unknown keys are errors that name the nearest valid one. `--dry-run` prints the value of every key.",
    ]
    parser = subparsers(build_parser())
    for name, kind in CONFIGS.items():
        lines += ["", f"## {name}", "", parser[name].description or "", *sections(kind)]
    return "\n".join(lines) + "\n"


def sections(kind: type[BaseModel], prefix: str = "", about: str | None = None) -> Iterator[str]:
    """A table of the leaf keys of a section, then its inner sections."""
    inner = {name: field for name, field in kind.model_fields.items() if is_section(field)}
    schema = kind.model_json_schema()
    leaves = {name: field for name, field in kind.model_fields.items() if name not in inner}
    if leaves:
        yield from ("", f"### {prefix.rstrip('.')}", "")
        if about:
            yield from (about, "")
        yield from ("| key | value | default | meaning |", "|---|---|---|---|")
        for name, field in leaves.items():
            properties = schema["properties"][name]
            yield row(f"`{prefix}{name}`", type_of(properties), default_of(field), description_of(kind, name))
    for name, field in inner.items():
        assert isinstance(field.annotation, type)
        yield from sections(field.annotation, f"{prefix}{name}.", description_of(kind, name) or None)


def models_page() -> str:
    """Every model and the options it takes."""
    from segcct.models.zoo import entry, model_names

    lines = [
        "# Models and their options",
        "",
        NOTE,
        "",
        "Set the name as `model.name` and the options as `model.options` (`--model.options.positional sine`). "
        "`segcct models` prints parameters and multiply-accumulates. `timm:NAME` is any classifier of timm, and "
        "`timm/NAME` any of its encoders that returns a feature pyramid. Networks of your own: "
        "[how to extend](../how-to/extend.md#a-network).",
    ]
    by_options: dict[tuple[str, type[BaseModel]], list[str]] = {}
    for name in model_names():
        by_options.setdefault((entry(name).kind, entry(name).options), []).append(name)
    for (kind, options), names in by_options.items():
        about = " ".join((options.__doc__ or "").split())
        title = about.partition(";")[0].partition(",")[0].rstrip(".") if options.model_fields else "No options"
        lines += ["", f"## {title}", "", f"{kind.capitalize()}: {', '.join(f'`{name}`' for name in names)}."]
        lines += ["", about] if options.model_fields else []
        lines += option_table(options)
    return "\n".join(lines) + "\n"


def option_table(options: type[BaseModel]) -> Iterator[str]:
    """The options of a model; no line where there is none."""
    properties = options.model_json_schema().get("properties", {})
    if properties:
        yield from ("", "| option | value | default | meaning |", "|---|---|---|---|")
    for name, field in options.model_fields.items():
        yield row(f"`{name}`", type_of(properties[name]), default_of(field), description_of(options, name))


def is_section(field: FieldInfo) -> bool:
    """The field holds keys of its own."""
    return isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)


def default_of(field: FieldInfo) -> str:
    """The default as YAML writes it."""
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    return f"`{json.dumps(str(value) if isinstance(value, Path) else value)}`".replace('"', "")


def type_of(schema: Mapping[str, Any]) -> str:
    """What values a key takes, from its JSON schema."""
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(type_of(each) for each in schema["anyOf"]))
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    kind = schema.get("type")
    if kind == "array":
        return f"list of {type_of(schema['items'])}"
    if kind == "object":
        return f"mapping of names to {type_of(schema['additionalProperties'])}"
    if schema.get("format") == "path":
        return "path"
    if kind == "null":
        return "null"
    return WORDS[str(kind)] + bounds(schema)


def bounds(schema: Mapping[str, Any]) -> str:
    """` from 0 to 1`, ` above 0`."""
    low, above = schema.get("minimum"), schema.get("exclusiveMinimum")
    high, below = schema.get("maximum"), schema.get("exclusiveMaximum")
    parts = []
    if low is not None:
        parts.append(f"from {low:g}")
    if above is not None:
        parts.append(f"above {above:g}")
    if high is not None:
        parts.append(f"to {high:g}")
    if below is not None:
        parts.append(f"below {below:g}")
    return "".join(f" {part}" for part in parts)


def metrics_page() -> str:
    """Every metric of the table, with its definition under the default convention."""
    better = {True: "higher", False: "lower", None: "closer to 0"}
    lines = [
        "# Metrics",
        "",
        NOTE,
        "",
        "What `segcct evaluate` computes for each structure of each case with the convention `default`. The other "
        "conventions and the rules for empty masks are defined in [evaluation](../evaluation.md). Metrics of your own: "
        "[how to extend](../how-to/extend.md#a-metric).",
        "",
        "| column | metric | unit | range | better | file | definition |",
        "|---|---|---|---|---|---|---|",
    ]
    for metric in all_metrics().values():
        low, high = metric.bounds
        span = f"{low:g} or more" if math.isinf(high) else f"{low:g} to {high:g}"
        file = "details.csv" if metric.in_details else "metrics.csv"
        lines.append(
            row(
                f"`{metric.key}`",
                metric.label,
                metric.unit,
                span,
                better[metric.higher_is_better],
                f"`{file}`",
                metric.definition,
            )
        )
    return "\n".join(lines) + "\n"


def row(*cells: str) -> str:
    """A row of a Markdown table."""
    return "| " + " | ".join(cell.replace("|", "\\|").replace("<", "&lt;") for cell in cells) + " |"


def main() -> int:
    """Write the pages, or check them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a page is not current")
    check = parser.parse_args().check
    old = []
    for name, content in pages().items():
        file = FOLDER / name
        if not file.is_file() or file.read_text(encoding="utf-8") != content:
            old.append(name)
            if not check:
                file.parent.mkdir(exist_ok=True)
                file.write_text(content, encoding="utf-8")
    print(f"{'not current' if check else 'wrote'}: {', '.join(old)}" if old else "docs/reference is current")
    return int(check and bool(old))


if __name__ == "__main__":
    sys.exit(main())
