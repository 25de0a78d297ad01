"""How far the closed form of `modelmeter plan` is from its simulation: scenarios, figures, and the table in the docs.

python bench/plan_accuracy.py [--out FILE] [--docs FILE] [--reuse]

Each scenario is a device (roofline of the full model in the mode "graph"), a mix of pages, a scheduler, and an
operating point: a batch limit (less where memory holds fewer) and a load (share of the saturation rate), or those that
`plan` itself reports under limits of latency. Beside them it puts the published throughput of one A100-40G. All goes
into results/plan-accuracy.json; --docs rewrites the tables there.
"""

import argparse
import json
import platform
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from importlib.metadata import version
from itertools import product
from pathlib import Path

import attrs
import numpy as np

import modelmeter as mm
from modelmeter.hardware.capacity.closed_form import ClosedForm
from modelmeter.hardware.capacity.plan import SLOTS_SHORT, Running, plan_device, serving_machine
from modelmeter.hardware.capacity.room import room_for
from modelmeter.hardware.capacity.search import Limits
from modelmeter.hardware.capacity.server import Server
from modelmeter.hardware.capacity.simulation import Sampling, simulate, simulate_saturated
from modelmeter.hardware.capacity.times import ModelTimes
from modelmeter.hardware.capacity.workload import OutputTokens
from modelmeter.hardware.machine import Machine
from modelmeter.hardware.memory import memory_budget
from modelmeter.hardware.page_time import time_page
from modelmeter.report import units
from modelmeter.report.plan_inputs import Pages, Sample, kinds_of

HERE = Path(__file__).resolve().parent
RESULT = HERE / "results" / "plan-accuracy.json"
LATENCIES = ("ttft_mean", "ttft_p95", "tpot_mean", "tpot_p95")
THROUGHPUT_GOAL, LATENCY_GOAL = 0.05, 0.10
SAMPLING = Sampling(pages=10_000, warm_up=4000, relative=0.02, least=4, most=24)
ACCURACY, CLAIM = "plan accuracy", "published claim"  # names of the tables in the docs
PAGES_A_DAY, TOKENS_A_SECOND = 200_000, 2_500  # published for one A100-40G
MOST_TOKENS = 3000

A4, LETTER_SPREAD, RECEIPT = (1654, 2339), (3300, 2550), (600, 620)
MIXES = {
    "A4, 900 tokens": ([Sample(*A4)], OutputTokens.constant(900)),
    "mixed pages, lengths 50 to 3000": (
        [Sample(*A4, 6), Sample(*LETTER_SPREAD, 2), Sample(*RECEIPT, 2)],
        # A lognormal of mean 900 and coefficient of variation 0.7, at its midpoint quantiles.
        OutputTokens.empirical(
            int(np.clip(900 / np.sqrt(1.49) * np.exp(np.sqrt(np.log(1.49)) * z), 50, MOST_TOKENS))
            for z in np.random.default_rng(7).standard_normal(400)
        ),
    ),
    "receipts, 200 tokens": ([Sample(*RECEIPT)], OutputTokens.constant(200)),
}
A4_PAGES, MIXED, RECEIPTS = MIXES
LOADS = (0.2, 0.5, 0.7, 0.9)
PLANNED_PAGES_A_DAY = 1e8  # so many GPUs that each runs at its limit
USUAL = Limits(ttft=1.0, tpot=0.05)


@attrs.frozen(kw_only=True)
class Given:
    """An operating point: at most so many pages at once, and a share of the saturation rate."""

    batch: int
    load: float

    def server_and_rate(self, model: mm.DeepseekOCRModel, machine: Machine, pages: Pages, running: Running) -> tuple:
        """What memory holds of that batch; the rate of that load."""
        budget = memory_budget(machine.device, model.parameter_bytes(), reserve=running.reserve)
        room = room_for(model, machine.device, budget, pages.works, pages.mix, most_batch=self.batch)
        server = running.server(room.batch, room.kv_blocks)
        times = ModelTimes.of(model, machine, pages.works, pages.mix, server)
        return server, self.load * ClosedForm(pages.mix, server, times).saturation


@attrs.frozen
class Planned:
    """The operating point that `plan` reports under limits, simulated."""

    limits: Limits

    def server_and_rate(self, model: mm.DeepseekOCRModel, machine: Machine, pages: Pages, running: Running) -> tuple:
        """Those of one GPU of the fleet."""
        demand = {"pages_per_day": PLANNED_PAGES_A_DAY, "limits": self.limits, "running": running}
        plan = plan_device(model, machine, pages.works, pages.mix, **demand)
        if plan.fleet is None:
            raise SystemExit(f"{machine.device.name}: {plan.impossible}")
        return plan.fleet.gpu.server, plan.fleet.steady.rate


@attrs.frozen
class Scenario:
    """One point."""

    device: str
    mix: str
    policy: str
    point: Given | Planned


