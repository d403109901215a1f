"""The configurations that are shipped: each loads, and is opened by its command, the expected time and score."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from segcct.config import ClassificationConfig, PretrainingConfig, ReconstructionConfig, SegmentationConfig, settings
from segcct.tasks.task_files import task_of_keys
from tests.support.documents import ROOT
from tests.support.program_names import is_key, options

CONFIGS = ROOT / "configs"
KINDS = {
    "train_seg": SegmentationConfig,
    "train_m2i": ReconstructionConfig,
    "train_cls": ClassificationConfig,
    "pretrain": PretrainingConfig,
}


def opening(file: Path) -> str:
    lines = file.read_text(encoding="utf-8").splitlines()
    first = next(place for place, line in enumerate(lines) if not line.startswith("#"))
    return "\n".join(lines[:first])


@pytest.mark.parametrize("file", sorted(CONFIGS.glob("*.yaml")), ids=lambda file: file.stem)
def test_a_config_is_opened_by_its_command_time_and_score_and_loads(file: Path) -> None:
    words = opening(file)
    script = next(name for name in KINDS if f"python scripts/{name}.py --config configs/{file.name}" in words)
    assert "Time: " in words
    assert "Score" in words
    assert settings.load(KINDS[script], file).run.name == file.stem
    assert task_of_keys(settings.read_yaml(file), {}).load_config() is KINDS[script]


@pytest.mark.parametrize("file", sorted(CONFIGS.glob("*.yaml")), ids=lambda file: file.stem)
def test_what_the_comments_of_a_config_name_exists(file: Path) -> None:
    words = " ".join(re.findall(r"#(.*)", file.read_text(encoding="utf-8")))
    flags = re.findall(r"--[a-z][\w.-]*\w", words)
    assert [flag for flag in flags if not is_key(flag[2:]) and flag not in options()] == []
    named = re.findall(r"\b(?:docs|benchmarks|configs|scripts)/[\w/-]+\.\w+", words)
    assert [name for name in named if not (ROOT / name).is_file()] == []


def test_the_published_split_of_synapse_is_whole() -> None:
    train, test = (
        [line for line in (CONFIGS / "splits" / f"synapse_{side}.txt").read_text().splitlines() if line[0] != "#"]
        for side in ("train", "test")
    )
    assert (len(train), len(test), len({*train, *test})) == (18, 12, 30)
