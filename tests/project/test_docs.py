"""What the documentation names exists: commands, options, keys, files, messages, links; the reference is current."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest
import yaml

from segcct.config import settings
from tests.project.test_architecture import LEVELS
from tests.project.test_spelling import british_words
from tests.support.documents import (
    ROOT,
    Block,
    anchors,
    blocks,
    links,
    made_by_init,
    pages,
    prose,
    spans,
    words_of,
)
from tests.support.program_names import is_key, options, parsers


def wrong_span(span: str) -> str | None:
    """Why a span of inline code is wrong, as far as it speaks of the program."""
    first, *rest = span.split()
    flags = [word for word in (first, *rest) if re.match(r"--(?!section)\w", word)]
    if first == "segcct" and rest and not rest[0].startswith("-"):
        if rest[0] not in (*parsers(), "COMMAND"):
            return f"no command {rest[0]}"
    elif first == "make" and rest:
        return None if re.search(rf"^{rest[0]}:", (ROOT / "Makefile").read_text(), re.MULTILINE) else "no such target"
    elif re.match(r"^(docs|segcct|configs|benchmarks|tests|scripts)/[^\s<]*$", span):
        return None if span in made_by_init() or list(ROOT.glob(span.rstrip("/"))) else "no such file"
    elif re.match(r"^(run|data|augment|model|train)\.[a-z_.\d]+:?$", first) and not re.search(r"\.(json|list)$", first):
        return None if is_key(first.rstrip(":")) else "no such key"
    unknown = [flag for flag in flags if not (is_key(flag[2:]) if "." in flag else flag in options())]
    return f"no option {unknown[0]}" if unknown and first in ("segcct", *flags) else None


def test_names_in_the_text_exist() -> None:
    named = [(page, span) for page in pages() for span in spans(page)]
    assert [f"{page}: {span}: {reason}" for page, span in named if (reason := wrong_span(span))] == []


@pytest.mark.parametrize("block", [block for page in pages() for block in blocks(page, "yaml")], ids=str)
def test_yaml_blocks_hold_valid_keys(block: Block, tmp_path: Path) -> None:
    file = tmp_path / "block.yaml"
    file.write_text(block.text, encoding="utf-8")

    def names(content: dict, prefix: str = "") -> list[str]:
        deeper = [names(value, f"{prefix}{key}.") for key, value in content.items() if isinstance(value, dict)]
        flat = [f"{prefix}{key}" for key, value in content.items() if not isinstance(value, dict)]
        return sum(deeper, flat)

    assert [name for name in names(settings.read_yaml(file)) if not is_key(name)] == []


def test_messages_that_troubleshooting_explains_are_those_of_the_program() -> None:
    page = ROOT / "docs" / "troubleshooting.md"
    quoted = re.findall(r"^(?:\*\*|\| )`([^`]+)`(?:\.\*\*| \|)", prose(page), re.MULTILINE)
    sources = "\n".join(file.read_text(encoding="utf-8") for file in (ROOT / "segcct").rglob("*.py"))
    assert len(quoted) > 10
    assert [message for message in quoted if message not in sources] == []


def test_links_resolve() -> None:
    broken = []
    for page, link in [(each, link) for each in pages() for link in links(each)]:
        target, _, anchor = link.partition("#")
        if target.startswith("https://"):
            continue
        file = (page.parent / target) if target else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(f"{page}: {link}")
    assert broken == []


def test_contributing_lists_the_packages_from_the_bottom_up() -> None:
    tree = next(block.text for block in blocks(ROOT / "CONTRIBUTING.md", "text") if "segcct/" in block.text)
    names = re.findall(r"^  ([a-z_]+)(?:/|\.py) ", tree, re.MULTILINE)
    places = (ROOT / "segcct").iterdir()
    there = [place.stem for place in places if place.suffix == ".py" or (place / "__init__.py").is_file()]
    assert sorted(names) == sorted(name for name in there if name != "__init__")
    levels = [next(number for number, level in enumerate(LEVELS) if name in level) for name in names]
    assert levels == sorted(levels)


def test_every_page_of_docs_is_linked_from_another() -> None:
    reached = {
        (page.parent / link.partition("#")[0]).resolve() for page in pages() for link in links(page) if link[0] != "#"
    }
    assert [page.name for page in pages() if "docs" in page.parts[len(ROOT.parts) :] and page not in reached] == []


def test_blocks_name_their_language() -> None:
    known = {"sh", "python", "yaml", "text"}
    assert [str(block) for page in pages() for block in blocks(page) if block.language not in known] == []
    indented = [str(page) for page in pages() if re.search(r"^\n {4}\S", prose(page), re.MULTILINE)]
    assert indented == [], "an indented block, which no test reads"


def test_the_spelling_is_american() -> None:
    written = [page for page in pages() if page.parent.name != "reference"]
    assert [f"{page}: {word}" for page in written for word in british_words(words_of(page))] == []


def test_workflows_and_hooks_are_yaml_and_test_the_pythons_that_are_promised() -> None:
    promised = re.findall(r"Python :: (3\.\d+)", (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    for file in [*(ROOT / ".github").rglob("*.yml"), ROOT / ".pre-commit-config.yaml"]:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        if file.parent.name == "workflows":
            assert content["jobs"]["tests"]["strategy"]["matrix"]["python"] == promised


def test_the_readme_fits_on_a_few_screens() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_the_reference_is_current() -> None:
    generator = runpy.run_path(str(ROOT / "docs" / "generate_reference.py"))
    for name, content in generator["pages"]().items():
        written = (ROOT / "docs" / "reference" / name).read_text(encoding="utf-8")
        assert written == content, f"docs/reference/{name} is not current: run make docs"
