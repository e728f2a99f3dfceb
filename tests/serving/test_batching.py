import asyncio
import threading
import time

import numpy as np
import pytest

from ferflow.inference import Predictor
from ferflow.serving import batching
from ferflow.serving.batching import Batcher


class Slow:
    """A predictor that counts its batches, and waits with them while it is held."""

    def __init__(self, predictor: Predictor) -> None:
        self.card, self._predictor, self.batches, self.broken = predictor.card, predictor, [], False
        self.free = threading.Event()
        self.free.set()

    def outputs(self, faces):
        self.free.wait(20)
        self.batches.append(len(faces))
        if self.broken:
            raise RuntimeError("the network broke")
        return self._predictor.outputs(faces)


@pytest.fixture
def predictor(release) -> Slow:
    return Slow(Predictor(release))


def faces(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (count, 40, 40, 3), dtype=np.uint8)


def test_everybody_gets_their_own_answer_though_faces_go_together(predictor):
    batcher = Batcher(predictor, largest=16)
    parts = [faces(1 + seed % 3, seed) for seed in range(60)]

    async def all_of_them():
        return await asyncio.gather(*map(batcher.outputs, parts))

    answers = asyncio.run(all_of_them())
    batcher.close()
    for part, answer in zip(parts, answers, strict=True):
        alone = predictor._predictor.outputs(part)
        assert {task: values.shape for task, values in answer.items()} == {task: v.shape for task, v in alone.items()}
        assert all(np.allclose(answer[task], alone[task], atol=1e-5) for task in alone)
    assert sum(predictor.batches) == sum(map(len, parts))
    assert len(predictor.batches) < len(parts)
    assert max(predictor.batches) < 16 + 3


def test_those_who_came_together_are_waited_for_and_a_lone_request_is_not(predictor, monkeypatch):
    monkeypatch.setattr(batching, "_QUIET_S", 0.5)  # long enough to tell waiting from luck
    monkeypatch.setattr(batching, "_LONGEST_S", 10)
    batcher = Batcher(predictor)

    async def ask() -> float:
        predictor.free.clear()
        first = [asyncio.ensure_future(batcher.outputs(faces(1, seed))) for seed in range(9)]
        await asyncio.sleep(0.05)
        predictor.free.set()
        await asyncio.gather(*first)
        again = []
        for seed in range(8):
            again.append(asyncio.ensure_future(batcher.outputs(faces(1, seed))))
            await asyncio.sleep(0.02)  # the network alone would be done with each before the next comes
        await asyncio.gather(*again)
        await batcher.outputs(faces(1))  # waits once for the eight, who do not come
        started = time.monotonic()
        for _ in range(4):
            await batcher.outputs(faces(1))
        return time.monotonic() - started

    alone_s = asyncio.run(asyncio.wait_for(ask(), 30))
    batcher.close()
    assert predictor.batches[-6:] == [8] + [1] * 5
    assert alone_s < 1, "four times half a second, had each of them waited"


def test_a_wrong_face_harms_nobody_else_and_an_error_reaches_everybody_who_waits(predictor):
    batcher = Batcher(predictor)
    with pytest.raises(ValueError, match="N x 40 x 40 x 3"):
        asyncio.run(batcher.outputs(np.zeros((1, 48, 48, 3), np.uint8)))
    assert asyncio.run(batcher.outputs(faces(2)))["expression"].shape == (2, 8)
    predictor.broken = True
    with pytest.raises(RuntimeError, match="broke"):
        asyncio.run(batcher.outputs(faces(1)))
    predictor.broken = False
    assert asyncio.run(batcher.outputs(faces(1)))["expression"].shape == (1, 8), "the thread goes on"
    batcher.close()


def test_who_gave_up_is_passed_over_and_what_waits_at_the_end_is_answered(predictor):
    batcher = Batcher(predictor)

    async def ask():
        predictor.free.clear()
        some = [asyncio.ensure_future(batcher.outputs(faces(1, seed))) for seed in range(20)]
        await asyncio.sleep(0.05)
        some[7].cancel()
        predictor.free.set()
        await asyncio.to_thread(batcher.close)
        answers = await asyncio.gather(*some, return_exceptions=True)
        assert isinstance(answers.pop(7), asyncio.CancelledError)
        assert all(one["expression"].shape == (1, 8) for one in answers)
        assert (await batcher.outputs(faces(3)))["expression"].shape == (3, 8), "a request that began before a swap"

    asyncio.run(asyncio.wait_for(ask(), 20))
