"""Fixtures every test file shares, and the order: quick tests first."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: threads only get into each other's way on tiny tensors
os.environ.setdefault("SEGCCT_PRECISION", "fp32")  # `precision: auto` gives the same figures on every machine

settings.register_profile("suite", deadline=None, derandomize=True)  # the same examples on every machine, however slow
settings.load_profile("suite")

LOOPBACK = ("127.0.0.1", "::1", "localhost", None)
"""Hosts that are this machine; None in a look-up is the server that is started here."""
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
def refused_calls() -> Iterator[list[str]]:
    """Connections and look-ups that were tried; sockets refuse whatever leaves this machine, and it is noted here."""
    calls: list[str] = []

    def check(host: object, call: str) -> None:
        if host not in LOOPBACK:
            calls.append(call)
            raise OSError(f"no network in tests: {call}")

    def local_call(name: str) -> Callable[..., object]:
        original = getattr(socket.socket, name)

        def checked(self: socket.socket, *given: Any) -> object:
            if self.family in (socket.AF_INET, socket.AF_INET6):
                check(given[-1][0], f"{name} to {given[-1]}")
            return original(self, *given)

        return checked

    def local_lookup(name: str) -> Callable[..., object]:
        original = getattr(socket, name)

        def checked(host: object, *more: object, **named: object) -> object:
            check(host, f"{name} of {host}")
            return original(host, *more, **named)

        return checked

    with pytest.MonkeyPatch.context() as patch:
        for name in ("connect", "connect_ex", "sendto"):
            patch.setattr(socket.socket, name, local_call(name))
        for name in ("getaddrinfo", "gethostbyname"):
            patch.setattr(socket, name, local_lookup(name))
        yield calls


@pytest.fixture(autouse=True)
def _no_network(refused_calls: list[str]) -> Iterator[None]:
    """No command opens a connection, also none whose failure it would pass over."""
    yield
    tried = refused_calls.copy()
    refused_calls.clear()
    assert not tried


@pytest.fixture
def no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without locks, where a lock tells nothing of its holder."""
    from segcct.files import lock

    def refuse(descriptor: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock, "_lock", refuse)


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
