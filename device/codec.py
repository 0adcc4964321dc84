"""Values to JSON and back, and the JSON Schema of each: derived from the dataclasses, never written twice.

Pixels and packets do not pass here (they travel as video). Floats are rounded to nine significant
digits so that the same value always gives the same bytes; NaN and infinity become null.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import math
import types
import typing
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Literal, get_args, get_origin

import numpy as np

from device import types as vocabulary

KINDS: dict[str, type] = {
    kind.__name__: kind
    for kind in (
        vocabulary.ImuSample,
        vocabulary.EnergySample,
        vocabulary.DeviceEvent,
        vocabulary.Pupil,
        vocabulary.Gaze,
        vocabulary.EyeMovement,
        vocabulary.Fixation,
        vocabulary.Pursuit,
        vocabulary.Saccade,
        vocabulary.Blink,
        vocabulary.Attention,
        vocabulary.EmotionEstimate,
        vocabulary.ResolutionDecision,
        vocabulary.Tags,
        vocabulary.WakeChange,
        vocabulary.CameraRequest,
        vocabulary.EncodeBurst,
        vocabulary.MomentStart,
        vocabulary.MomentSure,
        vocabulary.MomentEnd,
        vocabulary.Moment,
        vocabulary.Gap,
        vocabulary.SessionHeader,
    )
}
"""Every value that may be written as JSON, by its name."""


def to_json(value: Any) -> Any:
    """A value, or anything made of values, as plain JSON types with stable floats."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): to_json(v) for k, v in value.items()}
    if isinstance(value, np.ndarray):
        return to_json(value.tolist())
    if isinstance(value, list | tuple):
        return [to_json(v) for v in value]
    if isinstance(value, bool | StrEnum) or value is None:
        return value if not isinstance(value, StrEnum) else value.value
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, float | np.floating):
        number = float(value)
        return float(f"{number:.9g}") if math.isfinite(number) else None
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, str):
        return value
    raise TypeError(f"{type(value).__name__} has no JSON form")


def dumps(value: Any) -> str:
    """Canonical JSON text: sorted keys, no spaces, so equal values are equal bytes."""
    return json.dumps(to_json(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def from_json(kind: type, raw: Mapping[str, Any]) -> Any:
    """Rebuild a value. Unknown keys are ignored (written by a newer program); missing ones raise.

    Raises KeyError for a missing field without default and ValueError or TypeError for a wrong type.
    """
    hints = _hints(kind)
    arguments = {}
    for item in dataclasses.fields(kind):
        if item.name in raw:
            arguments[item.name] = _decode(hints[item.name], raw[item.name])
        elif item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING:
            raise KeyError(f"{kind.__name__}.{item.name}")
    return kind(**arguments)


def schema(kind: type) -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of one kind of value."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **_schema(kind)}


def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind, vars(vocabulary))


def _decode(hint: Any, raw: Any) -> Any:
    origin = get_origin(hint)
    if origin in (types.UnionType, typing.Union):
        if raw is None:
            return None
        options = [h for h in get_args(hint) if h is not type(None)]
        return raw if len(options) > 1 else _decode(options[0], raw)
    if origin is tuple:
        inner = get_args(hint)
        hints = [inner[0]] * len(raw) if inner[-1] is Ellipsis else list(inner)
        return tuple(_decode(h, r) for h, r in zip(hints, raw, strict=True))
    if origin is np.ndarray:
        return np.asarray(raw, dtype=get_args(get_args(hint)[1])[0])
    if hint is float:
        return math.nan if raw is None else float(raw)
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return hint(raw)
    if dataclasses.is_dataclass(hint):
        return from_json(typing.cast(type, hint), raw)
    return raw


_PLAIN = {int: "integer", str: "string", bool: "boolean"}


def _schema(hint: Any) -> dict[str, Any]:
    origin = get_origin(hint)
    if origin in (types.UnionType, typing.Union):
        return {"anyOf": [_schema(h) for h in get_args(hint)]}
    if origin is Literal:
        return {"enum": list(get_args(hint))}
    if origin is tuple:
        inner = get_args(hint)
        if inner[-1] is Ellipsis:
            return {"type": "array", "items": _schema(inner[0])}
        return {"type": "array", "prefixItems": [_schema(h) for h in inner], "items": False}
    if origin is np.ndarray:
        return {"type": "array"}
    if hint is type(None):
        return {"type": "null"}
    if hint is float:
        return {"type": ["number", "null"]}
    if hint in _PLAIN:
        return {"type": _PLAIN[hint]}
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return {"enum": [member.value for member in hint]}
    if dataclasses.is_dataclass(hint):
        fields = {name: _schema(h) for name, h in _hints(typing.cast(type, hint)).items()}
        return {"type": "object", "properties": fields, "required": sorted(fields)}
    return {"type": "object"}
