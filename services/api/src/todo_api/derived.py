"""Bodies and answers that follow from a declaration in core, so that a field is declared once."""

from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from todo_api.fields import drop_default


class Omittable(BaseModel):
    """Makes a patch of the fields it stands before: each may be left out, and may be null only where it says so."""

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        for field in cls.model_fields.values():
            field.default, field.default_factory, field.json_schema_extra = None, None, drop_default
        cls.model_rebuild(force=True)


class Shown(BaseModel):
    """Makes an answer of the fields it stands before: each is there, and its schema says no more than its type."""

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        for field in cls.model_fields.values():
            field.default, field.default_factory, field.metadata = PydanticUndefined, None, []
            field.annotation = _plain(field.annotation)
        cls.model_rebuild(force=True)


def _plain(kind: Any) -> Any:
    """A type without the rules for what comes in."""
    if get_origin(kind) is Annotated:
        return _plain(get_args(kind)[0])
    arguments = get_args(kind)
    return Union[tuple(_plain(each) for each in arguments)] if type(None) in arguments else kind  # noqa: UP007 - made
