"""What a rule is."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from kubeflow.cetnet.package import Package


class Rule(NamedTuple):
    """One demand of the backend; the docstring of `check` says what it is and where it comes from."""

    id: str
    check: Callable[[Package], Iterator[str]]  # what breaks the rule

    def broken_by(self, package: Package) -> list[str]:
        """A line for each breach, with the id."""
        return [f"{self.id}: {found}" for found in self.check(package)]