def scenarios() -> list[Scenario]:
    """Every device, mix and scheduler at four loads; a few where slots are short; those that `plan` reports."""
    devices = [("h200", A4_PAGES), ("a100-40g", MIXED), ("rtx-4090", A4_PAGES), ("l4", RECEIPTS)]
    roomy = [
        Scenario(device, mix, policy, Given(batch=256, load=load))
        for (device, mix), policy, load in product(devices, ("prefill-first", "chunked"), LOADS)
    ]
    short = [
        Scenario(device, A4_PAGES, "prefill-first", Given(batch=32, load=load))
        for device, load in product(("h200", "a100-40g"), (0.5, 0.7, 0.8, 0.9))
    ]
    planned = [
        Scenario("h200", A4_PAGES, "prefill-first", Planned(USUAL)),
        Scenario("h200", MIXED, "chunked", Planned(USUAL)),
        Scenario("a100-40g", A4_PAGES, "prefill-first", Planned(USUAL)),
        Scenario("a100-40g", MIXED, "chunked", Planned(USUAL)),
        Scenario("rtx-4090", A4_PAGES, "chunked", Planned(USUAL)),
        Scenario("l4", RECEIPTS, "prefill-first", Planned(USUAL)),
        Scenario("a100-40g", A4_PAGES, "prefill-first", Planned(Limits(ttft=0.15))),
        Scenario("h200", A4_PAGES, "chunked", Planned(Limits(ttft=0.15))),
        Scenario("rtx-4090", A4_PAGES, "prefill-first", Planned(Limits(tpot=0.01))),
        Scenario("l4", RECEIPTS, "chunked", Planned(Limits(tpot=0.01))),
    ]
    return roomy + short + planned


def measure(scenario: Scenario) -> dict:
    """Simulation and closed form of a scenario, and their relative differences."""
    samples, outputs = MIXES[scenario.mix]
    model = mm.DeepseekOCRModel.from_config(
        attention="flash", cache="in_place", experts="grouped", logits="last"
    )  # as a serving engine runs it
    pages, machine = kinds_of(samples, outputs, model=model), serving_machine(scenario.device)
    server, rate = scenario.point.server_and_rate(model, machine, pages, Running(policy=scenario.policy))
    times = ModelTimes.of(model, machine, pages.works, pages.mix, server)
    return {
        **{name: getattr(scenario, name) for name in ("device", "mix", "policy")},
        "planned": attrs.asdict(scenario.point.limits) if isinstance(scenario.point, Planned) else None,
        "batch": server.max_batch,
        **compare(pages, server, times, rate),
    }


def compare(pages: Pages, server: Server, times: ModelTimes, rate: float) -> dict:
    """Both at a rate, and what they say of saturation."""
    form = ClosedForm(pages.mix, server, times)
    saturated = simulate_saturated(pages.mix, server, times, SAMPLING)
    predicted, measured = form.at(rate), simulate(pages.mix, server, times, rate, SAMPLING)
    found = {name: getattr(measured, name) for name in ("throughput", *LATENCIES)}
    differences = {name: getattr(predicted, name) / found[name].mean - 1 for name in LATENCIES}
    differences["throughput"] = form.gpu_saturation / saturated.mean - 1
    return {
        "load": predicted.load,
        "pages_per_second": rate,
        "slots_taken": predicted.blocked,
        "saturation": {
            "simulation": saturated.mean,
            "half_width": saturated.half_width,
            "closed_form": form.gpu_saturation,
        },
        "simulation": {name: value.mean for name, value in found.items()},
        "half_widths": {name: value.half_width for name, value in found.items()},
        "replications": measured.replications,
        "closed_form": {name: getattr(predicted, name) for name in LATENCIES},
        "differences": differences,
        "agrees": agrees(differences, {name: value.half_width / value.mean for name, value in found.items()}),
    }


def agrees(differences: dict[str, float], intervals: dict[str, float]) -> bool:
    """Within 5% on throughput and 10% on mean and 95th percentile of TTFT and TPOT, simulated to within half of that.

    Where the simulation's own interval (a share of the mean) is wider, it does not tell.
    """
    return abs(differences["throughput"]) <= THROUGHPUT_GOAL and all(
        abs(differences[name]) <= LATENCY_GOAL and intervals[name] <= LATENCY_GOAL / 2 for name in LATENCIES
    )


def table(rows: list[dict]) -> str:
    """The differences as Markdown."""
    lines = [
        "| device | pages | scheduler | planned for | batch limit | load | all slots taken | pages/s at saturation "
        "| TTFT mean | TTFT p95 | TPOT mean | TPOT p95 | agrees |",
        "| :--- | :--- | :--- | :--- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | :--- |",
    ]
    for row in rows:
        cells = [f"{row['differences'][name]:+.1%}" for name in ("throughput", *LATENCIES)]
        lines.append(
            f"| {row['device']} | {row['mix']} | {row['policy']} | {limits(row)} | {row['batch']} | {row['load']:.2f} "
            f"| {row['slots_taken']:.1%} | {' | '.join(cells)} | {'yes' if row['agrees'] else 'no'} |"
        )
    return "\n".join(lines)


