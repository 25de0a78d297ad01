"""One GPU that serves pages: its scheduler, its limits, and the times that its steps take."""

from typing import Final, Literal, Protocol

import attrs

from modelmeter.core.errors import ModelMeterError
from modelmeter.hardware.capacity.workload import PageMix

Policy = Literal["prefill-first", "chunked"]
MOST_HOST_WORKERS: Final = 4096
"""More than the cores of any host with one GPU."""
POLICIES: tuple[Policy, ...] = ("prefill-first", "chunked")


def policy_of(name: str) -> Policy:
    """A scheduler by name. Raises `ModelMeterError` listing them for another."""
    for policy in POLICIES:
        if policy == name:
            return policy
    raise ModelMeterError(f"unknown scheduler {name!r}: choose one of {', '.join(POLICIES)}")


class ServiceTimes(Protocol):
    """Seconds that the steps of a GPU take; `kind` is the index of a page kind."""

    def prefill_seconds(self, kind: int, pages: int) -> float:
        """Vision and prefill of `pages` pages of one kind, run together."""

    def decode_seconds(self, batch: int, cached: float) -> float:
        """One decode step of `batch` sequences that hold `cached` tokens each on average."""

    def mixed_seconds(self, batch: int, cached: float, chunk_tokens: int, chunk_past: int) -> float:
        """A step that decodes `batch` sequences (0 allowed) and prefills a chunk after `chunk_past` tokens."""

    def vision_seconds(self, kind: int, pages: int) -> float:
        """Vision of `pages` pages of one kind, run together."""

    def host_seconds(self, kind: int) -> float:
        """Reading and resizing a page, on one worker of the host."""


@attrs.frozen(kw_only=True)
class Server:
    """How a GPU is run.

    Policies. `prefill-first`: whenever a page waits and there is room, up to `prefill_batch` waiting pages (those of
    one kind at the head of the queue) are prefilled together, and decoding stalls meanwhile. `chunked`: a page's vision
    runs as a step of its own; then every step decodes the running pages and spends what is left of `token_budget` on
    the next chunk of that page's prompt; one page is prefilled at a time.

    Room: at most `max_batch` pages decoded or prefilled at once, and the KV blocks of their ends within `kv_blocks`
    (reserved when a page is let in, so nothing is ever evicted). `host_workers` read and resize pages, one each.
    """

    max_batch: int = attrs.field()
    policy: Policy = "prefill-first"
    prefill_batch: int = 1
    token_budget: int = 2048
    kv_blocks: int | None = None
    host_workers: int = 1

    def __attrs_post_init__(self) -> None:
        policy_of(self.policy)
        for name in ("max_batch", "prefill_batch", "token_budget", "host_workers"):
            if getattr(self, name) < 1:
                raise ModelMeterError(f"{name} must be 1 or more, got {getattr(self, name)}")
        if self.host_workers > MOST_HOST_WORKERS:
            raise ModelMeterError(f"host_workers must be at most {MOST_HOST_WORKERS:,}, got {self.host_workers}")
        if self.policy == "chunked" and self.token_budget <= self.max_batch:
            raise ModelMeterError(
                f"a token budget of {self.token_budget} leaves no prefill chunk beside a batch of {self.max_batch}: "
                "raise the budget or lower the batch"
            )

    def check(self, mix: PageMix) -> "Server":
        """Self. Raises `ModelMeterError` where the largest page cannot be held even alone."""
        if self.kv_blocks is not None and self.kv_blocks < mix.most_blocks:
            raise ModelMeterError(
                f"one page takes {mix.most_blocks:,} KV blocks, the device has room for {self.kv_blocks:,}: "
                "fewer output tokens, smaller weights or a larger device"
            )
        return self

    def slots(self, mix: PageMix) -> int:
        """Pages that are held at once, on average."""
        if self.kv_blocks is None:
            return self.max_batch
        return max(1, min(self.max_batch, int(self.kv_blocks / mix.held_blocks)))
