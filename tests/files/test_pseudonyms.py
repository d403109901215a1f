"""Names that no guess leads back from."""

from __future__ import annotations

from segcct.files.pseudonyms import new_key, pseudonym


def test_names_are_the_same_under_one_key_and_others_under_another() -> None:
    key = new_key()
    assert pseudonym("JohnDoe", key) == pseudonym("JohnDoe", key) != pseudonym("JaneRoe", key)
    assert pseudonym("JohnDoe", new_key()) != pseudonym("JohnDoe", key)
    assert len({new_key() for _ in range(4)}) == 4
