"""Classifies what waits: faces of many requests go through the network together.

Where several came together last time, as many are waited for, as long as one comes every 2 ms, and 10 ms at most: a network
takes a face of a full batch in little more than half the time of a single one. Where one came alone, the next does not wait. It
knows no HTTP and no detector.
"""

import asyncio
import time
from collections import defaultdict
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Thread
from typing import NamedTuple

import numpy as np

from ferflow.inference import Predictor

Outputs = dict[str, np.ndarray]
_LARGEST = 64  # faces in a batch
_QUIET_S, _LONGEST_S = 0.002, 0.01  # without a newcomer, and in all, that a batch waits for those of last time


class _Entry(NamedTuple):
    faces: np.ndarray
    answer: "asyncio.Future[Outputs]"


class Batcher:
    """A network in a thread of its own; a batch is closed as soon as it holds ``largest`` faces, and no request is cut in two.

    ``close`` lets what waits be answered first.
    """

    def __init__(self, predictor: Predictor, largest: int = _LARGEST) -> None:
        self._predictor, self._largest, self._closed = predictor, largest, False
        self._waiting: SimpleQueue[_Entry | None] = SimpleQueue()
        self._thread = Thread(target=self._run, name="classify", daemon=True)
        self._thread.start()

    async def outputs(self, faces: np.ndarray) -> Outputs:
        """The outputs for faces (N x S x S x 3, uint8), when they are there; they are checked here, so that no others suffer."""
        size = self._predictor.card.input_size
        if faces.dtype != np.uint8 or faces.shape[1:] != (size, size, 3):
            raise ValueError(f"faces must be uint8, N x {size} x {size} x 3; these are {faces.dtype} {faces.shape}")
        if self._closed:
            return self._predictor.outputs(faces)
        entry = _Entry(faces, asyncio.get_running_loop().create_future())
        self._waiting.put(entry)
        return await entry.answer

    def close(self) -> None:
        """Answer what waits, then end; what is asked after is answered by whoever asks."""
        self._closed = True
        self._waiting.put(None)
        self._thread.join()
        with suppress(Empty):
            while True:
                if entry := self._waiting.get_nowait():
                    self._answer([entry])

    def _run(self) -> None:
        together = 1
        while entry := self._waiting.get():
            batch, ended = self._gathered(entry, together)
            self._answer(batch)
            together = len(batch)
            if ended:
                return

    def _gathered(self, first: _Entry, together: int) -> tuple[list[_Entry], bool]:
        """A batch: ``first``, whoever waits, and who comes again of the last ``together``; and whether to end after it."""
        batch, count = [first], len(first.faces)
        until = time.monotonic() + _LONGEST_S
        while count < self._largest:
            patient = len(batch) < together and time.monotonic() < until
            try:
                entry = self._waiting.get(patient, _QUIET_S)
            except Empty:
                break
            if entry is None:
                return batch, True
            batch.append(entry)
            count += len(entry.faces)
        return batch, False

    def _answer(self, batch: list[_Entry]) -> None:
        try:
            outputs = self._predictor.outputs(
                np.concatenate([entry.faces for entry in batch]) if len(batch) > 1 else batch[0].faces
            )
            stops = np.cumsum([len(entry.faces) for entry in batch])[:-1]
            parts = {task: np.split(values, stops) for task, values in outputs.items()}
        except Exception as error:  # whatever it is, those who wait must hear of it
            _settle([(entry.answer, error) for entry in batch])
            return
        _settle([(entry.answer, {task: some[number] for task, some in parts.items()}) for number, entry in enumerate(batch)])


def _settle(answers: "list[tuple[asyncio.Future[Outputs], Outputs | Exception]]") -> None:
    """Give answers to those who wait for them; their event loop is woken once."""
    loops = defaultdict(list)
    for future, answer in answers:
        loops[future.get_loop()].append((future, answer))
    for loop, some in loops.items():
        with suppress(RuntimeError):  # the loop has ended: nobody waits
            loop.call_soon_threadsafe(_give, some)


def _give(answers: "list[tuple[asyncio.Future[Outputs], Outputs | Exception]]") -> None:
    for future, answer in answers:
        if future.done():  # a client that went away
            continue
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)
