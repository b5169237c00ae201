"""What CETNet's paper claims, and what it should claim beside that, each as a difference on the same test rows."""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from benchmarks.quality.models import RECIPES
from benchmarks.quality.results import Run, Runs, Scores, alone, naive_ensembles

PEERS = "fuxictr-"
LARGER = ("cetnet-3", "cetnet-20", "cetnet-3-20", "cetnet-joint-3")  # of more members, and of wider ones
# of narrower members
SMALLER = (
    "cetnet-small",
    "cetnet-6",
    "cetnet-paper-small",
    "cetnet-joint-small",
    "paper-without-own-tables-small",
)
HALF = (2, 2.5)  # how much larger a single model is that a smaller ensemble is compared with, from and below
SAME_SIZE = 0.01  # how far apart two embedding sizes may be and still be called equal


class Side(NamedTuple):
    """One side of a comparison."""

    name: str
    models: tuple[str, ...]  # that it is made of
    scores: dict[int, Scores]  # by seed
    size: int  # embedding parameters


class Claim(NamedTuple):
    """That the first side is better than the second; `or_equal`: not worse."""

    letter: str
    first: Side
    second: Side
    or_equal: bool = False


def claims(runs: Runs) -> Iterator[Claim]:
    """The claims (a) to (g) that the runs of a data set can speak to.

    (a) fused is better than each member alone, at its own width and at twice that, and than each peer; (b) than the naive
    ensemble of the same members, and than the same members on one table, of a member's size or of theirs together; (c)
    than two copies of one architecture; (d) than without the pull; (e) confidence is better than equal weights, than a
    learned gate and than weights that are not detached; (f) fused is better than the multi-embedding model of its size,
    also with copies of one architecture, which it is better than on one wide table, too, and no worse than a single model
    of twice its size; (g) a member in the ensemble is no worse than alone.
    Raises ValueError where sides that should be of one embedding size are not.
    """
    sides = {name: _side(name, seeds) for name, seeds in runs.items()}
    for recipe in (name for name in RECIPES if name in sides):
        members = alone(runs, recipe)
        if members is None:
            continue
        for name in dict.fromkeys(members):
            yield Claim("a", sides[recipe], sides[name])
            yield from _against(sides, "a", recipe, f"{name}-wide", same_size=True)
        yield from _against_naive(runs, sides, recipe, members)
        equal = len({sides[name].size for name in members}) == 1
        yield from _against(sides, "c", recipe, f"{recipe}-twins", same_size=equal)
        for place, name in enumerate(members):
            inside = {seed: run.members[place] for seed, run in runs[recipe].items()}
            member = Side(f"{name} in {recipe}", (recipe,), inside, sides[name].size)
            yield Claim("g", member, sides[name], or_equal=True)
    for recipe in RECIPES:
        yield from _against(sides, "d", recipe, f"{recipe.removeprefix('cetnet-')}-without-kl")
        yield from _against(sides, "f", recipe, "multi-embedding", same_size=True)
    for name in sides:
        if found := re.fullmatch(rf"({'|'.join(RECIPES)})-(\d+x)", name):
            for rival in sides:
                if rival.endswith(f"-{found[2]}") and not rival.startswith(RECIPES):
                    yield from _against(sides, "f", name, rival, same_size=True)
    for small in (sides[name] for name in SMALLER if name in sides):
        for name, side in sides.items():
            single = all(len(run.members) == 1 for run in runs[name].values())
            if single and HALF[0] <= side.size / small.size < HALF[1]:
                yield Claim("f", small, side, or_equal=True)
    for recipe in ("paper", "joint"):
        whole = f"cetnet-{recipe}"
        yield from _against(sides, "b", whole, f"{recipe}-without-own-tables")
        yield from _against(sides, "b", whole, f"{recipe}-without-own-tables-wide", same_size=True)
        for rival in (f"{recipe}-without-confidence", f"{recipe}-without-stop", f"{recipe}-gate"):
            yield from _against(sides, "e", whole, rival)
    for rival in ("concatenation", "concatenation-one-table"):
        yield from _against(sides, "e", "cetnet-paper", rival)
    for rival in ("cetnet-mean", "cetnet-gate"):
        yield from _against(sides, "e", "cetnet", rival)
    for peer in (name for name in sides if name.startswith(PEERS)):
        for recipe in RECIPES:
            yield from _against(sides, "a", recipe, peer)
    for name in LARGER:
        if name in sides and (members := alone(runs, name)):
            yield from (Claim("a", sides[name], sides[own]) for own in dict.fromkeys(members))
            yield from _against_naive(runs, sides, name, members)


def _side(name: str, seeds: dict[int, Run]) -> Side:
    some = next(iter(seeds.values()))
    return Side(
        name, (name,), {seed: run.scores for seed, run in seeds.items()}, some.found["embedding_parameters"]
    )


def _against(
    sides: dict[str, Side], letter: str, first: str, second: str, same_size: bool = False
) -> Iterator[Claim]:
    if first in sides and second in sides:
        sizes = sides[first].size, sides[second].size
        if same_size and abs(sizes[0] / sizes[1] - 1) > SAME_SIZE:
            raise ValueError(f"{first} and {second} should be of one embedding size, found {sizes}")
        yield Claim(letter, sides[first], sides[second])


def _against_naive(
    runs: Runs, sides: dict[str, Side], recipe: str, members: Sequence[str]
) -> Iterator[Claim]:
    size = sum(sides[name].size for name in members)
    if abs(size / sides[recipe].size - 1) > SAME_SIZE:
        raise ValueError(
            f"{recipe} and {members} should be of one embedding size, found {sides[recipe].size}, {size}"
        )
    for name, naive in naive_ensembles(runs).items():
        if naive.models == list(members):
            yield Claim("b", sides[recipe], Side(name, tuple(members), naive.scores, size))
