"""Questions to HDF5 files, answered by a separate process: `ask`.

The HDF5 library can be crashed by a damaged file, or be made to run forever; no check from outside finds every such
file. So one small process reads for each process that asks, file after file (hdf5_reader.py). Where it dies over a
file, that file is refused.
"""

from __future__ import annotations

import atexit
import contextlib
import io
import json
import math
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segcct.errors import VolumeError
from segcct.images.size_limits import AGAIN
from segcct.images.streams import read_exactly

if sys.platform == "linux":
    import fcntl

_PIPE_BYTES = 2**20
"""What an unprivileged process may ask for."""
_PROGRAM = (
    "import sys; sys.path[:] = {path!r}; "
    "from segcct.images.hdf5_reader import serve; serve(sys.stdin.buffer, sys.stdout.buffer)"
)
_MOST_ANSWER = 2**26
"""Bytes of an answer that is no array."""


class _DiedError(Exception):
    """The process that reads ended before it had answered in full."""

    def __init__(self, code: int) -> None:
        super().__init__(_ending(code))
        killed = code in (-getattr(signal, name, 0) for name in ("SIGKILL", "SIGTERM"))
        self.remedy = "It may have run out of memory: free some, and try again" if killed else AGAIN


class _Reader:
    """The process that reads for this one; started when it is first needed, and again after it died."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._turn = threading.Lock()

    def ask(self, question: str, files: Sequence[Path], name: str = "") -> list[Any]:
        """What hdf5_reader.py answers for each file. Raises `VolumeError`."""
        answers: list[Any] = []
        with self._turn:
            while len(answers) < len(files):
                left = files[len(answers) :]
                fresh = self._process is None
                try:
                    self._exchange(self._process or self._start(), question, left, name, answers)
                except _DiedError as error:  # one that had idled or read before is replaced: a fresh one decides
                    if fresh:
                        file = files[len(answers)]
                        raise VolumeError("cannot be read", file=file, found=error, remedy=error.remedy) from None
        return answers

    def _start(self) -> subprocess.Popen[bytes]:
        command, pipe = [sys.executable, "-c", _PROGRAM.format(path=sys.path)], subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL)
        if sys.platform == "linux":
            with contextlib.suppress(OSError):  # a few slices fit, so that it reads on while we work
                fcntl.fcntl(_pipes(self._process)[1], fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        return self._process

    def _exchange(
        self, process: subprocess.Popen[bytes], question: str, files: Sequence[Path], name: str, answers: list[Any]
    ) -> None:
        """Add the answers to a request, as far as they come. Raises `VolumeError`, or `_DiedError`."""
        requests, incoming = _pipes(process)
        request = {"question": question, "files": [str(file.absolute()) for file in files], "name": name}
        try:
            requests.write(json.dumps(request).encode() + b"\n")
            requests.flush()
            for file in files:
                answers.append(_answer(incoming, file))
        except VolumeError:
            raise
        except (OSError, EOFError, ValueError):
            raise _DiedError(self.stop(patience_s=1.0)) from None
        except BaseException:  # an interrupt: what is still in the pipe would answer the next request
            self.stop()
            raise

    def stop(self, *, patience_s: float = 0.0) -> int:
        """End the process, if there is one and it does not end by itself within `patience_s`; returns its exit code."""
        process, self._process = self._process, None
        if process is None:
            return 0
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience_s)
        process.kill()
        for pipe in _pipes(process):
            with contextlib.suppress(OSError):
                pipe.close()
        return process.wait()

    def leave_to_parent(self) -> None:
        """After a fork: the process goes on answering the parent alone."""
        process, self._process = self._process, None
        self._turn = threading.Lock()
        if process is not None:
            process.returncode = 0  # not to be waited for
            for pipe in _pipes(process):
                pipe.raw.close()


def _pipes(process: subprocess.Popen[bytes]) -> tuple[io.BufferedWriter, io.BufferedReader]:
    requests, answers = process.stdin, process.stdout
    assert isinstance(requests, io.BufferedWriter)
    assert isinstance(answers, io.BufferedReader)
    return requests, answers


def _answer(incoming: io.BufferedReader, file: Path) -> Any:
    """The next answer. Raises `VolumeError` as the other process did, and `EOFError` where it ends too early."""
    answer = json.loads(incoming.readline(_MOST_ANSWER))
    if "error" in answer:
        what, found, expected, remedy = answer["error"]
        raise VolumeError(what, file=file, found=found, expected=expected, remedy=remedy)
    if "memory" in answer:
        raise MemoryError
    if "dtype" not in answer:
        return answer["value"]
    dtype, shape = np.dtype(answer["dtype"]), answer["value"]
    return read_exactly(incoming, math.prod(shape) * dtype.itemsize).view(dtype).reshape(shape)


def _ending(code: int) -> str:
    if code == -getattr(signal, "SIGXCPU", 0) != 0:
        return "it keeps the HDF5 library busy without an end"
    if code in (-getattr(signal, "SIGKILL", 0), -getattr(signal, "SIGTERM", 0)):
        return f"the process that reads HDF5 files was killed (signal {-code})"
    code_name = f"signal {-code}" if code < 0 else f"exit code {code}"
    return f"the HDF5 library crashed over it ({code_name})"


_reader = _Reader()
ask = _reader.ask
"""(question, files, array name) -> what hdf5_reader.py answers for each file. Raises `VolumeError`."""
atexit.register(_reader.stop)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reader.leave_to_parent)
