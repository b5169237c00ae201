"""The members of an ensemble: the built-in ones, and what one's own is made of."""

from cetnet_keras.members.base import Member, MemberOutput
from cetnet_keras.members.dcnv2 import Dcnv2Member
from cetnet_keras.members.deepfm import DeepFmMember
from cetnet_keras.members.dhen import DhenMember
from cetnet_keras.members.din import DinMember
from cetnet_keras.members.dmin import DminMember
from cetnet_keras.members.finalmlp import FinalMlpMember
from cetnet_keras.members.finalnet import FinalNetMember
from cetnet_keras.members.interformer import InterformerMember
from cetnet_keras.members.mlp import MlpMember
from cetnet_keras.members.multi_embedding import MultiEmbeddingMember
from cetnet_keras.members.registry import member_class, member_options, register_member

__all__ = [
    "Dcnv2Member",
    "DeepFmMember",
    "DhenMember",
    "DinMember",
    "DminMember",
    "FinalMlpMember",
    "FinalNetMember",
    "InterformerMember",
    "Member",
    "MemberOutput",
    "MlpMember",
    "MultiEmbeddingMember",
    "member_class",
    "member_options",
    "register_member",
]
