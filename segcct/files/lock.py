"""One writer at a time: locks on files, which the operating system gives up when their process ends, however it ends.

A lock is a record lock on a small file in the folder that is written to (`fcntl` on POSIX, `msvcrt` on Windows). Child
processes do not inherit it, so a killed run whose loader processes still run holds nothing. The file says who
holds it, and is removed with the lock; one that a killed process left behind is taken over. In a folder that a group
may write to, so is one of another member.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import datetime
from pathlib import Path

from segcct.errors import RunError, StorageError
from segcct.progress import say

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_BUSY = {errno.EACCES, errno.EAGAIN, errno.EDEADLK}
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL}
"""What file systems without locks answer."""
_UNLOCKED = "this file system has no locks, so nothing stops a second process from writing here too"
_POLL_S = 0.05
_ANNOUNCED_AFTER_S = 5.0

_own_locks: dict[str, int] = {}
"""Locked file -> the process that holds it; record locks do not keep the threads of one process apart."""
_guard = threading.Lock()
_announced: set[Path] = set()


@contextmanager
def exclusive(
    file: Path, what: str, *, remedy: str | None = "Wait until it has ended", most_s: float = 0.0
) -> Iterator[None]:
    """Hold the lock `file`, or refuse.

    Args:
        file: the lock; missing folders are made, and removed again where nothing was written to them.
        what: what the other process does, for the error: "another process trains into this run".
        remedy: of the error.
        most_s: seconds to wait for the lock before it is refused.

    Raises:
        RunError: another process, or this one, holds it; names process, machine and time. Or the folder is a link to
            one that is not there.
        OSError: the folder cannot be written to, or the lock is another user's (a `StorageError`, which says so).
    """
    began, announced = time.monotonic(), False
    made = [each for each in (file.parent, *file.parent.parents) if not each.exists()]  # the innermost first
    for each in made:
        if each.is_symlink():  # such as to a disk that is not mounted
            found = f"a link to {each.readlink()}, which is not there"
            raise RunError("is not a folder", file=each, found=found, remedy="Make that folder, or choose another")
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        while (descriptor := _acquire(file)) is None:
            waited = time.monotonic() - began
            if waited >= most_s:
                raise RunError(what, file=file.parent, found=_owner(file), remedy=remedy)
            if waited > _ANNOUNCED_AFTER_S and not announced:
                announced = True
                say(f"waiting for {_owner(file)}, which writes to {file.parent}")
            time.sleep(_POLL_S)
        try:
            yield
        finally:
            _release(file, descriptor)
    finally:
        for folder in made:
            with suppress(OSError):  # something was written to it
                folder.rmdir()


def waiting(file: Path, *, most_s: float = 3600.0) -> AbstractContextManager[None]:
    """Hold the lock `file`, waiting for whoever holds it now; for work that is short, or that another may do first.

    Raises as `exclusive`, where it was not free for `most_s` seconds.
    """
    return exclusive(file, "another process keeps this folder locked", remedy=None, most_s=most_s)


def holder(file: Path, *, unknown: str | None = None) -> str | None:
    """Who holds the lock, in words; None where nobody does, and `unknown` where that cannot be told: the file system
    has no locks, or this user may not write to the folder."""
    if not file.is_file():
        return None
    try:
        descriptor = _acquire(file)
    except OSError:
        return unknown
    if descriptor is None:
        return _owner(file)
    _release(file, descriptor)
    return unknown if descriptor < 0 else None


def remove_left_behind(file: Path) -> None:
    """Remove the lock that a killed process left. One that is held stays, and so does a file that another program
    named like a lock."""
    if _own_locks.get(os.path.realpath(file)) != os.getpid() and _entry(file) is not None:
        holder(file)  # which removes one that is free


def is_lock(file: Path) -> bool:
    """Whether a file is named as locks are: it is no content of the folder."""
    return file.name.startswith(".") and file.name.endswith(".lock")


def _acquire(file: Path) -> int | None:
    """The open file whose lock is held now, -1 where the file system has no locks; None where another holds it."""
    name = os.path.realpath(file)
    with _guard:
        if _own_locks.get(name) == os.getpid():
            return None
        while True:
            descriptor = _open(file)
            try:
                _lock(descriptor)
            except OSError as error:
                os.close(descriptor)
                if error.errno in _BUSY:
                    return None
                if error.errno in _NO_LOCKS:
                    if file.parent not in _announced:
                        _announced.add(file.parent)
                        say(f"{file.parent}: {_UNLOCKED}")
                    return -1
                raise
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), file.stat()):
                    break
            os.close(descriptor)  # its holder removed it between our two steps
        _own_locks[name] = os.getpid()
    _sign(file, descriptor)
    return descriptor


def _sign(file: Path, descriptor: int) -> None:
    """Write into a lock who holds it, for those who find it held; in a folder of a group, let its members open it."""
    since = datetime.now().astimezone().isoformat(" ", "seconds")  # another machine, or container, has other local time
    entry = {"pid": os.getpid(), "host": socket.gethostname(), "since": since}
    if sys.platform != "win32":
        with suppress(OSError):  # another user's
            os.fchmod(descriptor, 0o600 | file.parent.stat().st_mode & 0o666)
    with suppress(OSError):  # on a full disk the lock holds all the same, and does not say whose it is
        os.ftruncate(descriptor, 0)
        os.write(descriptor, json.dumps(entry).encode())


def _open(file: Path) -> int:
    """The lock file, made where it is missing; no link is followed, for its content is replaced."""
    for _ in range(8):
        try:
            return os.open(file, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        except FileNotFoundError:  # another process removed the empty folder
            pass
        except PermissionError as error:
            if not file.is_file():
                raise
            raise _of_another_user(file, error) from None
        file.parent.mkdir(parents=True, exist_ok=True)
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(file))


def _of_another_user(file: Path, cause: OSError) -> StorageError:
    """The error for a lock that this user may not open, as a killed command of another user leaves it."""
    try:
        owner = file.owner()
    except (OSError, KeyError, NotImplementedError):
        owner = "another user"
    failure = StorageError(
        "the lock of this folder belongs to another user",
        file=file,
        found=owner,
        remedy=f"Ask {owner} whether a command still runs there; if none does, have the file deleted",
    )
    failure.errno = cause.errno
    return failure


def _release(file: Path, descriptor: int) -> None:
    if descriptor < 0:
        return
    with _guard:
        _own_locks.pop(os.path.realpath(file), None)
        if sys.platform == "win32":  # which removes no open file
            os.close(descriptor)
        with suppress(OSError):
            file.unlink()
        if sys.platform != "win32":
            os.close(descriptor)


def _lock(descriptor: int) -> None:
    if sys.platform == "win32":
        os.lseek(descriptor, 1 << 30, os.SEEK_SET)  # beyond the text, which others may read
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        os.lseek(descriptor, 0, os.SEEK_SET)
    else:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _owner(file: Path) -> str:
    if _own_locks.get(os.path.realpath(file)) == os.getpid():
        return f"this process, {os.getpid()}"  # to open the file would give the lock up
    return _entry(file) or "another process"


def _entry(file: Path) -> str | None:
    """`process 4711 on ward3, since 2026-11-28 22:40:01+01:00`, as the lock says; None where it does not."""
    try:
        entry = json.loads(file.read_text(encoding="utf-8"))
        return f"process {int(entry['pid'])} on {entry['host']}, since {entry['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return None
