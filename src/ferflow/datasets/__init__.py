"""The sources of faces, one file each: a raw folder, archive or table becomes rows of the manifest.

An entry is a function ``load(path, *, seed, part, **options) -> Rows`` that yields dictionaries with any of
the manifest's columns; a missing one is null. It names the file, row or key of whatever it cannot read in a
``DataError``. A face that can be read but not used (a name without an age, an annotator's "not a face") is a
row all the same, with the reason in its column ``problem``. ``part`` asks for one of n consecutive shares of the
rows, so that several processes, or machines, can read together; the shares in their order are the whole. Beside
``load`` stands ``ABOUT``: what the set is, under which terms, and how one gets it. A source knows nothing of
splits, models or stages.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, TypeVar

from ferflow.fetching import Remote as Remote

Row = dict[str, Any]
Rows = Iterator[Row]
Item = TypeVar("Item")


class DataError(ValueError):
    """Raw data that cannot be read; the message names the file, row or key and says what was expected."""


@dataclass(frozen=True)
class Part:
    """Share number ``index`` (from 0) of ``count`` consecutive, about equal shares."""

    index: int = 0
    count: int = 1

    def of(self, items: Sequence[Item]) -> Sequence[Item]:
        """That share of a sequence."""
        return items[self.index * len(items) // self.count : (self.index + 1) * len(items) // self.count]

    def of_blocks(self, blocks: int) -> Iterator[tuple[int, "Part"]]:
        """``(block, share of it)`` of what it holds, where the rows are ``blocks`` blocks one after the other.

        How many rows a block has is not known. So each is cut into ``count`` shares; of these, in the order of the
        blocks, every part takes ``blocks`` consecutive ones. For one part it is all blocks whole; two processes over
        three blocks read A, A, B's first half and B's second half, C, C.
        """
        for place in range(self.index * blocks, (self.index + 1) * blocks):
            block, index = divmod(place, self.count)
            yield block, Part(index, self.count)


WHOLE = Part()


@dataclass(frozen=True)
class About:
    """A set of faces, for people: what it is, its terms, and its route.

    ``kaggle`` is the set's handle there; ``remotes`` are plain downloads. A set with neither is not ours to
    fetch: ``by_hand`` says how one gets it, and ``agreement`` that it asks for a signature first.
    """

    title: str
    faces: str
    terms: str
    homepage: str
    layout: str
    by_hand: str = ""
    kaggle: str = ""
    remotes: tuple[Remote, ...] = ()
    agreement: bool = False
    slow: bool = False  # a row takes milliseconds to make: worth other processes


def about(name: str) -> About:
    """What is said of a registered source."""
    found: About = import_module(f"ferflow.datasets.{name}").ABOUT
    return found