def limits(row: dict) -> str:
    """The limits of latency that a planned row keeps; nothing for a given load."""
    if row["planned"] is None:
        return ""
    wanted = [(name, row["planned"][name]) for name in ("ttft", "tpot")]
    return ", ".join(f"{name.upper()} {units.seconds(value)}" for name, value in wanted if value is not None)


def shortest_ttft(rows: list[dict]) -> float:
    """The lowest closed form / simulation - 1 of TTFT among the rows where pages wait for slots."""
    waiting = [row["differences"] for row in rows if row["slots_taken"] > SLOTS_SHORT]
    return min(min(found["ttft_mean"], found["ttft_p95"]) for found in waiting)


def published() -> list[dict]:
    """What the published figures are of ours, at the tokens a page that follow from the two of them."""
    tokens = TOKENS_A_SECOND * 86_400 // PAGES_A_DAY
    found = []
    for mode, execution in product(("gundam", "base"), ("graph", "fused")):
        model = mm.DeepseekOCRModel.from_config(attention="flash", cache="in_place", experts="grouped", logits="last")
        pages = kinds_of([Sample(*A4)], OutputTokens.constant(tokens), model=model, mode=mode)
        machine = serving_machine("a100-40g", execution=execution)
        plan = plan_device(
            model,
            machine,
            pages.works,
            pages.mix,
            pages_per_day=PAGES_A_DAY,
            limits=Limits(utilisation=1.0),
            running=Running(simulated=False),
        )
        gpu = plan.fleet.gpu
        page = {"decode_tokens": tokens - 1, "prompt_tokens": 10}
        alone = time_page(model, pages.works[0].views, machine, **page)
        batch = gpu.server.max_batch
        together = time_page(model, pages.works[0].views, machine, batch_size=batch, **page)
        bound = 1 / (alone.prefill.seconds.bound + together.decode_total.bound / batch)
        found.append(
            {
                "mode": mode,
                "execution": execution,
                "output_tokens": tokens,
                "batch": batch,
                "roofline_pages_per_day": gpu.saturation * 86_400,
                "roofline_tokens_per_second": gpu.saturation * tokens,
                "bound_pages_per_day": bound * 86_400,
                "published_share_of_roofline": PAGES_A_DAY / 86_400 / gpu.saturation,
                "published_share_of_bound": PAGES_A_DAY / 86_400 / bound,
            }
        )
    return found


def claim_table(rows: list[dict]) -> str:
    """Ours and the published figures as Markdown."""
    lines = [
        "| views | execution | batch | pages a day | tokens/s | published, of the roofline | published, of the bound |",
        "| :--- | :--- | ---: | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {row['mode']} | {row['execution']} | {row['batch']} | {row['roofline_pages_per_day']:,.0f} "
        f"| {row['roofline_tokens_per_second']:,.0f} | {row['published_share_of_roofline']:.0%} "
        f"| {row['published_share_of_bound']:.0%} |"
        for row in rows
    ]
    return "\n".join(lines)


def put(text: str, name: str, content: str) -> str:
    """The text with what is between the marks of `name` replaced."""
    before, rest = text.split(f"<!-- {name} -->")
    after = rest.split(f"<!-- end of {name} -->")[1]
    return f"{before}<!-- {name} -->\n\n{content}\n\n<!-- end of {name} -->{after}"


def measure_all(workers: int) -> dict:
    """All scenarios, and what they rest on."""
    with ProcessPoolExecutor(workers) as pool:
        rows = list(pool.map(measure, scenarios()))
    return {
        "what": "closed form / simulation - 1: TTFT, TPOT (mean, 95th percentile) at the load, pages/s at saturation",
        "goals": {"throughput": THROUGHPUT_GOAL, "latency": LATENCY_GOAL},
        "sampling": attrs.asdict(SAMPLING),
        "date": date.today().isoformat(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("numpy", "simpy")},
        "scenarios": len(rows),
        "agreeing": sum(row["agrees"] for row in rows),
        "shortest_ttft_where_slots_are_short": shortest_ttft(rows),
        "rows": rows,
        "published": published(),
    }


def main() -> None:
    """Measure (or take the committed figures), write, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--docs", type=Path)
    parser.add_argument("--reuse", action="store_true", help="take the figures that --out holds already")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    if options.reuse:
        result = json.loads(options.out.read_text(encoding="utf-8"))
    else:
        result = measure_all(options.workers)
        options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    rows = result["rows"]
    if options.docs is not None:
        text = put(options.docs.read_text(encoding="utf-8"), ACCURACY, table(rows))
        options.docs.write_text(put(text, CLAIM, claim_table(result["published"])), encoding="utf-8")
    print(f"{result['agreeing']} of {len(rows)} scenarios agree")
    print(table(rows), claim_table(result["published"]), sep="\n\n")


if __name__ == "__main__":
    main()
