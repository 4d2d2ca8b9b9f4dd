"""The first questions of a benchmark, with its categories taking turns."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from itertools import chain, zip_longest
from typing import Any

CIRCULAR_STEP = 1_000_000
"""MMBench asks a question again with its options rotated, as index + 1,000,000 x k (CircularEval, arXiv 2307.06281)."""


def take_turns(units: Sequence[Hashable], categories: Sequence[Hashable], count: int) -> list[int]:
    """The places of all rows of `count` units, the first of each category, then the second of each, and so on.

    The first rows of a data set are often of a single category.

    Args:
        units: what each row belongs to; rows of one unit stay together.
        categories: each row's category; that of a unit's first row is the unit's.
        count: how many units.
    """
    rows: dict[Hashable, list[int]] = defaultdict(list)
    for place, unit in enumerate(units):
        rows[unit].append(place)
    by_category: dict[Hashable, list[Hashable]] = defaultdict(list)
    for unit, places in rows.items():
        by_category[categories[places[0]]].append(unit)
    turns = [unit for turn in zip_longest(*by_category.values(), fillvalue=None) for unit in turn if unit is not None]
    return sorted(chain.from_iterable(rows[unit] for unit in turns[:count]))


def subset(documents: Any, column: str, count: int) -> Any:
    """A part of a `datasets.Dataset`; a generated task file calls this.

    Args:
        documents: the data set.
        column: the categories. Of ids such as `among_12`, the word before the first underscore counts.
        count: how many questions; a question and its rotations count as one.
    """
    categories = documents[column]
    if column == "id":
        categories = [str(each).partition("_")[0] for each in categories]
    circular = "index" in documents.column_names
    units = [each % CIRCULAR_STEP for each in documents["index"]] if circular else range(len(documents))
    return documents.select(take_turns(units, list(categories), count))
