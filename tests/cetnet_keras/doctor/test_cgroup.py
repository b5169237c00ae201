"""Limits of containers, read from files laid out as Linux does, versions 1 and 2."""

from pathlib import Path

import pytest

from cetnet_keras.doctor.cgroup import MemoryLimit, cpu_limit, memory_limit

NONE_OF_VERSION_1 = "9223372036854771712"


def laid_out(folder: Path, process: str, files: dict[str, str]) -> tuple[Path, Path]:
    """(the process' file, the root of the groups)."""
    for name, text in files.items():
        path = folder / "groups" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    (folder / "process").write_text(process)
    return folder / "process", folder / "groups"


def test_version_2_in_a_container_of_its_own(tmp_path: Path) -> None:
    files = {
        "memory.max": "1000",
        "memory.current": "900",
        "memory.stat": "anon 600\ninactive_file 250",  # files that were read and can be dropped
        "cpu.max": "150000 100000",
    }
    where = laid_out(tmp_path, "0::/\n", files)
    assert memory_limit(*where) == MemoryLimit(limit=1000, free=350)
    assert cpu_limit(*where) == 1.5


def test_a_group_is_bound_by_those_above_it(tmp_path: Path) -> None:
    files = {
        "a/memory.max": "500",
        "a/memory.current": "100",
        "a/b/memory.max": "max",
        "a/b/memory.current": "90",
        "a/cpu.max": "50000 100000",
        "a/b/cpu.max": "max 100000",
    }
    where = laid_out(tmp_path, "0::/a/b\n", files)
    assert memory_limit(*where) == MemoryLimit(limit=500, free=400)
    assert cpu_limit(*where) == 0.5


def test_version_1(tmp_path: Path) -> None:
    files = {
        "memory/job/memory.limit_in_bytes": "2000",
        "memory/job/memory.usage_in_bytes": "1500",
        "memory/job/memory.stat": "inactive_file 1\ntotal_inactive_file 300",
        "memory/memory.limit_in_bytes": NONE_OF_VERSION_1,
        "memory/memory.usage_in_bytes": "5000",
        "cpu,cpuacct/cpu.cfs_quota_us": "-1",
        "cpu,cpuacct/cpu.cfs_period_us": "100000",
        "cpu,cpuacct/job/cpu.cfs_quota_us": "200000",
        "cpu,cpuacct/job/cpu.cfs_period_us": "100000",
    }
    where = laid_out(tmp_path, "4:memory:/job\n3:cpu,cpuacct:/job\n0::/\n", files)
    assert memory_limit(*where) == MemoryLimit(limit=2000, free=800)
    assert cpu_limit(*where) == 2


@pytest.mark.parametrize("process", ["", "0::/hidden/from/the/container\n", "1:name=systemd:/\n"])
def test_no_group_sets_no_limit(tmp_path: Path, process: str) -> None:
    where = laid_out(tmp_path, process, {"other/memory.max": "1"})
    assert memory_limit(*where) is None and cpu_limit(*where) is None
    assert memory_limit(tmp_path / "none", tmp_path) is None
