"""A model to share, and a stand-in of the Hub to share it by."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from segcct.config import SegmentationConfig, settings
from tests.support.documents import ROOT
from tests.support.hub_server import GOOD_TOKEN, HubServer, hub_server
from tests.support.untrained import save_untrained


@pytest.fixture(scope="session")
def best(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A best/ folder for scans of one channel."""
    folder = tmp_path_factory.mktemp("shared") / "run" / "best"
    overrides = {"data.image_size": 32, "data.root": "data/acdc"}
    config = settings.load(SegmentationConfig, ROOT / "configs" / "acdc_cct_unet.yaml", overrides)
    return save_untrained(folder, "cct_unet_t", config.data)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    """An empty server that huggingface_hub talks to, with an empty cache, logged in."""
    monkeypatch.setenv("HF_TOKEN", GOOD_TOKEN)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # a protocol of its own, which the server has not
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    with hub_server() as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        files = "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.url + files)
        yield server
