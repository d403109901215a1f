"""Code, messages, help and pages are spelled as in the United States, but for names that users were given."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "segcct"
BRITISH = re.compile(
    r"(?:colour|grey|labelled|behaviour|centre|neighbour|favour|fibre|catalogue|tumour|modell|cancell|licence"
    r"|learnt|programme\b|oedema|millimetre|artefact|judgement"
    r"|(?:anonym|normal|standard|recogn|organ|summar|initial|optim|visual|general|random|regular|synthes)"
    r"is(?:e|ed|es|er|ing|ation)\b)",
    re.IGNORECASE,
)
NAMES = re.compile(
    r"([\"'`])(?:--)?[\w-]+\1|\b[\w.]+\.unlabelled\b|\bunlabelled(?:_list\b|: | takes)"
    r"|\bCancelledError\b"
)
"""What is written in quotes by itself is a name: a key of a file, an option."""


@cache
def is_british(word: str) -> bool:
    return BRITISH.search(word) is not None


def british_words(text: str) -> list[str]:
    """Of a text as it stands, names too."""
    return [word for word in re.findall(r"\w+", text) if is_british(word)]


def british(text: str) -> list[str]:
    return british_words(NAMES.sub(" ", text))


@pytest.mark.parametrize("suffix", [".py", ".html", ".js", ".css"])
def test_the_package_is_spelled_as_in_the_united_states(suffix: str) -> None:
    files = sorted(PACKAGE.rglob(f"*{suffix}"))
    assert files
    wrong = {str(file.relative_to(PACKAGE)): british(file.read_text(encoding="utf-8")) for file in files}
    assert {name: words for name, words in wrong.items() if words} == {}


def test_a_british_word_would_be_found() -> None:
    assert british("a mask in colours") == ["colours"]
    assert british('the option "--anonymise"') == []
    assert british("set data.split.unlabelled_list") == []
    assert british("an unlabelled case of train.unlabelled") == ["unlabelled"]
