"""Members of a model.yaml are checked against their classes."""

from pathlib import Path

import pytest

from cetnet_keras.errors import InputError
from cetnet_keras.spec import DataSpec, MemberSpec, ModelSpec, check_members, parse_spec
from cetnet_keras.spec.reference import EXAMPLES

DATA = parse_spec(DataSpec, EXAMPLES["data"], "data.yaml")


def check(text: str, data: DataSpec | None = DATA) -> None:
    check_members(parse_spec(ModelSpec, text, "model.yaml"), text, "model.yaml", data)


@pytest.mark.parametrize(
    "text", ["", EXAMPLES["model"], "members: [{type: dcnv2, dropout: 0.1, hidden: [8]}]"]
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
    [("layers: 0", "0"), ("layers: two", '"two"'), ("dropout: 2", "2"), ("hidden: 5", "5")],
)
def test_a_value_that_a_member_refuses_is_named_with_its_line(option: str, found: str) -> None:
    key = option.partition(":")[0]
    with pytest.raises(
        InputError, match=rf"^model\.yaml:4: members\.0\.{key}: found {found}, expected another value"
    ):
        check(f"members:\n  - type: dhen\n    rank: 4\n    {option}\n")


@pytest.mark.parametrize("name", ["no.such.module:Member", "pathlib:Path", "pathlib:NoPath"])
def test_a_class_that_is_no_member_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=rf"^model\.yaml:2: members\.0\.type: member '{name}'"):
        check(f"members:\n  - type: {name}\n", None)


def test_a_module_that_fails_to_import_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_member_module.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
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
"""


@pytest.mark.parametrize(
    ("member", "found"),
    [
        ("Matrix", r"ValueError: Matrix: found output_embedding of shape \[2, 3, 4\], expected \[B, h\], .*"),
        ("Scalar", r"ValueError: Scalar: found logit of shape \[2, 3\], expected \[B\], .*"),
        ("Broken", r"AttributeError: 'EmbeddedFeatures' object has no attribute 'no_such_part'"),
    ],
)
def test_a_member_of_ones_own_that_fails_on_a_batch_is_refused(
    member: str, found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "failing_members.py").write_text(OWN_MEMBERS)
    monkeypatch.syspath_prepend(tmp_path)
    expected = rf"^model\.yaml:3: members\.1\.type: the member fails on a batch of missing values \({found}\)"
    with pytest.raises(InputError, match=expected):
        check(f"members:\n  - type: dhen\n  - type: failing_members:{member}\n")
