"""Values to JSON and back: every kind, by property, and each against its own schema."""

from __future__ import annotations

import dataclasses
import json
import typing
from enum import StrEnum
from typing import Any

import jsonschema
import numpy as np
import pytest

from device import types as vocabulary
from device.codec import KINDS, dumps, from_json, schema, to_json


def example(hint: Any) -> Any:
    """Some value of that type."""
    origin = typing.get_origin(hint)
    if origin is typing.Literal:
        return typing.get_args(hint)[0]
    if origin is tuple:
        inner = typing.get_args(hint)
        wanted = [inner[0], inner[0]] if inner[-1] is Ellipsis else inner
        return tuple(example(h) for h in wanted)
    if origin is np.ndarray:
        return np.array([0.25, 0.5], dtype=typing.get_args(typing.get_args(hint)[1])[0])
    if origin is not None and type(None) in typing.get_args(hint):
        return example(next(h for h in typing.get_args(hint) if h is not type(None)))
    if origin is not None:  # a mapping, or a union of plain types
        return {"why": "because"} if "Mapping" in str(hint) else "text"
    if dataclasses.is_dataclass(hint):
        return make(typing.cast(type, hint))
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return next(iter(hint))
    return {int: 7, float: 0.125, str: "text", bool: True}[hint]


def make(kind: type) -> Any:
    hints = typing.get_type_hints(kind, vars(vocabulary))
    return kind(**{f.name: example(hints[f.name]) for f in dataclasses.fields(kind)})


@pytest.mark.parametrize("name", sorted(KINDS))
def test_there_and_back_gives_the_same_bytes_and_fits_the_schema(name: str) -> None:
    value = make(KINDS[name])
    text = dumps(value)
    again = from_json(KINDS[name], json.loads(text))
    assert type(again) is KINDS[name]
    assert dumps(again) == text
    jsonschema.validate(json.loads(text), schema(KINDS[name]))


def test_a_newer_field_is_ignored_and_a_missing_one_is_named() -> None:
    raw = to_json(make(vocabulary.Gaze))
    assert from_json(vocabulary.Gaze, {**raw, "new": 1}).azimuth_deg == 0.125
    del raw["azimuth_deg"]
    with pytest.raises(KeyError, match=r"Gaze\.azimuth_deg"):
        from_json(vocabulary.Gaze, raw)


def test_pixels_have_no_json_form() -> None:
    with pytest.raises(TypeError, match="object has no JSON form"):
        dumps({"what": object()})
