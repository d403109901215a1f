"""Typed options of models: an unknown or ill-typed one is an error, never swallowed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from segcct.errors import ModelError, did_you_mean

Rate = Annotated[float, Field(ge=0.0, lt=1.0)]
"""Of dropout or stochastic depth."""


class ModelOptions(BaseModel):
    """Base of every model's options; a model without options uses it directly."""

    model_config = ConfigDict(frozen=True, extra="forbid")


Options = TypeVar("Options", bound=ModelOptions)
_CLEAR_OPTIONS = 'If it is of another model, leave it out: --model.options "{}" clears those of a config'


def parse_options(name: str, kind: type[Options], options: Mapping[str, object] | None) -> Options:
    """Checks the options of model `name` against their declaration.

    Raises:
        ModelError: an option the model does not have (listing those it has), or a value it does not take, or `options`
            is not a mapping.
    """
    if not isinstance(options, Mapping | None):
        raise ModelError(f"options of model {name}", found=repr(options), expected="a dictionary from option to value")
    options = dict(options or {})
    valid = list(kind.model_fields)
    for option in options:
        if option not in valid:
            raise ModelError(
                f"unknown option of model {name}",
                found=option,
                expected=", ".join(valid) if valid else "no options",
                remedy=" ".join(filter(None, (did_you_mean(str(option), valid), _CLEAR_OPTIONS))),
            )
    try:
        return kind(**options)
    except ValidationError as error:
        first = error.errors()[0]
        option = ".".join(str(part) for part in first["loc"]) or ", ".join(options)
        raise ModelError(
            f"option {option} of model {name}", found=repr(first["input"]), expected=first["msg"]
        ) from error
