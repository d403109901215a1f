"""Modes of files and folders that name patients."""

from __future__ import annotations

import os
import stat

import pytest

from segcct.files.atomic_file import atomic_path
from segcct.files.private_file import make_private

pytestmark = pytest.mark.skipif(os.name == "nt", reason="modes are POSIX")


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(autouse=True)
def generous():
    before = os.umask(0o000)
    yield
    os.umask(before)


def test_a_private_file_is_its_owners_alone_also_while_it_is_written(tmp_path):
    file = tmp_path / "sources.json"
    file.write_text("old")
    file.chmod(0o666)
    with atomic_path(file, private=True) as beside:
        beside.write_text("new")
        assert mode(beside) == 0o600
    assert mode(file) == 0o600
    assert file.read_text() == "new"


def test_folders_of_voxels_are_their_owners_alone_unless_a_group_shares_them(tmp_path):
    tmp_path.chmod(0o755)
    make_private(tmp_path / "cache")
    assert mode(tmp_path / "cache") == 0o700
    make_private(tmp_path / "cache" / "entry")
    assert mode(tmp_path / "cache" / "entry") == 0o700
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o2775)
    make_private(tmp_path / "shared" / "entry")
    assert mode(tmp_path / "shared" / "entry") & 0o777 == 0o770
    for everyone in (0o1777, 0o777):  # as /tmp: nobody shares it on purpose
        (tmp_path / "shared").chmod(everyone)
        make_private(tmp_path / "shared" / oct(everyone))
        assert mode(tmp_path / "shared" / oct(everyone)) == 0o700
