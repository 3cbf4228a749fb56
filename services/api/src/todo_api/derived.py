"""Bodies, answers and examples that follow from a declaration in core, so that a field is declared once."""

from typing import Annotated, Any, Union, get_args, get_origin

import orjson
from pydantic import BaseModel
from pydantic.config import JsonDict
from pydantic_core import PydanticUndefined


class Omittable(BaseModel):
    """Makes a patch of the fields it stands before: each may be left out, and may be null only where it says so."""

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        for field in cls.model_fields.values():
            field.default, field.default_factory, field.json_schema_extra = None, None, _drop_default
        cls.model_rebuild(force=True)


class Shown(BaseModel):
    """Makes an answer of the fields it stands before: each is there, and its schema says no more than its type."""

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        for field in cls.model_fields.values():
            field.default, field.default_factory, field.metadata = PydanticUndefined, None, []
            field.annotation = _plain(field.annotation)
        cls.model_rebuild(force=True)


def example(model: type[BaseModel]) -> JsonDict:
    """A JSON object with the first example of each field, else its default, as an answer would show it."""
    given: dict[str, object] = {}
    for name, schema in model.model_json_schema()["properties"].items():
        shown = [part["examples"][0] for part in (schema, *schema.get("anyOf", ())) if "examples" in part]
        given |= {name: shown[0]} if shown else {}
    shown_values: JsonDict = orjson.loads(
        orjson.dumps(model.model_validate(given).model_dump(), option=orjson.OPT_UTC_Z)
    )
    return shown_values


def _drop_default(schema: dict[str, Any]) -> None:
    schema.pop("default", None)


def _plain(kind: Any) -> Any:
    """A type without the rules for what comes in."""
    if get_origin(kind) is Annotated:
        return _plain(get_args(kind)[0])
    arguments = get_args(kind)
    return Union[tuple(_plain(each) for each in arguments)] if type(None) in arguments else kind  # noqa: UP007 - made
