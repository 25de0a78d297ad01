"""Room for a run is the analytic model's need beside what is free; nothing is loaded where it is too little."""

import mmap
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch

from modelmeter import DeepseekOCRModel, ModelMeterError
from modelmeter.live.session import memory
from modelmeter.live.session.memory import NotEnoughMemory, PeakMemory, check_host_room, check_room, free_bytes
from modelmeter.live.session.session import DeepSeekOCRSession
from modelmeter.live.verification.real_run import SMALL

CPU = torch.device("cpu")
GIB = 2**30


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Any:
    """free(bytes) makes so many free."""
    return lambda number: monkeypatch.setattr(memory, "free_bytes", lambda device: number)


def needed(context: int, batch: int) -> tuple[int, int]:
    """Activations at a text prefill's fullest, and the cache after it, asked of the stateful analytic model."""
    twin = DeepseekOCRModel.from_config(SMALL, implementation="transformers", logits="last")
    twin.start_prefill(context, batch)
    return int(twin.activation_peak_bytes()), int(twin.kv_cache_bytes())


def test_a_run_takes_activations_and_cache(session: DeepSeekOCRSession, free: Any) -> None:
    free(GIB)
    room = session.check_room(session.synthetic_inputs(300, batch_size=2))
    activations, cache = needed(300, 2)
    assert max(activations, cache) < room.run_bytes <= activations + cache
    assert room.weights_bytes == 0
    assert room.free_bytes == GIB - -(-GIB // 10)  # a tenth is set aside, rounded up
    more = session.check_room(session.synthetic_inputs(300, batch_size=2), decode_tokens=4000)
    assert more.run_bytes > 2 * 4300 * 2 * 4 * 256 * 2  # the cache alone: batch, tokens, k and v, layers, width, bf16


def test_the_last_byte_counts(session: DeepSeekOCRSession, free: Any) -> None:
    free(GIB)
    inputs = session.synthetic_inputs(300)
    run = session.check_room(inputs).run_bytes
    enough = next(n for n in range(run * 10 // 9 - 2, run * 2) if n - -(-n // 10) >= run)
    free(enough)
    assert session.check_room(inputs).fits
    free(enough - 1)
    with pytest.raises(NotEnoughMemory, match="smaller batch or a shorter context"):
        session.check_room(inputs)


def test_nothing_is_built_without_room(free: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The released model: 6,671,008,256 bytes of weights, 6.21 GiB, as transformers' class has them."""
    from modelmeter.live.session import transformers_body

    monkeypatch.setattr(transformers_body, "random_body", lambda *args, **kwargs: pytest.fail("it was built"))
    free(4 * GIB)
    with pytest.raises(NotEnoughMemory) as error:
        DeepSeekOCRSession.from_config()
    assert isinstance(error.value, ModelMeterError)
    assert f"weights {2 * 3_335_504_128 / GIB:.2f} GiB" in str(error.value)
    assert "3.60 GiB of the 4.00 GiB free" in str(error.value) and "layers=2" in str(error.value)


def test_weights_count_until_they_are_loaded(free: Any) -> None:
    free(GIB)
    sizes: dict[str, Any] = {"context_len": 100, "batch_size": 1}
    conventions = DeepSeekOCRSession.from_config(SMALL).conventions
    loaded = check_room(SMALL, conventions, CPU, **sizes)
    fresh = check_room(SMALL, conventions, CPU, **sizes, loaded=False)
    twin = DeepseekOCRModel.from_config(SMALL, **attrs.asdict(conventions))
    assert (loaded.weights_bytes, fresh.weights_bytes) == (0, twin.parameter_bytes())
    assert loaded.run_bytes == fresh.run_bytes


def test_the_host_on_the_way(free: Any) -> None:
    free(GIB)
    check_host_room(GIB)
    with pytest.raises(NotEnoughMemory, match=r"on their way to the device, 1\.00 GiB are free"):
        check_host_room(GIB + 1)


def test_free_memory_of_the_host() -> None:
    """Some, and no more than the machine has."""
    meminfo = Path("/proc/meminfo")
    if not meminfo.exists():
        pytest.skip("not Linux")
    total = int(meminfo.read_text().split()[1]) * 1024
    assert 2**20 < free_bytes(CPU) <= total


@pytest.mark.parametrize(
    ("limit", "used", "given_back", "left"),
    [("1000", "400", 150, 750), ("max", "400", 150, None), ("100", "400", 0, 0)],
)
@pytest.mark.parametrize("version", [0, 1])
def test_control_groups_limit_it(
    version: int, limit: str, used: str, given_back: int, left: int | None, tmp_path: Path, monkeypatch: Any
) -> None:
    """The limit less the use, of which page cache that nobody has touched lately is given back."""
    groups = [(tmp_path / str(number), *names) for number, (_, *names) in enumerate(memory._CGROUPS)]
    monkeypatch.setattr(memory, "_CGROUPS", groups)
    folder, limit_file, used_file, field = groups[version]
    folder.mkdir()
    (folder / limit_file).write_text(f"{limit}\n")
    (folder / used_file).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 5\n{field} {given_back}\n")
    plain = memory._kib(Path("/proc/meminfo"), "MemAvailable") * 1024
    assert (free_bytes(CPU) == left) if left is not None else (free_bytes(CPU) > plain // 2)


def test_a_peak_is_seen() -> None:
    """64 MiB that are touched and let go of again: mapped here, as an allocator may have kept some from before."""
    peak = PeakMemory(CPU)
    assert peak.bytes() is None
    peak.start()
    before = peak.bytes()
    if before is None:
        pytest.skip("the peak cannot be reset here")
    with mmap.mmap(-1, 64 * 2**20) as block:
        for page in range(0, len(block), mmap.PAGESIZE):
            block[page] = 1
    after = peak.bytes()
    assert after is not None and after - before > 60 * 2**20
