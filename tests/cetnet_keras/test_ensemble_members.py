"""Which members an ensemble has: its defaults, its refusals, members of one's own, tables in common."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from cetnet_keras import CETNet, DataSpec, LazyAdam, Member, MemberOutput, one_member
from cetnet_keras.behaviours import flat_fields
from cetnet_keras.embeddings import EmbeddedFeatures, field_names
from cetnet_keras.ensemble_members import default_members
from cetnet_keras.input_signature import example_batch

Batch = dict[str, np.ndarray]
TINY_DCN = {"type": "dcnv2", "embedding_dim": 4, "hidden": [4], "cross_layers": 1}


def test_default_members_follow_the_spec(spec: DataSpec, make_spec: Callable[..., DataSpec]) -> None:
    def types(spec: DataSpec) -> list[str]:
        return [member.type for member in default_members(spec)]

    assert types(spec) == types(make_spec({"seen": {"type": "sequence"}})) == ["din", "finalmlp"]
    assert types(make_spec({"age": {"type": "numeric"}})) == ["finalmlp", "dcnv2"]
    for member in default_members(spec):
        assert member.options == {"batch_norm": True, "embedding_stddev": 0.0001}


@pytest.mark.parametrize(
    "features",
    [
        {"seen": {"type": "sequence"}},
        {"age": {"type": "numeric"}},
        {"item": {"type": "categorical"}},
        {"age": {"type": "numeric"}, "seen": {"type": "sequence"}},
    ],
)
def test_default_members_learn_from_whatever_there_is(
    features: dict[str, Any], make_spec: Callable[..., DataSpec]
) -> None:
    spec = make_spec(features)
    model = CETNet(spec, dict.fromkeys(spec.owners, 9))
    model.compile(LazyAdam(0.01), run_eagerly=True)
    batch, label = example_batch(spec, rows=8), np.arange(8) % 2
    losses = [model.train_on_batch(batch, label, return_dict=True)["loss"] for _ in range(3)]
    assert np.isfinite(losses).all()


@pytest.mark.parametrize(
    ("members", "message"),
    [
        (
            [{"type": "dcnn"}],
            r"unknown member 'dcnn': did you mean dcnv2\? Known: dcnv2, deepfm, dhen, din, dmin, finalmlp, finalnet, "
            r"interformer, mlp, multi_embedding; or package",
        ),
        (
            [{"type": "dcnv2", "name": "mine", "cross_layer": 2}],
            r"member 'mine': unknown option 'cross_layer': did you mean cross_layers\? "
            r"Known: embedding_dim, projection, dropout, batch_norm, embedding_stddev, cross_layers, rank, hidden",
        ),
        (
            [{"type": "dcnv2", "cross_layers": 0}],
            r"member 'dcnv2': `cross_layers` must be 1 or more\. Received: cross_la",
        ),
        ([{"type": "dcnv2", "hidden": 64}], r"'dcnv2': `hidden`: found 64, expected a list of whole numb"),
        ([TINY_DCN, TINY_DCN], r"member 'dcnv2': found the name 2 times; give each `name:` its own"),
        ([TINY_DCN | {"name": "fused"}], r"member 'fused': the name is reserved; give another `name:`"),
        ([TINY_DCN | {"name": "calibration"}], r"'calibration': the name is reserved; give another `name:`"),
    ],
)
def test_wrong_members_are_refused_by_name_and_option(
    members: list[dict[str, Any]], message: str, spec: DataSpec, sizes: dict[str, int]
) -> None:
    with pytest.raises(ValueError, match=message):
        CETNet(spec, sizes, members)


class FieldsAlone(Member):
    """A member as a user would write one, found by its path."""

    def __init__(self, *args: Any, scale: float = 2.0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.scale = scale

    def output_embedding(self, features: EmbeddedFeatures, training: bool | None) -> tf.Tensor:
        return self.scale * flat_fields(features)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"scale": self.scale}


class OwnPolicy(Member):
    """A member that loses the dtype policy on the way."""

    def __init__(self, *args: Any, dtype: Any = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)


def test_a_member_that_loses_the_dtype_policy_is_refused(
    spec: DataSpec, sizes: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "my_members", sys.modules[__name__])
    lost = (
        r"^member 'OwnPolicy': OwnPolicy took no notice of dtype='mixed_bfloat16' \(it has 'float32'\): pass"
    )
    with pytest.raises(ValueError, match=lost):
        CETNet(spec, sizes, [{"type": "my_members:OwnPolicy"}], dtype="mixed_bfloat16")


def test_a_member_of_ones_own_joins_by_its_path_and_comes_back_from_a_file(
    spec: DataSpec, sizes: dict[str, int], batch: Batch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "my_members", sys.modules[__name__])
    own = {"type": "my_members:FieldsAlone", "embedding_dim": 4, "scale": 3.0}
    model = CETNet(spec, sizes, [own, TINY_DCN])
    assert model.member_names == ("FieldsAlone", "dcnv2")
    output = model.members[0](batch)
    assert isinstance(output, MemberOutput)
    assert output.embedding.shape == (3, 4 * len(field_names(spec)))
    model.save(tmp_path / "model.keras")
    again = tf.keras.models.load_model(tmp_path / "model.keras")
    assert again.members[0].scale == 3.0
    np.testing.assert_allclose(again(batch)["ctr"], model(batch)["ctr"], rtol=1e-6)


def test_members_that_share_tables_read_and_train_the_rows_of_the_first(
    spec: DataSpec,
    sizes: dict[str, int],
    tiny_members: list[dict[str, Any]],
    batch: Batch,
    label: np.ndarray,
    tmp_path: Path,
) -> None:
    members = [member | {"embedding_dim": 4} for member in tiny_members]
    own = CETNet(spec, sizes, members)
    shared = CETNet(spec, sizes, members, shared_tables=True)
    saved = own.count_params() - shared.count_params()
    of_one = sum(int(np.prod(weight.shape)) for weight in own.members[0].features.weights)
    assert saved == of_one * (len(members) - 1) > 0
    shared.compile(LazyAdam(0.05), run_eagerly=True)
    shared.fit(batch, label, verbose=0)
    shared.save(tmp_path / "model.keras")
    again = tf.keras.models.load_model(tmp_path / "model.keras")
    assert all(member.features is again.members[0].features for member in again.members)
    np.testing.assert_allclose(again(batch)["member_ctr"], shared(batch)["member_ctr"], rtol=1e-6)


def test_members_of_unequal_width_share_no_tables(
    spec: DataSpec, sizes: dict[str, int], tiny_members: list[dict[str, Any]]
) -> None:
    members = [member | {"embedding_dim": 4 * (i + 1)} for i, member in enumerate(tiny_members)]
    with pytest.raises(ValueError, match=r"need one embedding_dim .* Received: \[4, 8, 12\]; give them one"):
        CETNet(spec, sizes, members, shared_tables=True)


def test_tables_are_as_wide_as_the_sets_of_a_member_together(
    spec: DataSpec, sizes: dict[str, int], batch: Batch
) -> None:
    sets = {"type": "multi_embedding", "embedding_dim": 4, "sets": 2, "hidden": [4]}
    with pytest.raises(ValueError, match=r"times `sets`\) to share tables\. Received: \[4, 8\]; give"):
        CETNet(spec, sizes, [TINY_DCN, sets], shared_tables=True)
    shared = CETNet(spec, sizes, [TINY_DCN | {"embedding_dim": 8}, sets], shared_tables=True)
    assert shared.members[1].features is shared.members[0].features
    assert np.isfinite(shared(batch)["member_ctr"]).all()


@pytest.mark.parametrize("table_dtype", ["float32", "int8"])
@pytest.mark.parametrize("shared_tables", [False, True])
def test_a_member_taken_out_of_an_ensemble_says_what_it_said_there(
    shared_tables: bool,
    table_dtype: str,
    spec: DataSpec,
    sizes: dict[str, int],
    batch: dict[str, np.ndarray],
    tiny_members: list[dict[str, Any]],
    randomise: Callable[..., None],
) -> None:
    members = [member | {"batch_norm": True} for member in tiny_members]
    ensemble = CETNet(spec, sizes, members, shared_tables=shared_tables)
    for member in ensemble.members:
        randomise(member.features)
    if table_dtype != "float32":
        ensemble.compress_tables(table_dtype)
    expected = ensemble(batch)["member_ctr"]
    for place, name in enumerate(ensemble.member_names):
        alone = one_member(ensemble, name)
        found = alone(batch)
        np.testing.assert_allclose(found["ctr"], expected[:, place], atol=1e-6)
        assert alone.member_names == (name,) and found["member_ctr"].shape == (3, 1)
        assert alone.count_params() < ensemble.count_params()
    with pytest.raises(ValueError, match=r"must be one of din, dhen, dcnv2. Received: 'mlp'"):
        one_member(ensemble, "mlp")


def test_a_member_that_is_taken_out_goes_on_with_its_own_loss(
    spec: DataSpec, sizes: dict[str, int], batch: Batch, label: np.ndarray
) -> None:
    alone = one_member(CETNet(spec, sizes, [TINY_DCN, TINY_DCN | {"name": "other"}]), "dcnv2")
    with tf.GradientTape(persistent=True) as tape:
        loss = alone.compute_loss((batch, label))
        logit = alone.predict_logits(batch).member_logit[:, 0]
        own = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(label, logit))
    weights = [variable for variable in alone.trainable_variables if "embeddings" not in variable.name]
    for found, expected in zip(tape.gradient(loss, weights), tape.gradient(own, weights), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_what_a_members_layer_adds_to_the_loss_may_be_of_half_precision(
    spec: DataSpec, sizes: dict[str, int], batch: Batch, label: np.ndarray
) -> None:
    losses = []
    for dtype in ("float32", "mixed_float16"):
        model = CETNet(spec, sizes, [TINY_DCN], dtype=dtype)
        layer = next(part for part in model.submodules if isinstance(part, tf.keras.layers.Dense))
        layer.activity_regularizer = tf.keras.regularizers.L2(0.1)
        model.compile(LazyAdam(0.05), run_eagerly=True)
        model.train_on_batch(batch, label)
        losses.append(float(model._regularisation()))
    assert losses[0] > 0 and losses[1] > 0
