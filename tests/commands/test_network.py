"""No command opens a connection: every one of them runs with sockets that remember who was called."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import training_command

ROOT = Path(__file__).parents[2]
TRAPPED = """
import json, socket, sys

called = []

def trap(name):
    def refuse(*arguments, **named):
        local = arguments and getattr(arguments[0], "family", None) == getattr(socket, "AF_UNIX", object())
        if local:  # processes of one program talk so
            return originals[name](*arguments, **named)
        called.append(f"{name} {arguments[1:] or arguments} {named}")
        raise OSError("no network here")
    return refuse

originals = {name: getattr(socket.socket, name) for name in ("connect", "connect_ex", "sendto")}
for name in originals:
    setattr(socket.socket, name, trap(name))
for name in ("getaddrinfo", "gethostbyname", "create_connection"):
    originals[name] = getattr(socket, name)
    setattr(socket, name, trap(name))

from segcct.cli import main

for command in json.loads(sys.stdin.read()):
    status = main(command)
    print(command[0], status, called, file=sys.stderr)
    assert status == 0, command
    assert not called, (command, called)
print("no connection")
"""


def trapped(program: str, commands: list[list[str]], folder: Path) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", program], input=json.dumps(commands), cwd=folder, env=env,
        capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip


def test_the_trap_catches_a_connection(tmp_path):
    program = TRAPPED.replace("status = main(command)", "socket.create_connection(('192.0.2.1', 80))")
    ended = trapped(program, [["any"]], tmp_path)
    assert ended.returncode
    assert "no network here" in ended.stderr


@pytest.mark.slow
def test_no_command_opens_a_connection(phantom, tmp_path):
    config = str(ROOT / "configs" / "brats_cct_unet.yaml")
    best, root = str(tmp_path / "small" / "best"), str(phantom)
    train = training_command(phantom, tmp_path, train__epochs="1", train__slices_per_epoch="8")
    commands = [
        ["phantom", "acdc", "acdc", "--cases", "1", "--reduce", "4"],
        ["init", "acdc", "--output", "acdc.yaml"],
        ["check", "--config", config, "--data.root", root, "--quick"],
        [*train, "--dry-run"],
        train,
        ["predict", "--model", best, "--input", root, "--split", "test", "--output", "p"],
        ["evaluate", "--prediction", "p", "--reference", root, "--output", "e"],
        ["report", "--evaluation", "e", "--output", "r"],
    ]
    ended = trapped(TRAPPED, commands, tmp_path)
    assert ended.stdout.endswith("no connection\n"), ended.stderr[-3000:]
