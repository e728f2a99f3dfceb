import asyncio

import pytest

from ferflow.serving import limiting
from ferflow.serving.limiting import Arrivals, Rate, Room, address_group
from ferflow.serving.refusals import RefusedError


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def taken(rate: Rate, client: str = "a") -> bool:
    try:
        rate.take(client)
    except RefusedError as refusal:
        assert refusal.status == 429
        return False
    return True


def test_a_minute_s_worth_at_once_then_steadily_and_whole_again_after_a_minute():
    clock = Clock()
    rate = Rate(60, clock)
    assert [taken(rate) for _ in range(61)] == [True] * 60 + [False]
    clock.now += 1.01
    assert [taken(rate), taken(rate)] == [True, False]
    assert taken(rate, "b"), "others have their own"
    clock.now += 60
    assert [taken(rate) for _ in range(61)] == [True] * 60 + [False]


def test_the_wait_that_is_named_is_enough():
    clock = Clock()
    rate = Rate(6, clock)
    while taken(rate):
        pass
    with pytest.raises(RefusedError) as refused:
        rate.take("a")
    clock.now += int(refused.value.headers["retry-after"])
    assert taken(rate)


def test_no_limit_remembers_nobody():
    rate = Rate(0)
    assert all(taken(rate) for _ in range(1000))
    assert not rate._full_at


def test_memory_is_bounded_and_who_is_waiting_is_not_forgotten_first(monkeypatch):
    monkeypatch.setattr(limiting, "MAX_CLIENTS", 100)
    clock = Clock()
    rate = Rate(1, clock)
    for number in range(1000):
        clock.now += 0.01
        assert taken(rate, str(number))
        assert len(rate._full_at) <= 100
    assert not taken(rate, "999")
    clock.now += 61
    assert taken(rate, "new")
    for number in range(100):
        taken(rate, f"n{number}")
    assert len(rate._full_at) <= 101


def test_an_address_is_a_client_and_so_is_a_household():
    assert address_group("10.1.2.3") == "10.1.2.3"
    assert address_group("2001:db8:1:2:3:4:5:6") == address_group("2001:db8:1:2::9") != address_group("2001:db8:1:3::9")
    assert address_group("fe80::1%eth0") == "fe80::"
    assert address_group("a:socket") == "a:socket"


def test_room_is_given_back_whatever_happens():
    room = Room(1)
    with pytest.raises(KeyError), room:
        raise KeyError
    with room, pytest.raises(RefusedError):
        room.check()
    assert room.taken == 0


def test_an_arrival_ends_in_time():
    async def run() -> None:
        arrivals = Arrivals(0.05, 100)
        with pytest.raises(TimeoutError):
            async with arrivals.start() as arrival:
                arrival.grew(50)
                await asyncio.sleep(5)
        assert (arrivals.held, len(arrivals._reading)) == (0, 0)

    asyncio.run(run())
