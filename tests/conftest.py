"""Fixtures every test file shares, and the order: quick tests first."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: threads only get into each other's way on tiny tensors
os.environ.setdefault("SEGCCT_PRECISION", "fp32")  # `precision: auto` gives the same figures on every machine

LOOPBACK = ("127.0.0.1", "::1", "localhost")
SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real images beside the checkout; tests that read it are skipped where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"real images are not at {SHARED_DATA}")
    return SHARED_DATA


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)


@pytest.fixture(scope="session", autouse=True)
def _no_network() -> Iterator[None]:
    """No command opens a connection: every test runs with sockets that refuse to leave this machine."""
    connect = socket.socket.connect

    def local_only(self: socket.socket, address: object) -> None:
        if self.family != getattr(socket, "AF_UNIX", None):
            host = address[0] if isinstance(address, tuple) else address
            assert host in LOOPBACK, f"a connection to {address}"
        connect(self, address)  # type: ignore[arg-type]

    def local_lookup(look_up: Callable[..., object]) -> Callable[..., object]:
        def checked(host: object, *more: object, **named: object) -> object:
            assert host in LOOPBACK, f"a look-up of {host}"
            return look_up(host, *more, **named)

        return checked

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", local_only)
        for name in ("getaddrinfo", "gethostbyname"):
            patch.setattr(socket, name, local_lookup(getattr(socket, name)))
        yield


@pytest.fixture(scope="session")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six small synthetic BraTS cases."""
    from segcct.phantom import write_phantom

    folder = tmp_path_factory.mktemp("phantom") / "brats"
    write_phantom("brats", folder, 6, seed=1, reduce=4)
    return folder


SMALL = {
    "--data.image_size": "64",
    "--data.split.val": "0.2",
    "--data.split.test": "0.2",
    "--model.name": "cct_unet_t",
    "--train.epochs": "2",
    "--train.slices_per_epoch": "24",
    "--train.batch_size": "8",
    "--train.precision": "fp32",
    "--train.pictures": "1",
}
"""Overrides that make the BraTS config train in seconds."""


def training_command(phantom: Path, root: Path, **more: str) -> list[str]:
    """`train-seg` arguments: the BraTS config on the phantom, small, writing below `root`; `more` as data__fold="1"."""
    overrides = {
        **SMALL,
        "--data.root": str(phantom),
        "--data.cache": str(phantom.parent / "cache"),
        "--run.root": str(root),
        "--run.name": "small",
        **{"--" + name.replace("__", "."): value for name, value in more.items()},
    }
    config = Path(__file__).parents[1] / "configs" / "brats_cct_unet.yaml"
    return ["train-seg", "--config", str(config), *(word for pair in overrides.items() for word in pair)]


@pytest.fixture(scope="session")
def trained(phantom: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a short training on the phantom."""
    from segcct.cli import main

    root = tmp_path_factory.mktemp("runs")
    assert main(training_command(phantom, root)) == 0
    return root / "small"
