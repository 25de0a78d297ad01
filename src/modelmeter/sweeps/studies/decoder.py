"""Studies of the decoder: length of the sequence, KV heads, experts."""

from collections.abc import Sequence
from typing import Any, Final

from modelmeter.core.errors import ModelMeterError
from modelmeter.sweeps.studies.setup import Setup, make_study, one_or_several
from modelmeter.sweeps.study import Study

SEQ_LENS: Final = (256, 512, 1024, 2048, 4096)
SEQ_LEN_STEPS: Final = 16
CONTEXT_LEN: Final = 1024
TOP_K: Final = (1, 2, 4, 6, 8)
EXPERTS: Final = (32, 64, 128)
COVERAGES: Final = ("expected", "max", "min")


def seq_len(
    setup: Setup, seq_lens: Sequence[int] = SEQ_LENS, *, decode_steps: int = SEQ_LEN_STEPS, batch_size: int = 1
) -> Study:
    """Prefill of text, and `decode_steps` decode steps after it, summed, over lengths of the prompt."""
    over = {"context_len": list(seq_lens), "batch_size": batch_size}
    datasets = {
        "prefill": setup.sweep(over, "prefill"),
        "decode": setup.sweep({**over, "decode_tokens": decode_steps}, "decode"),
    }
    text = f"What prompts of {_range(seq_lens)} tokens of text cost, and {decode_steps} decode steps after them."
    return make_study("seq-len", text, datasets)


def kv_heads(
    setup: Setup,
    heads: Sequence[int] = (),
    *,
    context_lens: Sequence[int] = (CONTEXT_LEN,),
    batch_size: int = 1,
) -> Study:
    """Prefill and one decode step over numbers of KV heads: those given, or all that divide the attention heads."""
    over = {
        "num_key_value_heads": list(heads) or _divisors(_decoder(setup).num_attention_heads),
        "context_len": one_or_several(context_lens),
        "batch_size": batch_size,
    }
    text = "What fewer KV heads than attention heads save (grouped-query attention): prefill and one decode step."
    return make_study("kv-heads", text, _prefill_and_step(setup, over))


def experts(
    setup: Setup,
    *,
    top_k: Sequence[int] = TOP_K,
    numbers: Sequence[int] = EXPERTS,
    coverages: Sequence[Any] = COVERAGES,
    context_lens: Sequence[int] = (CONTEXT_LEN,),
    batch_size: int = 1,
) -> Study:
    """Prefill and one decode step over the experts that a token takes, how many there are, and how many are reached."""
    over = {
        "num_experts_per_tok": list(top_k),
        "n_routed_experts": list(numbers),
        "coverage": list(coverages),
        "context_len": one_or_several(context_lens),
        "batch_size": batch_size,
    }
    text = "What experts cost by how many a token takes, how many there are, and how many of them tokens reach."
    return make_study("experts", text, _prefill_and_step(setup, over))


def _prefill_and_step(setup: Setup, over: dict[str, Any]) -> dict[str, Any]:
    return {stage: setup.sweep(over, stage) for stage in ("prefill", "decode")}


def _decoder(setup: Setup) -> Any:
    if setup.model.config is None:
        raise ModelMeterError("a study needs a model from a configuration: from_layers() has nothing to build again")
    return setup.model.config.decoder


def _divisors(whole: int) -> list[int]:
    return [part for part in range(1, whole + 1) if whole % part == 0]


def _range(lengths: Sequence[int]) -> str:
    return f"{min(lengths):,} to {max(lengths):,}" if len(lengths) > 1 else ", ".join(f"{one:,}" for one in lengths)
