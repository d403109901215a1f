"""Pseudonyms of patients and cases."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Container

from segcct.files.file_names import composed, spellings

KEY_BYTES = 32


def new_key() -> str:
    """A random key for `pseudonym`, as text."""
    return secrets.token_hex(KEY_BYTES)


def pseudonym(name: str, key: str, known: Container[str] = ()) -> str:
    """A name for a case or patient, a keyed BLAKE2b digest: without the key, guesses of the id cannot be tested.

    All Unicode spellings of an id have one pseudonym. Earlier versions gave each its own: one of those that is in
    `known` is kept.
    """
    digests = (_digest(spelling, key) for spelling in dict.fromkeys((composed(name), *spellings(name))))
    first = next(digests)
    return first if first in known else next((digest for digest in digests if digest in known), first)


def _digest(name: str, key: str) -> str:
    content = name.encode(errors="surrogateescape")
    return "case_" + hashlib.blake2b(content, key=bytes.fromhex(key), digest_size=8).hexdigest()
