"""docs/members.md: its tables say what the code does, and its example of one's own member trains, saves and loads."""

import inspect
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import yaml
from click.testing import CliRunner

from cetnet_keras import CETNet, DataSpec, LazyAdam
from cetnet_keras.cli import main
from cetnet_keras.members import member_class, member_options
from cetnet_keras.members.registry import built_in_members
from cetnet_keras.spec import load_model_spec

PAGE = Path(__file__).parents[3] / "docs" / "members.md"
SHARED = ("embedding_dim", "projection", "dropout", "batch_norm", "embedding_stddev")


@pytest.fixture(scope="module")
def page() -> str:
    return PAGE.read_text(encoding="utf-8")


@pytest.fixture
def own_members(page: str, write_module: Callable[[str, str], None]) -> str:
    """The example as a module that Python finds; its model.yaml."""
    (example,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    write_module("own_members", example)
    (model,) = re.findall(r"```yaml\n(.*?)```", page, flags=re.DOTALL)
    return model


@pytest.mark.parametrize("name", built_in_members())
def test_a_table_lists_the_options_of_each_member_with_their_defaults(page: str, name: str) -> None:
    (table,) = re.findall(rf"\| {name} \| default \| meaning \|\n\|---\|---\|---\|\n((?:\|.*\n)+)", page)
    found = dict(re.findall(r"\| `(\w+)` \| `(.*?)` \|", table))
    parameters = inspect.signature(member_class(name).__init__).parameters
    options = [option for option in member_options(member_class(name)) if option not in SHARED]
    assert found == {option: shown(parameters[option].default) for option in options}


def shown(value: object) -> str:
    return f"[{', '.join(map(str, value))}]" if isinstance(value, tuple) else str(value)


@pytest.mark.parametrize("name", built_in_members())
def test_every_member_has_its_line(page: str, name: str) -> None:
    assert (
        len(
            re.findall(
                rf"^\| `{name}` \| .* \| .* \| .*(arXiv \d{{4}}\.\d{{5}}|DOI 10\.\S+) \|$",
                page,
                flags=re.MULTILINE,
            )
        )
        == 1
    )


@pytest.mark.parametrize("name", built_in_members())
def test_the_table_of_sizes_says_what_a_member_has(
    page: str, name: str, make_spec: Callable[..., DataSpec]
) -> None:
    (stated,) = re.findall(rf"\| `{name}` \| ([\d,]+) \|", page)
    histories = {
        f"{name}s": {"type": "sequence", "vocabulary": name, "align": "history"} for name in ("item", "cate")
    }
    candidates = {name: {"type": "categorical", "role": "candidate"} for name in ("item", "cate")}
    spec = make_spec({"user": {"type": "categorical"}} | candidates | histories)
    (member,) = CETNet(spec, {"user": 3, "item": 4, "cate": 2}, [{"type": name}]).members
    tables = sum(v.shape.num_elements() for v in member.variables if "embeddings" in v.name)
    assert int(stated.replace(",", "")) == member.count_params() - tables


def test_the_example_is_accepted_trains_saves_and_loads(
    own_members: str,
    spec: DataSpec,
    sizes: dict[str, int],
    batch: dict[str, np.ndarray],
    label: np.ndarray,
    tmp_path: Path,
    make_batch: Callable[..., dict[str, np.ndarray]],
) -> None:
    path = tmp_path / "model.yaml"
    path.write_text(own_members)
    (tmp_path / "data.yaml").write_text(yaml.safe_dump(spec.model_dump(mode="json", exclude_unset=True)))
    checked = CliRunner().invoke(main, ["spec", "check", str(tmp_path / "data.yaml"), "--model", str(path)])
    assert checked.exit_code == 0, checked.output
    assert checked.output.endswith("model.yaml: 3 members, sound\n")
    model = CETNet(spec, sizes, load_model_spec(path).members)
    model.compile(LazyAdam(), run_eagerly=True)
    before = [weight.copy() for weight in model.members[2].get_weights()]
    model.fit(batch, label, verbose=0)
    assert any(
        (one != other).any() for one, other in zip(before, model.members[2].get_weights(), strict=True)
    )
    model.save(tmp_path / "model.keras")
    loaded = tf.keras.models.load_model(tmp_path / "model.keras")
    other = make_batch(spec, sizes, seed=1)
    np.testing.assert_allclose(loaded(other)["ctr"], model(other)["ctr"], rtol=1e-5)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_the_example_learns_under_a_mixed_policy(
    policy: str,
    own_members: str,
    spec: DataSpec,
    sizes: dict[str, int],
    batch: dict[str, np.ndarray],
    label: np.ndarray,
) -> None:
    (wide,) = (member for member in yaml.safe_load(own_members)["members"] if "own_members" in member["type"])
    model = CETNet(spec, sizes, [wide], dtype=policy)
    model.compile(LazyAdam(), run_eagerly=True)
    before = model.members[0].trainable_variables[0].numpy()
    assert np.isfinite(model.train_on_batch(batch, label)).all()
    assert (model.members[0].trainable_variables[0].numpy() != before).any()
