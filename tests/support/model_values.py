"""A value for every field of a pydantic model, found by walking its annotations: new fields come along unasked."""

from __future__ import annotations

import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

WHOLE, REAL = 64, 0.5


def filled(model: type[BaseModel], text: str, **changes: Any) -> dict[str, Any]:
    """``model`` as JSON with nothing left out: ``text`` in every string and every key that is free, then ``changes``.

    A change that is a dict is laid over the field's own value.
    """
    values = {field.alias or name: _value(field.annotation, text) for name, field in model.model_fields.items()}
    for name, change in changes.items():
        both = isinstance(change, dict) and isinstance(values[name], dict)
        values[name] = values[name] | change if both else change
    return values


def _value(annotation: Any, text: str) -> Any:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _value(arguments[0], text)
    if origin in (Union, types.UnionType):
        return _value(next(kind for kind in arguments if kind is not type(None)), text)
    if origin is Literal:
        return arguments[0]
    if origin is list:
        return [_value(arguments[0], text)]
    if origin is tuple:
        return [_value(kind, text) for kind in arguments]
    if origin is dict:
        return {_value(arguments[0], text): _value(arguments[1], text)}
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return filled(annotation, text)
    plain: dict[Any, Any] = {str: text, bool: True, int: WHOLE, float: REAL, type(None): None, None: None}
    return {text: [text, {text: text}]} if annotation is Any else plain[annotation]
