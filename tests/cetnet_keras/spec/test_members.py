"""Members of a model.yaml are checked against their classes."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from cetnet_keras import CETNet
from cetnet_keras.errors import InputError
from cetnet_keras.spec import DataSpec, MemberSpec, ModelSpec, check_members, parse_spec
from cetnet_keras.spec.reference import EXAMPLES

DATA = parse_spec(DataSpec, EXAMPLES["data"], "data.yaml")


def check(text: str, data: DataSpec | None = DATA) -> None:
    check_members(parse_spec(ModelSpec, text, "model.yaml"), text, "model.yaml", data)


@pytest.mark.parametrize(
    "text",
    [
        "",
        EXAMPLES["model"],
        "members: [{type: dcnv2, dropout: 0.1, hidden: [8]}]",
        "members: [{type: dcnv2, dropout: 0, rank: 2, embedding_stddev: 0.1, hidden: []}]",
        "members: [{type: mlp}, {type: deepfm}]\nshared_tables: true",
        "members: [{type: mlp}, {type: dhen}]\nfusion: {type: sum, learned_prior: true, detach_members: true}",
    ],
)
def test_sound_members_pass(text: str) -> None:
    check(text)


def test_an_unknown_member_is_refused_with_its_line() -> None:
    with pytest.raises(
        InputError, match=r"^model\.yaml:3: members\.1\.type: .*'dcnv3': did you mean dcnv2\?"
    ):
        check("members:\n  - type: dhen\n  - type: dcnv3\n", None)


def test_an_unknown_option_is_refused_with_its_line() -> None:
    expected = r"unknown option of dhen, expected one of .*; did you mean layers\?$"
    with pytest.raises(InputError, match=rf"^model\.yaml:3: members\.0\.layerz: {expected}"):
        check("members:\n  - type: dhen\n    layerz: 2\n", None)


def test_an_option_of_the_layer_below_is_no_option_of_a_member() -> None:
    with pytest.raises(InputError, match=r"members\.0\.trainable: unknown option of dhen"):
        check("members: [{type: dhen, trainable: false}]", None)


@pytest.mark.parametrize(
    ("option", "found"),
    [
        ("layers: 0", "0"),
        ("dropout: 2", "2"),
        ("hidden: [0]", r"\[0\]"),
        ("interactions: [three]", r'\["three"\]'),
    ],
)
def test_a_value_that_a_member_refuses_is_named_with_its_line(option: str, found: str) -> None:
    key = option.partition(":")[0]
    with pytest.raises(
        InputError, match=rf"^model\.yaml:4: members\.0\.{key}: found {found}, expected another value"
    ):
        check(f"members:\n  - type: dhen\n    rank: 4\n    {option}\n")


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("hidden: 64", "found 64, expected a list of whole numbers"),
        ("hidden: [8.5]", "found [8.5], expected a list of whole numbers"),
        ("hidden: [true]", "found [true], expected a list of whole numbers"),
        ("hidden:", "found nothing, expected a list of whole numbers"),
        ("interactions: dot", 'found "dot", expected a list of text'),
        ("layers: two", 'found "two", expected a whole number'),
        ("rows: 1.5", "found 1.5, expected a whole number or nothing"),
        ('dropout: "0.1"', 'found "0.1", expected a number'),
        ('batch_norm: "false"', 'found "false", expected true or false'),
        ("batch_norm: 0", "found 0, expected true or false"),
    ],
)
@pytest.mark.parametrize("data", [None, DATA])
def test_a_value_of_another_type_is_answered_with_the_type(
    option: str, says: str, data: DataSpec | None
) -> None:
    key = option.partition(":")[0]
    with pytest.raises(InputError) as refused:
        check(f"members:\n  - type: dhen\n    rank: 4\n    {option}\n", data)
    assert str(refused.value) == f"model.yaml:4: members.0.{key}: {says}; correct it"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "members: [{type: dhen}, {type: dcnv2}]\nfusion:\n  type: sum",
            r"3: fusion\.type: fusion `sum` needs output embeddings of one width\. Received: \[64, \d+\]; give the "
            r"members' last `hidden` one width, or take fusion `paper`$",
        ),
        (
            "members: [{type: mlp, embedding_dim: 8}, {type: dhen}]\nshared_tables: true",
            r"2: shared_tables: members need one embedding_dim \(multi_embedding: times `sets`\) to share tables\. "
            r"Received: \[8, 16\]; give them one$",
        ),
    ],
)
def test_members_that_do_not_go_together_are_refused_with_the_line(text: str, says: str) -> None:
    with pytest.raises(InputError, match=rf"^model\.yaml:{says}"):
        check(text)


def test_default_members_that_do_not_go_together_are_refused() -> None:
    data = {"name": "a", "label": "b", "features": {"c": {"type": "categorical"}, "d": {"type": "numeric"}}}
    with pytest.raises(InputError, match=r"^model\.yaml:1: fusion\.type: fusion `sum` needs .* one width"):
        check("fusion: {type: sum}", DataSpec.model_validate(data))


@pytest.mark.parametrize("name", ["no.such.module:Member", "pathlib:Path", "pathlib:NoPath"])
def test_a_class_that_is_no_member_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=rf"^model\.yaml:2: members\.0\.type: member '{name}'"):
        check(f"members:\n  - type: {name}\n", None)


def test_a_module_that_fails_to_import_is_refused(write_module: Callable[[str, str], None]) -> None:
    write_module("broken_member_module", "1 / 0\n")
    with pytest.raises(InputError, match=r"cannot be imported \(ZeroDivisionError\('division by zero'\)\)"):
        check("members: [{type: 'broken_member_module:Mine'}]", None)


def test_a_member_by_path_is_named_by_its_class() -> None:
    assert MemberSpec(type="my_package.my_module:MyMember").name == "MyMember"
    assert MemberSpec(type="my_package.my_module:MyMember", name="mine").name == "mine"
    assert MemberSpec(type="dhen").name is None


def test_members_beside_its_own_keys_keep_their_options() -> None:
    member = parse_spec(ModelSpec, EXAMPLES["model"], "model.yaml").members
    assert member is not None and member[1].options == {"layers": 2}


OWN_MEMBERS = """
import tensorflow as tf
from cetnet_keras import Member

