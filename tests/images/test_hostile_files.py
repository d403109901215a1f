"""Every hostile file ends in one error or in the right array, soon, and nothing outside its folder is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.hostile_files import Hostile, all_hostile, fault_of
from tests.support.mutations import SEEDS, fault_of_mutant

HOSTILE = all_hostile()


def test_there_are_many_of_each_kind() -> None:
    kinds = [one.kind for one in HOSTILE]
    assert {kind for kind in kinds if kinds.count(kind) >= 20} == set(kinds)
    assert len(kinds) >= 300


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda one: f"{one.kind}: {one.name}".replace("\0", ""))
def test_a_hostile_file_is_refused_or_read_right(hostile: Hostile, tmp_path: Path) -> None:
    assert fault_of(hostile, tmp_path / "case") is None


@pytest.mark.parametrize("kind", SEEDS)
def test_changed_at_random_a_file_is_refused_or_read(kind: str, tmp_path: Path) -> None:
    faults = [fault_of_mutant(kind, number, tmp_path / str(number)) for number in range(150)]
    assert [fault for fault in faults if fault] == []
