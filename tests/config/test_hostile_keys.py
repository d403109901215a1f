"""Every key of every configuration with values that nobody means: one clear error, or a configuration."""

from __future__ import annotations

import math
from typing import Any

import pytest
from pydantic import BaseModel

from segcct.config import ClassificationConfig, ReconstructionConfig, SegmentationConfig, settings, yaml_text
from segcct.config.config_keys import keys
from segcct.errors import ConfigError

CONTENT = {
    SegmentationConfig: {"data": {"layout": "acdc", "root": "r", "channels": {"cine": "*.nii.gz"}, "scheme": "acdc"}},
    ReconstructionConfig: {"data": {"layout": "acdc", "root": "r", "channels": {"cine": "*.nii.gz"}, "scheme": "acdc"}},
    ClassificationConfig: {"data": {"root": "pictures"}},
}
HOSTILE: list[Any] = [
    0, -1, 1, 0.5, -0.5, 1e-300, 1e300, 10**30, math.nan, math.inf, -math.inf, True, None, "", " ", "nan", "inf",
    "x\0y", "a" * 10_000, [], [None], [[]], {}, {"": None}, {"a": {"b": 1}}, [1] * 10_000, b"bytes", ..., 1j,
]  # fmt: skip
WRITTEN = ["0", "-1", ".nan", "-.inf", "1e400", "9" * 400, "yes", "010", "1:30", "[]", "{}", "~", '""', "!!int x", "*x"]
KEYS = [(kind, key) for kind in CONTENT for key in keys(kind)]
PLACES = list({(key.name, repr(key.field)): (kind, key.name) for kind, key in KEYS}.values())
"""Every key; one that configurations share with its type, limits and default is tried in one of them."""
TYPES = list({repr(key.field.annotation): (kind, key.name) for kind, key in KEYS}.values())
"""A key of each type."""


def finite(values: Any) -> bool:
    if isinstance(values, dict):
        return all(finite(each) for each in values.values())
    return not isinstance(values, float) or math.isfinite(values)


def is_refused_or_usable(kind: type[BaseModel], overrides: dict[str, Any]) -> None:
    try:
        config = settings.build(kind, CONTENT[kind], overrides, source="test")
    except ConfigError as error:
        message = str(error)
    else:
        message = None
    if message is not None:
        assert len(message) < 1500, "a message is read by people"
        assert next(iter(overrides)).split(".")[-1] in message
        return
    assert finite(settings.values(config))
    assert settings.build(kind, yaml_text.parse(settings.dump(config)), {}, source="test") == config


@pytest.mark.parametrize(("kind", "key"), PLACES, ids=[f"{kind.__name__}-{key}" for kind, key in PLACES])
def test_no_value_of_a_key_ends_in_anything_else(kind, key):
    for value in HOSTILE:
        is_refused_or_usable(kind, {key: value})


@pytest.mark.parametrize(("kind", "key"), TYPES, ids=[f"{kind.__name__}-{key}" for kind, key in TYPES])
def test_no_text_for_a_key_ends_in_anything_else(kind, key):
    for text in WRITTEN:
        is_refused_or_usable(kind, settings.parse_overrides([f"--{key}={text}"]))


@pytest.mark.parametrize("kind", list(CONTENT))
def test_sections_take_only_mappings(kind):
    for section in kind.model_fields:
        for value in (0, "", [], None, "x", True):
            with pytest.raises(ConfigError, match=section):
                settings.build(kind, {**CONTENT[kind], section: value}, {}, source="test")


def test_a_shift_out_of_the_image_is_refused():
    with pytest.raises(ConfigError, match=r"augment\.shift_px is 33, .*32 pixels"):
        settings.build(ClassificationConfig, CONTENT[ClassificationConfig], {"augment.shift_px": 33}, source="test")


@pytest.mark.parametrize("key", ["train.lr", "train.weight_decay", "train.clip_norm", "data.image_size"])
@pytest.mark.parametrize("kind", list(CONTENT))
def test_numbers_that_arithmetic_cannot_hold_are_refused(kind, key):
    with pytest.raises(ConfigError, match=f"{key} .*expected at most"):
        settings.build(kind, CONTENT[kind], {key: 10**300}, source="test")
