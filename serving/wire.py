"""The messages of TensorFlow Serving's gRPC and files that we read without TensorFlow and without its stubs.

They live in a descriptor pool of their own, so that they never meet the stock ones in a process that has
both. Only the fields used here are declared: others are skipped on the wire, and enums travel as numbers.
"""

import re
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_PACKAGE = "cetnet.wire"
_MESSAGES = {  # the declarations of tensorflow/core/framework and tensorflow_serving/apis, by message
    "Int64Value": "int64 value = 1;",
    "Any": "bytes value = 2;",
    "Dim": "int64 size = 1;",
    "TensorShapeProto": "repeated Dim dim = 2; bool unknown_rank = 3;",
    "TensorProto": """
        int32 dtype = 1; TensorShapeProto tensor_shape = 2; bytes tensor_content = 4;
        repeated float float_val = 5; repeated double double_val = 6; repeated int32 int_val = 7;
        repeated bytes string_val = 8; repeated int64 int64_val = 10; repeated bool bool_val = 11;
        repeated int32 half_val = 13;
        repeated uint32 uint32_val = 16; repeated uint64 uint64_val = 17;""",
    "ModelSpec": "string name = 1; Int64Value version = 2; string signature_name = 3;",
    "PredictRequest": "ModelSpec model_spec = 1; map TensorProto inputs = 2;",
    "PredictResponse": "map TensorProto outputs = 1; ModelSpec model_spec = 2;",
    "GetModelMetadataRequest": "ModelSpec model_spec = 1; repeated string metadata_field = 2;",
    "GetModelMetadataResponse": "ModelSpec model_spec = 1; map Any metadata = 2;",
    "TensorInfo": "int32 dtype = 2; TensorShapeProto tensor_shape = 3;",
    "SignatureDef": "map TensorInfo inputs = 1; map TensorInfo outputs = 2;",
    "SignatureDefMap": "map SignatureDef signature_def = 1;",
    "GetModelStatusRequest": "ModelSpec model_spec = 1;",
    "GetModelStatusResponse": "repeated ModelVersionStatus model_version_status = 1;",
    "ModelVersionStatus": "int64 version = 1; int32 state = 2; StatusProto status = 3;",
    "StatusProto": "int32 error_code = 1; string error_message = 2;",
    "SavedModel": "repeated MetaGraphDef meta_graphs = 2;",
    "MetaGraphDef": "MetaInfoDef meta_info_def = 1; map SignatureDef signature_def = 5;",
    "MetaInfoDef": "repeated string tags = 4;",
    "PredictionLog": "PredictLog predict_log = 6;",
    "PredictLog": "PredictRequest request = 1;",
}
_FIELD = re.compile(r"(?:(repeated|map) )?(\w+) (\w+) = (\d+);")
_Field = descriptor_pb2.FieldDescriptorProto


def _add_field(message: Any, label: str | None, kind: str, name: str, number: int) -> None:
    if label == "map":  # from string to `kind`; a map is a repeated entry message
        entry = message.nested_type.add(name=f"{name.title().replace('_', '')}Entry")
        entry.options.map_entry = True
        _add_field(entry, None, "string", "key", 1)
        _add_field(entry, None, kind, "value", 2)
        kind = f"{message.name}.{entry.name}"
    field = message.field.add(name=name, number=number)
    field.label = _Field.LABEL_REPEATED if label else _Field.LABEL_OPTIONAL
    scalar = f"TYPE_{kind.upper()}"
    if scalar in set(_Field.Type.keys()):
        field.type = _Field.Type.Value(scalar)
    else:
        field.type, field.type_name = _Field.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"


def _message_classes() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="cetnet/wire.proto", package=_PACKAGE, syntax="proto3")
    for message_name, declarations in _MESSAGES.items():
        message = file.message_type.add(name=message_name)
        for label, kind, name, number in _FIELD.findall(declarations):
            _add_field(message, label or None, kind, name, int(number))
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    found = {name: pool.FindMessageTypeByName(f"{_PACKAGE}.{name}") for name in _MESSAGES}
    if hasattr(message_factory, "GetMessageClass"):  # protobuf 4.22 and later
        return {name: message_factory.GetMessageClass(descriptor) for name, descriptor in found.items()}
    factory: Any = message_factory.MessageFactory(pool)
    return {name: factory.GetPrototype(descriptor) for name, descriptor in found.items()}


_CLASSES = _message_classes()
PredictRequest = _CLASSES["PredictRequest"]
PredictResponse = _CLASSES["PredictResponse"]
GetModelMetadataRequest = _CLASSES["GetModelMetadataRequest"]
GetModelMetadataResponse = _CLASSES["GetModelMetadataResponse"]
SignatureDefMap = _CLASSES["SignatureDefMap"]
GetModelStatusRequest = _CLASSES["GetModelStatusRequest"]
GetModelStatusResponse = _CLASSES["GetModelStatusResponse"]
TensorProto = _CLASSES["TensorProto"]
SavedModel = _CLASSES["SavedModel"]
PredictionLog = _CLASSES["PredictionLog"]
