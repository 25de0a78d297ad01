"""A profile as data: kernels with their time, kind and stage. Times are whole nanoseconds, so that sums are exact."""

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from typing import Final, Literal, TypeAlias, TypeVar

import attrs

from modelmeter.profiles.kinds import KINDS, Kind

Stage: TypeAlias = Literal["sam", "clip", "projector", "vision", "prefill", "decode", "unknown"]
STAGES: Final[tuple[Stage, ...]] = ("sam", "clip", "projector", "vision", "prefill", "decode", "unknown")
"""In the order in which they run. "vision" is what of the vision lies in no range of its parts, "unknown" what lies in
no range at all."""
Tool: TypeAlias = Literal["torch", "nsys"]
RunsOn: TypeAlias = Literal["gpu", "cpu"]
Name = TypeVar("Name", bound=Hashable)


@attrs.frozen(kw_only=True)
class KernelTime:
    """All launches of one kernel in one stage; of a CPU profile all calls of one operator.

    An operator's time is its own, without that of the operators that it calls; calls that only call others, and views,
    are no launches.
    """

    name: str
    kind: Kind
    stage: Stage
    launches: int
    nanoseconds: int
    tensor_cores: bool | None = None


@attrs.frozen(kw_only=True)
class Total:
    """Kernels taken together."""

    nanoseconds: int = 0
    launches: int = 0
    tensor_core_nanoseconds: int = 0

    def __add__(self, other: "Total") -> "Total":
        return Total(
            nanoseconds=self.nanoseconds + other.nanoseconds,
            launches=self.launches + other.launches,
            tensor_core_nanoseconds=self.tensor_core_nanoseconds + other.tensor_core_nanoseconds,
        )

    @property
    def seconds(self) -> float:
        """Kernel time in seconds."""
        return self.nanoseconds / 1e9


@attrs.frozen(kw_only=True)
class Profile:
    """What a tool measured.

    `ranges`: how many ranges of each stage there are. `elapsed`: nanoseconds that each stage took, waiting for its
    kernels included, where the tool has a timeline: on a GPU by how much a stage's kernels move the time at which the
    device is done, on a CPU the time in its ranges. `unfinished` events have no duration and are left out.
    """

    source: str
    tool: Tool
    runs_on: RunsOn
    device_name: str | None = None
    kernels: tuple[KernelTime, ...]
    ranges: Mapping[Stage, int] = {}
    elapsed: Mapping[Stage, int] | None = None
    unfinished: int = 0

    @property
    def total(self) -> Total:
        """All kernels."""
        return total(self.kernels)

    def by_stage(self) -> dict[Stage, Total]:
        """The kernels of each stage that has any, in order."""
        return _grouped(self.kernels, lambda kernel: kernel.stage, STAGES)

    def by_kind(self, stages: Collection[Stage] | None = None) -> dict[Kind, Total]:
        """The kernels of each kind that has any (in these stages, where some are named), in order."""
        chosen = [kernel for kernel in self.kernels if stages is None or kernel.stage in stages]
        return _grouped(chosen, lambda kernel: kernel.kind, tuple(KINDS))

    def with_stage(self, stage: Stage) -> "Profile":
        """The same with what lies in no range in `stage`."""
        kernels = [attrs.evolve(item, stage=stage if item.stage == "unknown" else item.stage) for item in self.kernels]
        elapsed: dict[Stage, int] | None = None
        if self.elapsed is not None:
            elapsed = {}
            for name, value in self.elapsed.items():
                place = stage if name == "unknown" else name
                elapsed[place] = elapsed.get(place, 0) + value
        return attrs.evolve(self, kernels=tuple(merged(kernels)), elapsed=elapsed)


def total(kernels: Iterable[KernelTime]) -> Total:
    """Kernels added up."""
    return sum((_own(kernel) for kernel in kernels), Total())


def merged(kernels: Iterable[KernelTime]) -> list[KernelTime]:
    """One row for each name and stage, the longest first."""
    rows: dict[tuple[str, Stage], KernelTime] = {}
    for kernel in kernels:
        found = rows.get((kernel.name, kernel.stage))
        launches, nanoseconds = (0, 0) if found is None else (found.launches, found.nanoseconds)
        rows[kernel.name, kernel.stage] = attrs.evolve(
            kernel, launches=launches + kernel.launches, nanoseconds=nanoseconds + kernel.nanoseconds
        )
    return sorted(rows.values(), key=lambda kernel: (-kernel.nanoseconds, STAGES.index(kernel.stage), kernel.name))


def _grouped(
    kernels: Iterable[KernelTime], key: Callable[[KernelTime], Name], order: tuple[Name, ...]
) -> dict[Name, Total]:
    groups: dict[Name, list[KernelTime]] = {}
    for kernel in kernels:
        groups.setdefault(key(kernel), []).append(kernel)
    return {name: total(groups[name]) for name in order if name in groups}


def _own(kernel: KernelTime) -> Total:
    cores = kernel.nanoseconds if kernel.tensor_cores else 0
    return Total(nanoseconds=kernel.nanoseconds, launches=kernel.launches, tensor_core_nanoseconds=cores)
