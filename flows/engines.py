"""Where stages run: in processes of this machine, on a Dask cluster, or on a Ray cluster; by Prefect's task runner or without.

An engine takes an order with what it wants (cores, GPUs) and gives a handle; it knows no graph and no DVC. Its own retries
are off: whoever drives it sees every attempt.
"""

import os
import shutil
import signal
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

from ferflow.params import Resources
from flows import work
from flows.work import Order, Outcome


class EngineError(RuntimeError):
    """A cluster that cannot be reached, or that has not what a stage asks for; the message says what to do."""


def cores_here() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


class Engine(ABC):
    """Workers. ``start`` before anything else, ``stop`` at the end; then nothing of it runs any more."""

    def __init__(self, workers: int, address: str | None, largest: Resources) -> None:
        self.workers, self.address, self.largest = workers, address, largest

    @abstractmethod
    def start(self) -> None:
        """Make or reach the workers; ``EngineError`` where that, or what the largest stage asks for, is impossible."""

    @abstractmethod
    def stop(self) -> None:
        """End what was started here, stages too; also where ``start`` was broken off."""

    @abstractmethod
    def runner(self) -> Any:
        """Prefect's task runner for these very workers."""

    def asking(self, wants: Resources) -> AbstractContextManager[Any]:
        """Around a submission by Prefect: what the stage asks for."""
        return nullcontext()

    @abstractmethod
    def submit(self, order: Order, wants: Resources) -> Any:
        """Give an order to a worker; a handle."""

    @abstractmethod
    def done(self, handle: Any) -> bool:
        """Whether it has ended, well or not."""

    @abstractmethod
    def result(self, handle: Any) -> Outcome:
        """How it ended; raises what it raised, or what the loss of its worker raises."""

    def take(self, order: Order, wants: Resources) -> Order | None:
        """The order as it is to be submitted; None while there is no room for it. Clusters queue by themselves."""
        return order

    def give_back(self, order: Order, wants: Resources) -> None:  # noqa: B027  nothing, where nothing is taken
        """What ``take`` took."""


class Processes(Engine):
    """This machine: a process a stage, as many at once as there are workers, cores and GPUs."""

    _threads: ThreadPoolExecutor | None = None

    def start(self) -> None:
        self._gpus, self._busy, self._cores = gpus_here(), 0, 0
        if self.largest.gpus > len(self._gpus):
            raise EngineError(f"pipeline.resources asks for {self.largest.gpus} GPUs, and there are {len(self._gpus)} here")
        work.allow()
        self._threads = ThreadPoolExecutor(self.workers, "stage")

    def stop(self) -> None:
        work.stop_all()
        if self._threads is not None:
            self._threads.shutdown(cancel_futures=True)

    def runner(self) -> Any:
        from prefect.task_runners import ThreadPoolTaskRunner

        return ThreadPoolTaskRunner(max_workers=self.workers)

    def take(self, order: Order, wants: Resources) -> Order | None:
        cores = max(1, wants.cores)
        full = self._busy >= self.workers or self._cores + cores > max(cores_here(), self.workers)
        if (self._busy and full) or len(self._gpus) < wants.gpus:
            return None
        mine, self._gpus = self._gpus[: wants.gpus], self._gpus[wants.gpus :]
        self._busy, self._cores = self._busy + 1, self._cores + cores
        seen = {"CUDA_VISIBLE_DEVICES": ",".join(mine)} if mine else {}
        return replace(order, environment=order.environment | seen)

    def give_back(self, order: Order, wants: Resources) -> None:
        self._busy, self._cores = self._busy - 1, self._cores - max(1, wants.cores)
        self._gpus += [one for one in order.environment.get("CUDA_VISIBLE_DEVICES", "").split(",") if wants.gpus and one]

    def submit(self, order: Order, wants: Resources) -> Any:
        assert self._threads is not None
        return self._threads.submit(work.run, order)

    def done(self, handle: Any) -> bool:
        return bool(handle.done())

    def result(self, handle: Any) -> Outcome:
        return handle.result()


