"""Optional packages: imported when they are there; else one error that names the installation."""

from __future__ import annotations

import json

import pytest

from segcct.errors import PackageError
from segcct.extras import import_extra


def test_a_package_that_is_there_is_imported() -> None:
    assert import_extra("json", "export") is json


def test_a_missing_package_is_an_error_that_names_the_extra() -> None:
    with pytest.raises(PackageError) as raised:
        import_extra("no_such_package.part", "export")
    assert "this needs the package no_such_package, which" in str(raised.value)
    assert "pip install 'segcct[export]'" in str(raised.value)
