"""JSON objects as typed records: the writer fills fields, readers get what is checked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from segcct.errors import DataError, SegcctError, short_reason

LONGEST_NAME = 4096
"""Characters of a file name."""


def _file_name(value: Any) -> str:
    if not isinstance(value, str) or len(value) > LONGEST_NAME:
        raise ValueError("not the name of a file")
    return value


FileName = Annotated[Any, AfterValidator(_file_name)]
"""A text of at most 4,096 characters; pydantic's own refuses bytes of a name that are not UTF-8."""


def first_problem(error: ValidationError) -> str:
    """The first value that is missing or cannot be used, and why, in one line."""
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"])[:120]
    return ": ".join(filter(None, (place, short_reason(first["msg"]))))


class Record(BaseModel):
    """A JSON object, or part of one: strict types, unknown keys kept."""

    model_config = ConfigDict(strict=True, extra="allow")
    NOT_THIS: ClassVar[str] = "does not hold what is expected"
    """How the error about a file that is no such record begins."""
    ERROR: ClassVar[type[SegcctError]] = DataError
    """The class of that error."""

    @classmethod
    def from_json(cls, content: Mapping[str, Any], file: Path, remedy: str | None = None) -> Self:
        """The record of a JSON object. Raises `ERROR` naming the first value that is missing or of another type."""
        try:
            return cls.model_validate(dict(content))
        except ValidationError as error:
            raise cls.ERROR(cls.NOT_THIS, file=file, found=first_problem(error), remedy=remedy) from None

    def to_json(self) -> dict[str, Any]:
        """The JSON object: every field that was set."""
        return self.model_dump(exclude_unset=True)
