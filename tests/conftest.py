"""Fixtures every test file shares, and the order: quick tests first."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real images beside the checkout; tests that read it are skipped where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"real images are not at {SHARED_DATA}")
    return SHARED_DATA


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)
