"""What every spec model has in common: unknown keys and wrong types are refused, values never change."""

from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler

Count = Annotated[int, Field(ge=1, le=2**31 - 1)]  # what an int32 tensor dimension can hold
Text = Annotated[str, Field(min_length=1)]


class SpecModel(BaseModel):
    """Base of the spec models; a misspelt key is an error instead of a silent default.

    `strict` keeps the code as narrow as the JSON Schema: `true` is no number and `"16"` is text.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, protected_namespaces=(), allow_inf_nan=False
    )

    RESERVED: ClassVar[dict[str, str]] = {}
    """Keys set aside for a later version of the format, and what to do until then."""

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        schema = handler(core_schema)
        properties = handler.resolve_ref_schema(schema).setdefault("properties", {})
        for key, cure in cls.RESERVED.items():
            properties[key] = {"description": f"Reserved, cannot be used yet: {cure}.", "not": {}}
        return schema


class LocatedError(ValueError):
    """A contradiction between keys; `loc` is the path of the key to change: an error names its line."""

    def __init__(self, loc: tuple[int | str, ...], message: str) -> None:
        super().__init__(message)
        self.loc = loc
