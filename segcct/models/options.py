"""Typed options of models: an unknown or ill-typed one is an error, never swallowed."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from segcct.errors import ModelError


class ModelOptions(BaseModel):
    """Base of every model's options; a model without options uses it as it is."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


Options = TypeVar("Options", bound=ModelOptions)


def parse_options(name: str, kind: type[Options], given: Mapping[str, object] | None) -> Options:
    """Checks the given options of model `name` against their declaration.

    Raises:
        ModelError: an option the model does not have (listing those it has), or a value it does not take.
    """
    given = dict(given or {})
    valid = list(kind.model_fields)
    for option in given:
        if option not in valid:
            near = difflib.get_close_matches(str(option), valid, n=1)
            raise ModelError(
                f"unknown option of model {name}",
                found=option,
                expected=", ".join(valid) if valid else "no options",
                remedy=f"Did you mean {near[0]}?" if near else None,
            )
    try:
        return kind(**given)
    except ValidationError as error:
        first = error.errors()[0]
        option = ".".join(str(part) for part in first["loc"]) or ", ".join(given)
        raise ModelError(
            f"option {option} of model {name}", found=repr(first["input"]), expected=first["msg"]
        ) from error
