"""Jobs in this process, on processes of this machine, or on a dask scheduler's workers."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from modelmeter.core.errors import ModelMeterError


def check_workers(workers: Any, scheduler: Any) -> None:
    """Raise unless `workers` is a number of processes and `scheduler` an address or None."""
    if type(workers) is not int or workers < 1:
        raise ModelMeterError(f"sweep: workers is {workers!r}: give 1 or more")
    if scheduler is not None and not isinstance(scheduler, str):
        raise ModelMeterError(f"sweep: scheduler is {scheduler!r}: give its address, tcp://host:port")
    if scheduler is not None and workers != 1:
        raise ModelMeterError("sweep: a scheduler has workers of its own: give workers or scheduler, not both")


def run_all(
    work: Callable[..., None], jobs: Sequence[tuple[Any, ...]], *, scheduler: str | None = None, workers: int = 1
) -> Iterator[int]:
    """Do `work(*job)` for every job; yields how many are done, after each. The first error ends it.

    On `scheduler` ("tcp://host:port") where there is one, else on `workers` processes, for one in this process.
    """
    if scheduler is None and (workers == 1 or len(jobs) < 2):
        for number, job in enumerate(jobs, start=1):
            work(*job)
            yield number
        return
    from distributed import CancelledError, as_completed
    from distributed.scheduler import KilledWorker

    wait_for: Any = as_completed  # untyped
    with _client(scheduler, workers) as client:
        futures = [client.submit(work, *job, pure=False) for job in jobs]
        try:
            for number, future in enumerate(wait_for(futures), start=1):
                future.result()
                yield number
        except (KilledWorker, CancelledError) as error:
            raise ModelMeterError(
                "sweep: a worker died, most often for want of memory: ask again with fewer workers or smaller chunks; "
                "blocks that are done are kept"
            ) from error


def _client(scheduler: str | None, workers: int) -> Any:
    """A client of the scheduler, or of processes of this machine, whose workers are not sampled by dask's profiler.

    Its samples hold on to frames, and so to tensors that a recording has let go of: peaks of memory would be too high.
    """
    import dask.config
    import distributed

    client: Any = distributed.Client  # untyped
    if scheduler is None:
        try:
            with dask.config.set({"distributed.worker.profile.enabled": False}):
                return client(n_workers=workers, threads_per_worker=1, dashboard_address="127.0.0.1:0")
        except RuntimeError as error:
            raise ModelMeterError(
                "sweep: worker processes do not start: a script has to call it below `if __name__ == '__main__':`, as "
                "each process reads the script again"
            ) from error
    try:
        connected = client(scheduler, timeout="10s")
    except (OSError, ValueError) as error:
        raise ModelMeterError(f"sweep: no dask scheduler answers at {scheduler}: {error}") from error

    class Unsampled(distributed.WorkerPlugin):
        """Ends a worker's sampling, also of those that join later."""

        name = "modelmeter-unsampled"

        def setup(self, worker: Any) -> None:
            if "profile" in worker.periodic_callbacks:
                worker.periodic_callbacks["profile"].stop()

    connected.register_plugin(Unsampled())
    return connected
