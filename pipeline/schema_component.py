"""The component that states the schema, as a curated one: ImportSchemaGen would need a file, which a container has not."""
# no `from __future__ import annotations` here: TFX reads the types of a component function, not their names

from pathlib import Path

from google.protobuf import text_format
from tfx.dsl.component.experimental.annotations import OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types.standard_artifacts import Schema

from cetnet_keras.spec import DataSpec, parse_spec
from pipeline.schema import schema_of


@component
def SpecSchema(data_spec: Parameter[str], code: Parameter[str], schema: OutputArtifact[Schema]) -> None:
    """Writes the schema that the data spec implies, under the name that TFX's components look for."""
    folder = Path(schema.uri)
    folder.mkdir(parents=True, exist_ok=True)
    text = text_format.MessageToString(schema_of(parse_spec(DataSpec, data_spec, "data.yaml")))
    (folder / "schema.pbtxt").write_text(text, encoding="utf-8")