class Matrix(Member):
    def output_embedding(self, features, training):
        return tf.zeros([2, 3, 4])

class Scalar(Member):
    def output_embedding(self, features, training):
        return tf.zeros([2, 3])
    def logit(self, embedding, training):
        return embedding

class Broken(Member):
    def output_embedding(self, features, training):
        return features.no_such_part

class Pair(Member):
    def output_embedding(self, features, training):
        return features.fields[:, 0], None

class Nothing(Member):
    def output_embedding(self, features, training):
        features.fields[:, 0]

class Absent(Member):
    def output_embedding(self, features, training):
        return features.pooled["no_such_sequence"]

class Bare(Member):
    def output_embedding(self, features, training):
        return features.fields[:, 0]
    def call(self, batch, training=None):
        return super().call(batch, training).logit

class Averaged(Member):
    def output_embedding(self, features, training):
        return tf.reduce_mean(features.fields[:, 0], axis=0, keepdims=True)
    def logit(self, embedding, training):
        return tf.zeros([3])

class Unstacked(Member):
    def output_embedding(self, features, training):
        return tf.reshape(features.fields, [-1, features.fields.shape[-1]])

class Empty(Member):
    def output_embedding(self, features, training):
        return features.fields[:, 0, :0]

class ScalarLoss(Member):
    def output_embedding(self, features, training):
        return features.fields[:, 0]
    def call(self, batch, training=None):
        return super().call(batch, training)._replace(extra_loss=tf.constant(0.1))

class Branch(Member):
    def output_embedding(self, features, training):
        if tf.reduce_sum(features.fields) > 0:
            return features.fields[:, 0]
        return features.fields[:, 1]

