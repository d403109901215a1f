"""Damage to the two private files of anonymized results: sources.json and files.json."""

from __future__ import annotations

from tests.support.json_changes import drop, put

_OTHER_KEY = "7" * 64

SOURCES = {
    "no key": drop("key"),
    "key as number": put("key", value=7),
    "key cut": put("key", value="7" * 62),
    "key of letters": put("key", value="x" * 64),
    "another key": put("key", value=_OTHER_KEY),
}
"""Masks can no longer be matched with their references."""
SOURCES_EITHER = {
    "no cases": drop("cases"),
    "cases as list": put("cases", value=[1]),
    "an entry as text": put("cases", "*", value="p0"),
    "an entry of nothing": put("cases", "*", value={}),
    "channels as list": put("cases", "*", "channels", value=["t1"]),
    "channels as number": put("cases", "*", "channels", value=3),
    "a channel as number": put("cases", "*", "channels", "t1", value=3),
    "a channel as text": put("cases", "*", "channels", "t1", value="t1.nii.gz"),
    "a channel of nothing": put("cases", "*", "channels", "t1", value=None),
    "a file as number": put("cases", "*", "channels", "t1", value=[3]),
    "a file on a device": put("cases", "*", "channels", "t1", value=["/dev/zero"]),
    "a file of long name": put("cases", "*", "channels", "t1", value=["x" * 10_000]),
    "another case": put("cases", "*", "id", value="p9"),
    "id as list": put("cases", "*", "id", value=[1]),
    "root as list": put("root", value=[1]),
    "command as number": put("command", value=3),
}
"""Damage to what the scores do not need: it may be accepted, but not used wrongly."""
FILES = {
    "files as list": put("files", value=[1]),
    "a case's files as text": put("files", "*", value="x"),
    "a prediction as number": put("files", "*", "prediction", value=3),
    "a prediction as list": put("files", "*", "prediction", value=["x"]),
    "a reference as number": put("files", "*", "reference", value=3),
    "a reference of 10,000 characters": put("files", "*", "reference", value="x" * 10_000),
    "channels as list": put("files", "*", "channels", value=["x"]),
    "a channel as number": put("files", "*", "channels", "t1", value=3),
    "digests as list": put("digests", value=[1]),
    "digests of a case as text": put("digests", "*", value="x"),
    "a digest as number": put("digests", "*", "prediction", value=3),
}
FILES_EITHER = {
    "no files": drop("files"),
    "no digests": drop("digests"),
    "files of nothing": put("files", value={}),
    "files of another case": put("files", value={"p9": {}}),
    "provenance as text": put("provenance", value="mine"),
    "a prediction on a device": put("files", "*", "prediction", value="/dev/zero"),
    "a prediction elsewhere": put("files", "*", "prediction", value="/etc/passwd"),
    "a reference on a device": put("files", "*", "reference", value="/dev/zero"),
    "a reference elsewhere": put("files", "*", "reference", value="/etc/passwd"),
    "a channel elsewhere": put("files", "*", "channels", "t1", value="/etc/passwd"),
    "a reference of long name": put("files", "*", "reference", value="x" * 300),
    "a prediction of long name": put("files", "*", "prediction", value="x" * 300),
    "a channel of long name": put("files", "*", "channels", "t1", value="x" * 300),
    "another digest": put("digests", "*", "prediction", value="0" * 64),
}
"""The page leaves out these images, or says why there are none."""
EMPTY_FILES = ("an empty object", "another object")
"""Changes of the whole object after which files.json names no file."""
