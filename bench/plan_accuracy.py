"""How far the closed form of `modelmeter plan` is from its simulation: scenarios, figures, and the table in the docs.

python bench/plan_accuracy.py [--out FILE] [--docs FILE] [--reuse]

Each scenario is a device (roofline of the full model in the mode "graph"), a mix of pages, a scheduler, a batch limit
and a load (share of the saturation rate). Beside them it puts the published throughput of one A100-40G. All goes into
results/plan-accuracy.json; --docs rewrites the tables there.
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
from modelmeter.hardware.capacity.plan import Running, plan_device
from modelmeter.hardware.capacity.search import Limits
from modelmeter.hardware.capacity.server import Server
from modelmeter.hardware.capacity.simulation import Sampling, simulate, simulate_saturated
from modelmeter.hardware.capacity.times import ModelTimes
from modelmeter.hardware.capacity.workload import OutputTokens
from modelmeter.hardware.page_time import time_page
from modelmeter.hardware.roofline import machine_of
from modelmeter.report.plan_inputs import Sample, kinds_of

HERE = Path(__file__).resolve().parent
RESULT = HERE / "results" / "plan-accuracy.json"
LATENCIES = ("ttft_mean", "ttft_p95", "tpot_mean", "tpot_p95")
THROUGHPUT_GOAL, LATENCY_GOAL = 0.05, 0.10
SAMPLING = Sampling(pages=4000, warm_up=2000, relative=0.02, least=4, most=24)
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
DEVICES = ("h200", "a100-40g", "rtx-4090", "l4")
LOADS = (0.2, 0.5, 0.7, 0.9)


@attrs.frozen
class Scenario:
    """One point."""

    device: str
    mix: str
    policy: str
    batch: int
    load: float


def scenarios() -> list[Scenario]:
    """Every device, mix and scheduler at four loads with room for all, and a few where slots are short."""
    roomy = [
        Scenario(device, mix, policy, 256, load)
        for (device, mix), policy, load in product(
            [(DEVICES[0], "A4, 900 tokens"), (DEVICES[1], "mixed pages, lengths 50 to 3000"),
             (DEVICES[2], "A4, 900 tokens"), (DEVICES[3], "receipts, 200 tokens")],
            ("prefill-first", "chunked"),
            LOADS,
        )
    ]  # fmt: skip
    short = [
        Scenario(device, "A4, 900 tokens", "prefill-first", batch, load)
        for device, batch, load in product(("h200", "a100-40g"), (32,), (0.5, 0.7, 0.8, 0.9))
    ]
    return roomy + short


def measure(scenario: Scenario) -> dict:
    """Simulation and closed form of a scenario, and their relative differences."""
    samples, outputs = MIXES[scenario.mix]
    model = mm.DeepseekOCRModel.from_config(
        attention="flash", cache="in_place", experts="grouped", logits="last"
    )  # as a serving engine runs it
    pages = kinds_of(samples, outputs, model=model)
    server = Server(max_batch=scenario.batch, policy=scenario.policy, host_workers=16)
    times = ModelTimes(
        model,
        machine_of(scenario.device, execution="graph"),
        pages.works,
        most_batch=scenario.batch,
        most_cached=int(max(kind.context for kind in pages.mix.kinds) + MOST_TOKENS),
        most_chunk=server.token_budget,
    )
    form = ClosedForm(pages.mix, server, times)
    saturated = simulate_saturated(pages.mix, server, times, SAMPLING)
    rate = scenario.load * form.saturation
    predicted, measured = form.at(rate), simulate(pages.mix, server, times, rate, SAMPLING)
    found = {name: getattr(measured, name) for name in ("throughput", *LATENCIES)}
    differences = {name: getattr(predicted, name) / found[name].mean - 1 for name in LATENCIES}
    differences["throughput"] = form.gpu_saturation / saturated.mean - 1
    return {
        **attrs.asdict(scenario),
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
        "| device | pages | scheduler | batch limit | load | all slots taken | pages/s at saturation "
        "| TTFT mean | TTFT p95 | TPOT mean | TPOT p95 | agrees |",
        "| :--- | :--- | :--- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | :--- |",
    ]
    for row in rows:
        cells = [f"{row['differences'][name]:+.1%}" for name in ("throughput", *LATENCIES)]
        lines.append(
            f"| {row['device']} | {row['mix']} | {row['policy']} | {row['batch']} | {row['load']:.1f} "
            f"| {row['slots_taken']:.1%} | {' | '.join(cells)} | {'yes' if row['agrees'] else 'no'} |"
        )
    return "\n".join(lines)


def published() -> list[dict]:
    """What the published figures are of ours, at the tokens a page that follow from the two of them."""
    tokens = TOKENS_A_SECOND * 86_400 // PAGES_A_DAY
    found = []
    for mode, execution in product(("gundam", "base"), ("graph", "fused")):
        model = mm.DeepseekOCRModel.from_config(attention="flash", cache="in_place", experts="grouped", logits="last")
        pages = kinds_of([Sample(*A4)], OutputTokens.constant(tokens), model=model, mode=mode)
        machine = machine_of("a100-40g", execution=execution)
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
