"""Names that no guess leads back from."""

from __future__ import annotations

import hashlib
import unicodedata

from segcct.files.pseudonyms import new_key, pseudonym


def test_names_are_the_same_under_one_key_and_others_under_another() -> None:
    key = new_key()
    assert pseudonym("JohnDoe", key) == pseudonym("JohnDoe", key) != pseudonym("JaneRoe", key)
    assert pseudonym("JohnDoe", new_key()) != pseudonym("JohnDoe", key)
    assert len({new_key() for _ in range(4)}) == 4


def test_all_spellings_of_an_id_have_one_pseudonym_and_a_name_of_before_is_kept() -> None:
    key = new_key()
    composed, decomposed = (unicodedata.normalize(form, "Müller") for form in ("NFC", "NFD"))
    assert pseudonym(composed, key) == pseudonym(decomposed, key)
    before = f"case_{hashlib.blake2b(decomposed.encode(), key=bytes.fromhex(key), digest_size=8).hexdigest()}"
    assert pseudonym(composed, key) != before
    assert pseudonym(composed, key, {before}) == pseudonym(decomposed, key, {before}) == before
    assert pseudonym(composed, key, {before, pseudonym(composed, key)}) == pseudonym(composed, key)
