"""The same function for every share of the work: here, in other processes, or on a Dask cluster; results in order.

``FERFLOW_WORKERS`` says how many processes (default: one a core), ``FERFLOW_DASK`` the address of a Dask scheduler
(``tcp://host:8786``), whose workers must see the same files. Neither changes a result, so neither is a parameter of
the pipeline. It knows nothing of what the functions do.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def workers() -> int:
    """How many processes may work at once; ``ValueError`` where ``FERFLOW_WORKERS`` is no number above 0."""
    said = os.environ.get("FERFLOW_WORKERS", "")
    if not said:
        return len(os.sched_getaffinity(0))
    if not said.isdigit() or int(said) < 1:
        raise ValueError(f"FERFLOW_WORKERS is {said!r}; it must be a number above 0")
    return int(said)


def each(function: Callable[[Item], Result], items: Sequence[Item], *, worth_it: bool = True) -> Iterator[Result]:
    """``function(item)`` for every item, in their order; it and the items must be picklable.

    Where a cluster is named it works there; else in processes, unless one is all there is or the work is not
    ``worth_it`` (starting processes takes seconds). An error in a share is raised here.
    """
    if address := os.environ.get("FERFLOW_DASK"):
        yield from _on_dask(address, function, items)
    elif not worth_it or min(workers(), len(items)) < 2:
        yield from map(function, items)
    else:
        with ProcessPoolExecutor(min(workers(), len(items)), mp_context=get_context("forkserver")) as pool:
            yield from pool.map(function, items)


def shares() -> int:
    """Into how many shares work is best cut: some for each worker, so that none waits long for the last."""
    if address := os.environ.get("FERFLOW_DASK"):
        with _client(address) as client:
            return 4 * max(1, sum(client.nthreads().values()))
    return 4 * workers()


def _client(address: str) -> Any:
    from distributed import Client

    try:
        return Client(address, set_as_default=False)  # type: ignore[no-untyped-call]
    except OSError as error:
        raise ConnectionError(f"no Dask scheduler answers at FERFLOW_DASK={address}: {error}") from error


def _on_dask(address: str, function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    with _client(address) as client:
        for future in client.map(function, items, pure=False):
            yield future.result()
            future.release()
