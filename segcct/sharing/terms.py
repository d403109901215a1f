"""License and training data of a shared model, without which nobody may use it."""

from __future__ import annotations

from dataclasses import dataclass

from segcct.errors import ConfigError


@dataclass(frozen=True)
class Terms:
    """What only the authors of a model know.

    Args:
        license: its name, as the Hub lists them (`apache-2.0`, `cc-by-nc-4.0`, `other` ...).
        training_data: the data it was trained on, in words.

    Raises `ConfigError` where one of them is empty.
    """

    license: str
    training_data: str

    def __post_init__(self) -> None:
        for flag, text, example in (
            ("--license", self.license, "apache-2.0, cc-by-nc-4.0 or other"),
            ("--training-data", self.training_data, "the dataset's name and version, and the terms that it is under"),
        ):
            if not text.strip():
                raise ConfigError(
                    f"{flag} is empty, and nobody may use a model without it", expected=example, remedy=f"Add {flag}"
                )
