"""The guard of every test (conftest.py): what leaves this machine is refused, and noted though nobody hears of it."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable

import pytest

ELSEWHERE = ("192.0.2.1", 80)  # an address of no machine
CALLS: dict[str, Callable[[], object]] = {
    "connect": lambda: with_socket(socket.SOCK_STREAM, lambda one: one.connect(ELSEWHERE)),
    "getaddrinfo": lambda: socket.create_connection(("example.com", 80)),
    "gethostbyname": lambda: socket.gethostbyname("example.com"),
    "connect_ex": lambda: with_socket(socket.SOCK_STREAM, lambda one: one.connect_ex(ELSEWHERE)),
    "sendto": lambda: with_socket(socket.SOCK_DGRAM, lambda one: one.sendto(b"x", ELSEWHERE)),
}


def with_socket(kind: socket.SocketKind, use: Callable[[socket.socket], object]) -> object:
    with socket.socket(socket.AF_INET, kind) as opened:
        return use(opened)


@pytest.mark.parametrize("name", CALLS)
def test_a_call_to_another_machine_is_refused_and_noted(name: str, refused_calls: list[str]) -> None:
    with contextlib.suppress(Exception):  # as code does that can do without
        CALLS[name]()
        pytest.fail("it was let through")
    (call,) = refused_calls
    refused_calls.clear()
    assert call.startswith(f"{name} ")


def test_processes_of_this_machine_may_talk(refused_calls: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
        assert refused_calls == []
