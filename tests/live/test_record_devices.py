"""The same module on meta, with data and on fake tensors: the same operators, where torch runs the same ones."""

import pytest
from support.recorded import MODELS, NEEDS_DATA, built, quiet
from torch._subclasses.fake_tensor import FakeTensorMode

from modelmeter.live import record

# Where torch itself differs: on meta sdpa is taken apart, T5's loss is filled otherwise.
ALIKE = [name for name in MODELS if name not in (*NEEDS_DATA, "attention_fused", "t5")]


def recorded(name, device, *, backward=False, attention="eager"):
    module, args, kwargs = built(name, device, attention)
    with quiet():
        return record(module, *args, backward=backward, **kwargs)


def operators(trace):
    return [(path, op.name, op.shape) for path, op in trace.operators()]


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("name", ALIKE)
def test_meta_is_the_cpu(name, backward):
    meta, cpu = (recorded(name, device, backward=backward) for device in ("meta", "cpu"))
    assert operators(meta) == operators(cpu)
    assert meta.total == cpu.total and meta.backward == cpu.backward
    assert meta.peak_with_cache_bytes == cpu.peak_with_cache_bytes
    assert meta.saved_bytes == cpu.saved_bytes


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("name", ["linear", "conv2d", "encoder_layer", "bert", "attention_fused"])
def test_fake_tensors_are_the_cpu(name, attention):
    cpu = recorded(name, "cpu", attention=attention)
    with FakeTensorMode(allow_non_fake_inputs=True):  # the weights are fake as well
        fake = recorded(name, "cpu", attention=attention)
    assert operators(fake) == operators(cpu)
    assert fake.total == cpu.total
    assert fake.peak_bytes == cpu.peak_bytes


def test_sdpa_on_meta_is_written_out():
    """The FLOPs are the same; bytes and peak are those of eager attention: take them from fake tensors."""
    meta, cpu = (recorded("vit", device, attention="sdpa") for device in ("meta", "cpu"))
    assert meta.total.counted_flops == cpu.total.counted_flops
    assert {"bmm", "_safe_softmax"} <= {op.name for _, op in meta.operators()}
    assert "_scaled_dot_product_flash_attention_for_cpu" in {op.name for _, op in cpu.operators()}
    assert meta.total.activation_bytes > cpu.total.activation_bytes
    assert meta.peak_bytes > cpu.peak_bytes
