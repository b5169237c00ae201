"""Members by name, by class path, and what is said of a name or a class that is neither."""

from collections.abc import Callable

import pytest

from cetnet_keras import Member
from cetnet_keras.members import Dcnv2Member, DhenMember, DinMember, member_class, member_options

OWN_MEMBER = """
import tensorflow as tf
from cetnet_keras.behaviours import flat_fields
from cetnet_keras.members import Member

class Wide(Member):
    def __init__(self, *args, scale=2.0, **kwargs):
        super().__init__(*args, **kwargs)
        self.scale = scale

    def output_embedding(self, features, training):
        return self.scale * flat_fields(features)

    def get_config(self):
        return super().get_config() | {"scale": self.scale}

class NotAMember:
    pass
"""


@pytest.fixture
def own_package(write_module: Callable[[str, str], None]) -> None:
    write_module("own_members", OWN_MEMBER)


@pytest.mark.parametrize(
    ("name", "member"), [("dcnv2", Dcnv2Member), ("dhen", DhenMember), ("din", DinMember)]
)
def test_a_built_in_member_has_one_name(name: str, member: type[Member]) -> None:
    assert member_class(name) is member


@pytest.mark.usefixtures("own_package")
def test_a_member_of_ones_own_is_found_by_its_path() -> None:
    member = member_class("own_members:Wide")
    assert issubclass(member, Member)
    assert member.__name__ == "Wide"


def test_a_misspelt_name_is_answered_with_the_close_and_the_known_ones() -> None:
    with pytest.raises(
        ValueError,
        match=r"unknown member 'dcn2': did you mean dcnv2\? Known: dcnv2, deepfm, dhen, din, dmin, finalmlp",
    ):
        member_class("dcn2")


def test_a_name_like_no_other_is_answered_with_the_known_ones() -> None:
    with pytest.raises(
        ValueError,
        match=r"unknown member 'wukong': Known: dcnv2, .*; or package\.module:Cl",
    ):
        member_class("wukong")


@pytest.mark.usefixtures("own_package")
@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("no_such_module:Wide", "cannot be imported: No module named 'no_such_module'"),
        ("own_members:Deep", "cannot be imported: module 'own_members' has no attribute 'Deep'"),
        ("own_members:NotAMember", "expected a subclass of cetnet_keras.Member"),
    ],
)
def test_a_path_that_leads_to_no_member_is_refused(path: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"member '{path}'.*{message}"):
        member_class(path)


@pytest.mark.usefixtures("own_package")
def test_the_options_of_a_member_are_those_of_its_class_and_its_bases() -> None:
    common = ["embedding_dim", "projection", "dropout", "batch_norm", "embedding_stddev"]
    assert member_options(member_class("own_members:Wide")) == [*common, "scale"]
    assert member_options(Dcnv2Member) == [*common, "cross_layers", "rank", "hidden", "structure"]