class LateLayer(Member):
    def output_embedding(self, features, training):
        return tf.keras.layers.Dense(3)(features.fields[:, 0])

class LateInTraining(Member):
    def output_embedding(self, features, training):
        return tf.keras.layers.Dense(3)(features.fields[:, 0]) if training else features.fields[:, 0]

class OneSize(Member):
    def output_embedding(self, features, training):
        return tf.reshape(features.fields, [features.fields.shape[0], -1])

class Sound(Member):
    # a layer made by its first call, dropout in training alone, an extra loss, options that say no type that is known
    def __init__(self, *args, widths=None, size: "NoSuchType" = 1, pair: tuple[int, int] = (1, 1), **kwargs):
        super().__init__(*args, **kwargs)
        self._dense, self.dropout = None, tf.keras.layers.Dropout(self.dropout)
    def output_embedding(self, features, training):
        if self._dense is None:
            self._dense = tf.keras.layers.Dense(3)
        first = self._dense(features.fields[:, 0])
        return self._turned(self.dropout(first, training=True) if training else first)
    @tf.function
    def _turned(self, x):
        if tf.reduce_sum(x) > 0:
            return x
        return -x
    def call(self, batch, training=None):
        output = super().call(batch, training)
        return output._replace(extra_loss=tf.square(output.logit))

class KeepsAll(Member):
    def __init__(self, spec, vocabulary_sizes, embedding_dim=16, dropout=0.0, **kwargs):
        super().__init__(spec, vocabulary_sizes)

class NoSuper(Member):
    def __init__(self, spec, vocabulary_sizes, **kwargs):
        self.width = 3

class NoSuperButLayers(Member):
    def __init__(self, spec, vocabulary_sizes, **kwargs):
        self.dense = tf.keras.layers.Dense(3, dtype=self.dtype_policy)

