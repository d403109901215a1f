"""Pseudonyms of patients and cases."""

from __future__ import annotations

import hashlib
import secrets

KEY_BYTES = 32


def new_key() -> str:
    """A random key for `pseudonym`, as text."""
    return secrets.token_hex(KEY_BYTES)


def pseudonym(name: str, key: str) -> str:
    """A name for a case or patient, a keyed BLAKE2b digest: without the key, guessed ids cannot be tried."""
    content = name.encode(errors="surrogateescape")
    return "case_" + hashlib.blake2b(content, key=bytes.fromhex(key), digest_size=8).hexdigest()