class Dask(Engine):
    """A Dask cluster: one at ``address``, or one of this machine with a process a worker."""

    _cluster: Any = None
    _client: Any = None

    def start(self) -> None:
        import dask
        from distributed import Client, LocalCluster

        if self.largest.gpus and not self.address:
            raise EngineError(
                "the workers of a Dask cluster of this machine would all see the same GPUs: use another engine, or start "
                "'dask worker' once a GPU with its own CUDA_VISIBLE_DEVICES and give --address"
            )
        try:
            if not self.address:
                # a stage whose worker died is ours to give to another one, and to count
                with dask.config.set({"distributed.scheduler.allowed-failures": 0}):
                    self._cluster = LocalCluster(  # type: ignore[no-untyped-call]
                        n_workers=self.workers,
                        threads_per_worker=1,
                        host="127.0.0.1",
                        dashboard_address=None,
                        resources={"cores": max(1, self.largest.cores)},
                        silence_logs=50,
                    )
            where = self.address or self._cluster.scheduler_address
            self._client = Client(where, timeout=10, set_as_default=False)  # type: ignore[no-untyped-call]
        except OSError as error:
            raise EngineError(f"no Dask scheduler answers at {self.address}: {error}") from error
        self._where = where
        offers = [worker["resources"] for worker in self._client.scheduler_info(n_workers=-1)["workers"].values()]
        self._counts_cores = any("cores" in one for one in offers)
        for name, wanted in self._wanted(self.largest).items():
            if not any(one.get(name, 0) >= wanted for one in offers):
                raise EngineError(
                    f"no worker of the cluster offers {name}={wanted}; start them so: dask worker {where} --nthreads 1 "
                    f'--resources "{name}={wanted}"'
                )

    def _wanted(self, wants: Resources) -> dict[str, int]:
        """Dask counts only what workers say they have; GPUs must be said, cores may."""
        counted = {"GPU": wants.gpus, "cores": wants.cores if self._counts_cores else 0}
        return {name: number for name, number in counted.items() if number}

    def stop(self) -> None:
        if self._client is not None:
            self._client.close()
        if self._cluster is not None:
            self._cluster.close()

    def runner(self) -> Any:
        from prefect_dask import DaskTaskRunner

        return DaskTaskRunner(address=self._where)

    def asking(self, wants: Resources) -> AbstractContextManager[Any]:
        import dask

        wanted = self._wanted(wants)
        return dask.annotate(resources=wanted) if wanted else nullcontext()

    def submit(self, order: Order, wants: Resources) -> Any:
        return self._client.submit(work.run, order, pure=False, resources=self._wanted(wants) or None)

    def done(self, handle: Any) -> bool:
        return bool(handle.done())

    def result(self, handle: Any) -> Outcome:
        return handle.result()


class Ray(Engine):
    """A Ray cluster: one at ``address``, or one of this machine."""

    _ray: Any = None

    def start(self) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nobody asked the user
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # a stage that asks for no GPU sees what there is
        import ray

        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": True}
        if not self.address:
            quiet |= {"num_cpus": self.workers * max(1, self.largest.cores), "include_dashboard": False}
        ending = signal.getsignal(signal.SIGTERM)
        try:
            ray.init(self.address, namespace="ferflow", **quiet)
        except Exception as error:  # Ray raises bare ones; on a very busy machine after half a minute, which cannot be set
            raise EngineError(f"no Ray cluster at {self.address or 'this machine'}: {error}") from error
        finally:
            signal.signal(signal.SIGTERM, ending)  # Ray puts one of its own there
        self._ray = ray
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        for name, wanted in (("CPU", max(1, self.largest.cores)), ("GPU", self.largest.gpus)):
            if wanted and not any(node.get(name, 0) >= wanted for node in nodes):
                raise EngineError(f"no machine of the Ray cluster has {wanted} {name}, which pipeline.resources asks for")

    def stop(self) -> None:
        if self._ray is not None:
            self._ray.shutdown()

    def runner(self) -> Any:
        from prefect_ray import RayTaskRunner

        return RayTaskRunner()  # finds the cluster that this process is connected to

    @staticmethod
    def _wanted(wants: Resources) -> dict[str, Any]:
        return {"num_cpus": max(1, wants.cores), "num_gpus": wants.gpus, "max_retries": 0}

    def asking(self, wants: Resources) -> AbstractContextManager[Any]:
        from prefect_ray.context import remote_options

        return remote_options(**self._wanted(wants))

    def submit(self, order: Order, wants: Resources) -> Any:
        return self._ray.remote(**self._wanted(wants))(work.run).remote(order)

    def done(self, handle: Any) -> bool:
        return bool(self._ray.wait([handle], timeout=0)[0])

    def result(self, handle: Any) -> Outcome:
        try:
            return self._ray.get(handle)
        except self._ray.exceptions.RayTaskError as error:
            raise error.cause from None  # what the stage raised, without Ray's wrapping


ENGINES: dict[str, Callable[..., Engine]] = {"processes": Processes, "dask": Dask, "ray": Ray}


def gpus_here() -> list[str]:
    """The GPUs of this machine by number or name, as ``CUDA_VISIBLE_DEVICES`` or ``nvidia-smi`` tell; none without either."""
    if (given := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [one for one in given.split(",") if one.strip() and one != "-1"]
    if shutil.which("nvidia-smi") is None:
        return []
    asked = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    found = subprocess.run(asked, capture_output=True, text=True, check=False)
    return found.stdout.split() if found.returncode == 0 else []