class AbsentAtFirst(Member):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.spec.features["no_such_feature"]
"""


@pytest.fixture
def own_members(write_module: Callable[[str, str], None]) -> None:
    write_module("failing_members", OWN_MEMBERS)


@pytest.mark.parametrize(
    ("member", "found"),
    [
        ("Matrix", r"ValueError: Matrix: found output_embedding of shape \[2, 3, 4\], expected \[B, h\], .*"),
        ("Scalar", r"ValueError: Scalar: found logit of shape \[2, 3\], expected \[B\], .*"),
        ("Broken", r"AttributeError: 'EmbeddedFeatures' object has no attribute 'no_such_part'"),
        ("Pair", r"ValueError: Pair: found output_embedding of type tuple, expected a tensor \[B, h\], .*"),
        (
            "Nothing",
            r"ValueError: Nothing: found output_embedding of type NoneType, expected a tensor \[B, h.*",
        ),
        ("Absent", r"KeyError: no_such_sequence"),
        (
            "Bare",
            r"ValueError: Bare: found EagerTensor as what call returns, expected MemberOutput; return Me.*",
        ),
        (
            "Averaged",
            r"ValueError: Averaged: found embedding of shape \[1, 16\] for 2 rows, expected \[2, h\], .*",
        ),
        (
            "Unstacked",
            r"ValueError: Unstacked: found embedding of shape \[\d+, 16\] for 2 rows, expected \[2, .*",
        ),
        ("Empty", r"ValueError: Empty: found embedding of shape \[2, 0\] for 2 rows, expected \[2, h\], .*"),
        (
            "ScalarLoss",
            r"ValueError: ScalarLoss: found extra_loss of shape \[\] for 2 rows, expected \[2\], .*",
        ),
        (
            "LateLayer",
            r"ValueError: a call makes '[\w/]*kernel' again; make layers and weights in __init__ .*",
        ),
    ],
)
@pytest.mark.usefixtures("own_members")
def test_a_member_of_ones_own_that_fails_on_a_batch_is_refused(member: str, found: str) -> None:
    expected = rf"^model\.yaml:3: members\.1\.type: the member fails on a batch of missing values \({found}\)"
    with pytest.raises(InputError, match=expected):
        check(f"members:\n  - type: dhen\n  - type: failing_members:{member}\n")


@pytest.mark.parametrize(
    ("member", "found"),
    [
        ("Bare", "found EagerTensor as what call returns, expected MemberOutput"),
        ("Averaged", r"found embedding of shape \[1, 16\] for 2 rows, expected \[2, h\]"),
        ("Unstacked", r"found embedding of shape \[\d+, 16\] for 2 rows, expected \[2, h\]"),
        ("Empty", r"found embedding of shape \[2, 0\] for 2 rows, expected \[2, h\]"),
        ("ScalarLoss", r"found extra_loss of shape \[\] for 2 rows, expected \[2\]"),
    ],
)
@pytest.mark.usefixtures("own_members")
def test_what_such_a_member_says_is_refused_in_plain_keras_too(member: str, found: str) -> None:
    with pytest.raises(ValueError, match=f"{member}: {found}"):
        CETNet(DATA, dict.fromkeys(DATA.owners, 4), [{"type": f"failing_members:{member}"}])


@pytest.mark.parametrize(
    ("member", "found"),
    [
        (
            "Branch",
            r"OperatorNotAllowedInGraphError: Using a symbolic `tf\.Tensor` as a Python `bool` is not .*",
        ),
        (
            "LateInTraining",
            r"ValueError: a call makes '[\w/]*kernel' again; make layers and weights in __.*",
        ),
        ("OneSize", r".*None.*"),
    ],
)
@pytest.mark.usefixtures("own_members")
def test_a_member_of_ones_own_that_works_only_outside_a_graph_is_refused(member: str, found: str) -> None:
    expected = (
        rf"members\.0\.type: the member fails in a graph, as it is trained and served \({found}\); an `if` "
    )
    with pytest.raises(InputError, match=rf"^model\.yaml:1: {expected}"):
        check(f"members: [{{type: 'failing_members:{member}'}}]")


@pytest.mark.usefixtures("own_members")
def test_a_sound_member_of_ones_own_passes() -> None:
    check(
        "members: [{type: 'failing_members:Sound', dropout: 0.1, widths: 3, size: a, pair: b, projection: [4]}]"
    )


@pytest.mark.parametrize(
    ("member", "says"),
    [
        (
            {"type": "failing_members:KeepsAll", "embedding_dim": 4},
            r"KeepsAll took no notice of embedding_dim=4 \(it has 16\): pass \*\*kwargs on to super\(\)\.__init__",
        ),
        (
            {"type": "failing_members:KeepsAll"},
            r"KeepsAll took no notice of name='member_KeepsAll' \(it has 'keeps_all\w*'\): pass \*\*kwargs on to",
        ),
        (
            {"type": "failing_members:NoSuper"},
            r".*; begin NoSuper\.__init__ with super\(\)\.__init__\(\*args, \*\*kwargs\)$",
        ),
        (
            {"type": "failing_members:NoSuperButLayers"},
            r".*'_dtype_policy'.*; begin NoSuperButLayers\.__init__ with super\(\)\.__init__\(\*args, \*\*kwa",
        ),
    ],
)
@pytest.mark.usefixtures("own_members")
def test_a_constructor_that_leaves_out_that_of_member_is_refused(member: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=rf"^model\.yaml:1: members\.0\.type: {says}"):
        check(f"members: [{json.dumps(member)}]")
    name = member["type"].partition(":")[2]
    with pytest.raises(ValueError, match=rf"^member '{name}': {says}"):
        CETNet(DATA, {owner: 1 + DATA.oov_buckets(owner) for owner in DATA.owners}, [member])


@pytest.mark.usefixtures("own_members")
def test_a_constructor_that_fails_in_another_way_is_refused() -> None:
    expected = r"the member cannot be built \(KeyError\('no_such_feature'\)\); correct the member"
    with pytest.raises(InputError, match=rf"^model\.yaml:1: members\.0\.type: {expected}"):
        check("members: [{type: 'failing_members:AbsentAtFirst'}]")
