"""Any order of the public calls: lengths, stage and costs are those of a plain ledger, and errors move nothing."""

from typing import Any

import attrs
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from support import arithmetic

from modelmeter import DeepseekOCRModel, ModelMeterError, SyntheticKVCache, ViewPlan, plan_views
from modelmeter.models.deepseek_ocr.config import DecoderConfig

DECODER = DecoderConfig()
PLANS = (None, plan_views(640, 640, mode="small"), plan_views(1024, 1024, mode="base"), ViewPlan.from_grid((2, 1)))
LONGEST = max(plan.image_tokens for plan in PLANS if plan is not None)

batches = st.integers(1, 3)
contexts = st.integers(1, LONGEST + 400)
chunks = st.integers(1, 300)
plans = st.sampled_from(PLANS)
not_positive = st.sampled_from([0, -1, 1.5, True, "7"])


@attrs.frozen
class Prefill:
    """A forward pass over several tokens, as the ledger writes it down."""

    queries: int
    batch: int
    past: int = 0
    plan: ViewPlan | None = None

    def flops(self) -> int:
        vision = 0 if self.plan is None else arithmetic.vision(self.plan.views, self.batch)
        return vision + arithmetic.decoder(self.queries, self.batch, self.past)


@attrs.define
class Ledger:
    """What every call should have done: numbers only."""

    mode: str | None = None
    views: ViewPlan | None = None
    batch: int = 0  # of the cache
    context: int = 0
    decoded: int = 0
    prefills: list[Prefill] = attrs.field(factory=list)
    vision: tuple[ViewPlan, int] | None = None  # of the vision stage last started
    workload: tuple[int, int, int] | None = None  # context, batch, decode tokens
    runs_workload: bool = False  # configured since the last prefill

    @property
    def cached(self) -> int:
        return self.context + self.decoded

    def flops(self) -> int:
        """Counted FLOPs of the next forward pass of the current stage."""
        if self.mode == "vision":
            plan, pages = self.vision
            return arithmetic.vision(plan.views, pages)
        if self.mode == "prefill":
            return self.prefills[-1].flops()
        return arithmetic.decoder(1, self.batch, self.cached)

    def kv_bytes(self) -> int:
        return 0 if self.mode == "vision" else arithmetic.KV_BYTES_PER_TOKEN * self.batch * self.cached

    def run_flops(self, prefills: list[Prefill], tokens: int) -> int:
        last = prefills[-1]
        decode = arithmetic.decode_steps(tokens, last.batch, last.past + last.queries)
        return sum(prefill.flops() for prefill in prefills) + decode


