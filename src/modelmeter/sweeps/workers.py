"""Jobs in this process, on processes of this machine, or on a dask scheduler's workers."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from modelmeter.core.errors import ModelMeterError


def run_all(
    work: Callable[..., None], jobs: Sequence[tuple[Any, ...]], *, scheduler: str | None = None, workers: int = 1
) -> Iterator[int]:
    """Do `work(*job)` for every job; yields how many are done, after each. The first error ends it.

    On `scheduler` ("tcp://host:port") where there is one, else on `workers` processes, for one in this process.
    """
    if type(workers) is not int or workers < 1:
        raise ModelMeterError(f"sweep: workers is {workers!r}: give 1 or more")
    if scheduler is None and (workers == 1 or len(jobs) < 2):
        for number, job in enumerate(jobs, start=1):
            work(*job)
            yield number
        return
    from distributed import as_completed

    wait_for: Any = as_completed  # untyped
    with _client(scheduler, workers) as client:
        futures = [client.submit(work, *job, pure=False) for job in jobs]
        for number, future in enumerate(wait_for(futures), start=1):
            future.result()
            yield number


def _client(scheduler: str | None, workers: int) -> Any:
    import distributed

    client: Any = distributed.Client  # untyped
    if scheduler is None:
        return client(n_workers=workers, threads_per_worker=1, dashboard_address=None)
    try:
        return client(scheduler, timeout="10s")
    except (OSError, ValueError) as error:
        raise ModelMeterError(f"sweep: no dask scheduler answers at {scheduler}: {error}") from error
