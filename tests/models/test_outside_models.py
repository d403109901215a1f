"""A network from outside the package: one file, which an installed package names as an entry point."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from segcct.cli import main
from segcct.models import zoo
from tests.support.installed_package import install

FILE = '''
from typing import Annotated

from pydantic import Field
from torch import nn

from segcct.models.options import ModelOptions
from segcct.models.zoo import Entry, register_model


class NarrowOptions(ModelOptions):
    """Options of the narrow network."""

    width: Annotated[int, Field(ge=1, le=64)] = 4
    """Channels inside."""


def build(*, in_channels, num_classes, image_size, options):
    return nn.Sequential(
        nn.Conv2d(in_channels, options.width, 3, padding=1), nn.ReLU(), nn.Conv2d(options.width, num_classes, 1)
    )


register_model(Entry("narrow_net", "segmenter", build, NarrowOptions))
'''


@pytest.fixture
def install_networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Installs the package `narrow-nets`, of one file of that text."""
    return lambda source: install(tmp_path, monkeypatch, zoo._TABLE, "narrow_nets", source, package="narrow-nets")


def test_a_model_from_outside_is_known_by_its_name(
    install_networks: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """A config trains it and its best/ folder predicts: project/test_docs_extend.py."""
    install_networks(FILE)
    assert main(["models", "narrow_net"]) == 0
    assert " ".join(capsys.readouterr().out.splitlines()[1].split()[:3]) == "narrow_net segmenter 60"
    assert main(["models", "narrow_nat"]) == 1
    assert "Did you mean narrow_net?" in capsys.readouterr().err
    network = zoo.create_model("narrow_net", 1, 4, 32, {"width": 3})
    assert sum(value.numel() for value in network.parameters()) == 46  # 3 x 9 + 3 within, 3 x 4 + 4 for the classes


def test_a_package_that_cannot_be_loaded_is_named(
    install_networks: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    install_networks("import nothing_of_that_name")
    assert main(["models", "unet"]) == 0  # the table's own need no plugin
    assert main(["models"]) == 1
    errors = capsys.readouterr().err
    assert "added of package narrow-nets" in errors
    assert "nothing_of_that_name" in errors