class PublicCalls(RuleBasedStateMachine):
    """Each rule makes a call and writes it into the ledger; the invariants compare."""

    @initialize(attention=st.sampled_from(["eager", "flash"]), cache=st.sampled_from(["concat", "in_place"]))
    def build(self, attention: str, cache: str) -> None:
        self.model = DeepseekOCRModel.from_config(attention=attention, cache=cache)
        self.ledger = Ledger()

    # Calls that move the state

    @rule(plan=plans)
    def set_views(self, plan: ViewPlan | None) -> None:
        self.model.set_views(plan)
        self.ledger.views = plan

    @rule(context=contexts, batch=batches, plan=plans, tokens=st.integers(0, 5))
    def configure_workload(self, context: int, batch: int, plan: ViewPlan | None, tokens: int) -> None:
        if plan is not None and context < plan.image_tokens:
            self.fails(lambda: self.model.configure_workload(context, batch, plan, tokens), "image tokens")
            return
        self.model.configure_workload(context, batch, plan, tokens)
        self.ledger.views = plan
        self.ledger.workload = (context, batch, tokens)
        self.ledger.runs_workload = True

    @rule(batch=batches)
    def start_vision(self, batch: int) -> None:
        if self.ledger.views is None:
            self.fails(lambda: self.model.start_vision(batch), "needs views")
            return
        self.model.start_vision(batch)
        self.ledger.mode, self.ledger.vision = "vision", (self.ledger.views, batch)

    @rule(context=contexts, batch=batches, own=st.booleans())
    def start_prefill(self, context: int, batch: int, own: bool) -> None:
        """With a cache of the caller's, or with whatever the model has."""
        cache = None if own else SyntheticKVCache.from_config(DECODER, batch)
        views = self.ledger.views
        if views is not None and context < views.image_tokens:
            self.fails(lambda: self.model.start_prefill(context, batch, cache), "image tokens")
            assert cache is None or cache.total_len() == 0
            return
        returned = self.model.start_prefill(context, batch, cache)
        assert returned is self.model.kv_cache
        assert cache is None or returned is cache
        self.prefilled(context, batch)

    @precondition(lambda self: self.ledger.workload is not None)
    @rule()
    def start_prefill_of_the_workload(self) -> None:
        context, batch, _ = self.ledger.workload
        if self.ledger.views is not None and context < self.ledger.views.image_tokens:
            self.fails(lambda: self.model.start_prefill(), "image tokens")
            return
        self.model.start_prefill()
        self.prefilled(context, batch)

    @rule(tokens=chunks)
    def extend_prefill(self, tokens: int) -> None:
        if not self.ledger.batch:
            self.fails(lambda: self.model.extend_prefill(tokens), "needs a KV cache")
            return
        self.model.extend_prefill(tokens)
        self.ledger.prefills.append(Prefill(tokens, self.ledger.batch, past=self.ledger.cached))
        self.ledger.runs_workload = False
        self.ledger.mode = "prefill"
        self.ledger.context += tokens

    @rule()
    def start_decode(self) -> None:
        if not self.ledger.batch:
            self.fails(lambda: self.model.start_decode(), "needs a KV cache")
            return
        self.model.start_decode()
        self.ledger.mode = "decode"

    @rule(context=contexts, decoded=st.integers(0, 50), batch=batches)
    def start_decode_from_a_given_cache(self, context: int, decoded: int, batch: int) -> None:
        """Someone else's prefill: the run from here on is that prefill and the steps after it."""
        cache = SyntheticKVCache(batch, 10, 128, 12, context, decoded)
        self.model.start_decode(cache)
        assert self.model.kv_cache is cache
        self.ledger.mode = "decode"
        self.ledger.batch, self.ledger.context, self.ledger.decoded = batch, context, decoded
        self.ledger.prefills = [Prefill(context + decoded, batch)]
        self.ledger.runs_workload = False

    @rule(times=st.integers(1, 3))
    def decode_one_token(self, times: int) -> None:
        for _ in range(times):
            if self.ledger.mode != "decode":
                reason = "runs in decode" if self.ledger.batch else "needs a KV cache"
                self.fails(lambda: self.model.decode_one_token(), reason)
                return
            before = self.model.cost().counted_flops
            self.model.decode_one_token()
            self.ledger.decoded += 1
            assert self.model.cost().counted_flops - before == 12 * 2 * 2 * 10 * 128 * self.ledger.batch

    # Calls that do not

    @rule(tokens=st.integers(0, 6), from_workload=st.booleans())
    def simulate_run(self, tokens: int, from_workload: bool) -> None:
        ledger = self.ledger
        if from_workload and ledger.workload is None:
            self.fails(lambda: self.model.simulate_run(), "needs decode_tokens")
            return
        given = {} if from_workload else {"decode_tokens": tokens}
        tokens = ledger.workload[2] if from_workload else tokens
        prefills = ledger.prefills
        if not prefills and ledger.workload is None:
            self.fails(lambda: self.model.simulate_run(**given), "needs a prefill")
            return
        if not prefills or ledger.runs_workload:
            context, batch, _ = ledger.workload
            if ledger.views is not None and context < ledger.views.image_tokens:
                self.fails(lambda: self.model.simulate_run(**given), "image tokens")
                return
            prefills = [Prefill(context, batch, plan=ledger.views)]
        before = self.snapshot()
        run = self.model.simulate_run(**given)
        assert self.snapshot() == before
        last = prefills[-1]
        assert run.total.cost.counted_flops == ledger.run_flops(prefills, tokens)
        end = last.past + last.queries + tokens
        assert run.total.kv_cache_bytes == arithmetic.KV_BYTES_PER_TOKEN * last.batch * end
        assert run.decode_tokens == tokens

    @precondition(lambda self: self.ledger.mode is not None)
    @rule()
    def ask(self) -> None:
        """Every kind of question, twice."""
        before = self.snapshot()
        for _ in range(2):
            cost = self.model.get_forward_cost()
            trace = self.model.trace()
            assert cost.cost == self.model.cost() == trace.total
            assert cost.activations_bytes == self.model.activation_peak_bytes() == trace.peak_bytes
            assert cost.weights_bytes == self.model.parameter_bytes() == 6_672_212_480
            parts = self.model.part_costs()
            assert sum(part.cost.counted_flops for part in parts.values()) == cost.cost.counted_flops
            assert self.model.backward_cost().counted_flops >= 0
            assert self.model.forward_memory_kvcache() == cost.kv_gb
        assert self.snapshot() == before

    @rule(size=not_positive)
    def ask_for_impossible_sizes(self, size: Any) -> None:
        calls = [
            lambda: self.model.start_prefill(size),
            lambda: self.model.start_prefill(2000, size),
            lambda: self.model.start_vision(size),
            lambda: self.model.extend_prefill(size),
            lambda: self.model.configure_workload(size),
            lambda: self.model.configure_workload(2000, size),
            lambda: self.model.configure_workload(2000, 1, None, -1 if size == 0 else size),
            lambda: self.model.simulate_run(-1 if size == 0 else size),
        ]
        for call in calls:
            self.fails(call, "must be")

    @rule(cache=st.sampled_from([(2, 10, 128, 12), (3, 5, 128, 12), (3, 10, 64, 12), (3, 10, 128, 11)]))
    def give_a_cache_that_does_not_fit(self, cache: tuple[int, int, int, int]) -> None:
        """Of another batch, number of heads, head size or number of layers than a prefill of 3 sequences needs."""
        given = SyntheticKVCache(*cache, context_len=9, decode_len=4)
        self.fails(lambda: self.model.start_prefill(2000, 3, given), "the KV cache has")
        if cache[0] == 3:
            self.fails(lambda: self.model.start_decode(given), "the KV cache has")
        assert (given.context_len, given.decode_len) == (9, 4)

    @rule()
    def decode_from_an_empty_cache(self) -> None:
        self.fails(lambda: self.model.start_decode(SyntheticKVCache.from_config(DECODER)), "empty KV cache")

    @rule(views=st.sampled_from([1024, "gundam", (1, 1024), ((1, 1024),)]))
    def set_views_that_are_no_plan(self, views: Any) -> None:
        self.fails(lambda: self.model.set_views(views), "ViewPlan")

    # The ledger against the model

    @invariant()
    def the_ledger_agrees(self) -> None:
        model, ledger = self.model, self.ledger
        assert model.views == ledger.views
        if ledger.batch:
            cache = model.kv_cache
            found = (cache.batch, cache.context_len, cache.decode_len, cache.total_len())
            assert found == (ledger.batch, ledger.context, ledger.decoded, ledger.cached)
            assert cache.size_bytes() == arithmetic.KV_BYTES_PER_TOKEN * ledger.batch * ledger.cached
        else:
            assert model.kv_cache is None
        if ledger.mode is None:
            for question in (model.cost, model.get_forward_cost, model.trace, lambda: model.operation_mode):
                self.fails(question, "needs a stage")
            return
        assert model.operation_mode == ledger.mode
        assert model.kv_cache_bytes() == ledger.kv_bytes()
        assert model.cost().counted_flops == ledger.flops()

    # Helpers

    def prefilled(self, context: int, batch: int) -> None:
        self.ledger.mode, self.ledger.batch = "prefill", batch
        self.ledger.context, self.ledger.decoded = context, 0
        self.ledger.prefills = [Prefill(context, batch, plan=self.ledger.views)]
        self.ledger.runs_workload = False

    def snapshot(self) -> tuple[Any, ...]:
        cache = self.model.kv_cache
        held = cache and (id(cache), cache.batch, cache.context_len, cache.decode_len)
        stage = self.ledger.mode and (self.model.operation_mode, self.model.cost(), self.model.kv_cache_bytes())
        return (held, self.model.views, stage)

    def fails(self, call: Any, reason: str) -> None:
        """The call raises for this reason and leaves everything as it was."""
        before = self.snapshot()
        with pytest.raises(ModelMeterError, match=reason):
            call()
        assert self.snapshot() == before


TestPublicCalls = PublicCalls.TestCase
TestPublicCalls.settings = settings(max_examples=200, stateful_step_count=30)
