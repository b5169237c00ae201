"""The TFDV schema that a data spec implies: types come from the spec and never from a file's contents."""

from tensorflow_metadata.proto.v0 import schema_pb2

from cetnet_keras.spec import ROW_KEY, CategoricalFeature, DataSpec

_TYPES = {"string": schema_pb2.BYTES, "int64": schema_pb2.INT, "float32": schema_pb2.FLOAT}


def schema_of(spec: DataSpec) -> schema_pb2.Schema:
    """The schema of the raw examples.

    Strings, the label, the weight and the row number are in every row, exactly once; numbers may be missing; lists have
    any length, vectors their own or none. The label is 0 or 1, a weight is not below 0, an `identity` column lies in
    its range, and numbers are finite: anything else is an anomaly.

    Returns:
        a Schema with one feature a column, in the order of the spec.
    """
    schema = schema_pb2.Schema()
    label = _scalar(schema, spec.label, "int64", required=True)
    label.int_domain.min, label.int_domain.max = 0, 1
    for name, raw_type in spec.raw_types.items():
        described, shape = spec.features[name], spec.raw_shapes[name]
        if shape == ():
            feature = _scalar(schema, name, raw_type, required=raw_type == "string")
        else:
            feature = schema.feature.add(name=name, type=_TYPES[raw_type])
            feature.value_count.min = 0
            if shape[0] is not None:
                feature.value_count.max = shape[0]
        if isinstance(described, CategoricalFeature) and described.identity is not None:
            feature.int_domain.min, feature.int_domain.max = 0, described.identity - 1
        if raw_type == "float32":
            feature.float_domain.disallow_inf = True
    for column in dict.fromkeys([*([spec.group] if spec.group else []), *spec.id]):
        if column not in spec.features:
            _scalar(schema, column, "string", required=True)
    if spec.weight is not None:
        weight = _scalar(schema, spec.weight, "float32", required=True)
        weight.float_domain.min, weight.float_domain.disallow_inf = 0, True
    _scalar(schema, ROW_KEY, "int64", required=True)
    return schema


def _scalar(schema: schema_pb2.Schema, name: str, raw_type: str, required: bool) -> schema_pb2.Feature:
    feature = schema.feature.add(name=name, type=_TYPES[raw_type])
    if required:
        feature.presence.min_fraction = 1.0
        feature.presence.min_count = 1
        feature.shape.SetInParent()  # a scalar in every row
    else:
        feature.value_count.min, feature.value_count.max = 0, 1
    return feature
