"""How much may happen at once, and how often: requests in work, bytes on their way in, requests a client. It knows no HTTP.

Everything belongs to one event loop, so nothing is locked, and all of it is bounded: no client can make it grow.
"""

import asyncio
import math
import time
from collections.abc import Callable
from ipaddress import AddressValueError, IPv6Address

from ferflow.serving.refusals import RefusedError

MAX_CLIENTS = 10_000


class Rate:
    """At most ``a_minute`` requests of a client (0: any number), as a bucket that holds a minute's worth and fills steadily.

    It remembers one number a client, the moment at which the bucket is full again (the "virtual scheduling" form of ITU-T
    I.371's generic cell rate algorithm), and no more than 10,000 clients.
    """

    def __init__(self, a_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval = 60 / a_minute if a_minute else 0.0
        self._clock = clock
        self._full_at: dict[str, float] = {}

    def take(self, client: str) -> None:
        """Count one request; ``RefusedError`` 429, with the seconds to wait, where the client has had its share."""
        if not self._interval:
            return
        now = self._clock()
        full_at = max(self._full_at.pop(client, now), now) + self._interval  # popped: the last used stands last
        if (wait := full_at - now - 60) > 1e-6:
            self._full_at[client] = full_at - self._interval
            raise RefusedError(
                429,
                f"too many requests of one client: {60 / self._interval:.0f} a minute; wait {math.ceil(wait)} s",
                retry_after=str(math.ceil(wait)),
            )
        self._full_at[client] = full_at
        if len(self._full_at) > MAX_CLIENTS:
            self._forget(now)

    def _forget(self, now: float) -> None:
        """Drop who has a full bucket (nothing is lost by that); where nobody has, the quarter that asked longest ago."""
        self._full_at = {client: full_at for client, full_at in self._full_at.items() if full_at > now}
        for client in list(self._full_at)[: MAX_CLIENTS // 4 if len(self._full_at) > MAX_CLIENTS else 0]:
            del self._full_at[client]


def address_group(host: str) -> str:
    """Who counts as one client: an IPv4 address, or the /64 of an IPv6 address, which is what one household has."""
    if ":" not in host:
        return host
    try:
        return str(IPv6Address(int(IPv6Address(host.partition("%")[0])) >> 64 << 64))
    except AddressValueError:
        return host


class Room:
    """Places for work: ``with room:`` takes one, and raises ``RefusedError`` 503 where there is none."""

    def __init__(self, places: int, what: str = "requests") -> None:
        self.places, self.taken, self._what = places, 0, what

    def check(self) -> None:
        """``RefusedError`` where every place is taken."""
        if self.taken >= self.places:
            raise RefusedError(503, f"as many {self._what} as fit are in work; come back in a moment", retry_after="1")

    def __enter__(self) -> None:
        self.check()
        self.taken += 1

    def __exit__(self, *_: object) -> None:
        self.taken -= 1


class Arrivals:
    """Bodies that are being read: how long one may take, and how many bytes all of them may hold together.

    Where they hold too much, the one that has been arriving for longest is cut off, not the newcomer: honest bodies arrive in
    milliseconds, and somebody who sends slowly on purpose must not keep others out.
    """

    def __init__(self, seconds: float, max_bytes: int) -> None:
        self.seconds, self.max_bytes, self.held = seconds, max_bytes, 0
        self._reading: dict[Arrival, None] = {}  # oldest first

    def start(self) -> "Arrival":
        """``async with`` it, and tell it of what arrives; it raises ``TimeoutError`` when the time is up."""
        return Arrival(self)


class Arrival:
    """One body on its way."""

    def __init__(self, all_: Arrivals) -> None:
        self._all, self._held = all_, 0
        self._limit = asyncio.timeout(all_.seconds)

    async def __aenter__(self) -> "Arrival":
        self._all._reading[self] = None
        await self._limit.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        self._release()
        await self._limit.__aexit__(*error)  # type: ignore[arg-type]

    def grew(self, size: int) -> None:
        """So many bytes more arrived."""
        if self not in self._all._reading:
            return  # cut off already, only it does not know yet
        self._held += size
        self._all.held += size
        while self._all.held > self._all.max_bytes and self._all._reading:
            next(iter(self._all._reading))._cut()

    def _cut(self) -> None:
        self._release()
        self._limit.reschedule(asyncio.get_running_loop().time())

    def _release(self) -> None:
        if self in self._all._reading:
            del self._all._reading[self]
            self._all.held -= self._held
