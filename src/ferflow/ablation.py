"""Members from an ablation: every combination of a few axes, each a named entry of params.yaml and so a DVC stage.

It knows no training. ``params.yaml`` stays the only place that is read: the entries are written into its block
``members``, below a line that says so, and what stands above that line is kept.
"""

from copy import deepcopy
from itertools import product
from typing import Any

import yaml

from ferflow.params import WEIGHTINGS, Ablation, ParamsError

MARK = "  # made by 'ferflow ablation' from the block ablation; what stands below is replaced by the next call"


def combinations(ablation: Ablation) -> dict[str, dict[str, Any]]:
    """Name -> entry of every combination, in the order of the axes; ``ParamsError`` where two have the same name.

    An axis that is a list sets the key that it is named after (``modality``, or dotted: ``options.patch_size``) to each
    value; an axis that is a mapping adds each of its named groups of keys.
    """
    found: dict[str, dict[str, Any]] = {}
    choices = [_choices(axis, values) for axis, values in ablation.axes.items()]
    for combination in product(*choices):
        name = "-".join(word for word, _ in combination)
        if name in found:
            raise ParamsError(f"ablation: two combinations are called {name}; give the values of an axis names of their own")
        entry: dict[str, Any] = {}
        for keys in (ablation.base, *(keys for _, keys in combination)):
            for key, value in keys.items():
                _put(entry, key.split("."), deepcopy(value))  # else one combination would write into the next
        found[name] = entry
    return found


def _choices(axis: str, values: list[Any] | dict[str, dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    if isinstance(values, dict):
        return [(str(name), keys) for name, keys in values.items()]
    last = axis.rpartition(".")[2]
    return [(_word(last, value), {axis: value}) for value in values]


def _word(key: str, value: Any) -> str:
    """How a value is called in a name: words as they are, numbers after their key, true and false as yes and no.

    Without dots: to DVC they mean a key inside a key.
    """
    if isinstance(value, bool):
        return key if value else f"no_{key}"
    text = "".join(c if c.isascii() and c.isalnum() else "_" for c in str(value))
    return text if isinstance(value, str) else f"{key}{text}"


def _put(entry: dict[str, Any], path: list[str], value: Any) -> None:
    for key in path[:-1]:
        inner = entry.setdefault(key, {})
        if isinstance(inner, str):  # a weighting's name
            if inner not in WEIGHTINGS:
                raise ParamsError(f"ablation: {'.'.join(path)} reaches into {key}, which is {inner!r}")
            inner = entry[key] = dict(WEIGHTINGS[inner])
        entry = inner
    if isinstance(value, dict) and isinstance(entry.get(path[-1]), dict):
        entry[path[-1]] = {**entry[path[-1]], **value}
    else:
        entry[path[-1]] = value


def with_members(block: str, members: dict[str, dict[str, Any]]) -> str:
    """The text of the block ``members`` with these entries below the mark, in place of those that were there.

    ``ParamsError`` where a member above the mark has the name of one of them.
    """
    kept = block.split(MARK)[0].rstrip()
    if taken := sorted(set((yaml.safe_load(kept) or {}).get("members") or {}) & set(members)):
        raise ParamsError(f"ablation: params.yaml has members of its own called {', '.join(taken)}; rename them")
    lines = [
        f"  {name}: {yaml.safe_dump(entry, default_flow_style=True, sort_keys=False, width=10_000).strip()}"
        for name, entry in members.items()
    ]
    return "\n".join([kept, MARK, *lines]) + "\n\n"
