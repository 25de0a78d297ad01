"""What the numbers of times add up to, in JSON, CSV and Markdown, and what their notes say."""

import csv
import io
import json
import re

import pytest

from modelmeter import ModelMeterError
from modelmeter.core.precision import Precision
from modelmeter.hardware.host import host_seconds
from modelmeter.models.deepseek_ocr.views import plan_views
from modelmeter.report.timing.export import timing_data, to_csv, to_json, to_markdown
from modelmeter.report.timing.notes import heading, machine_notes, notes
from modelmeter.report.timing.tables import timing_tables
from modelmeter.report.timing.timing import Wanted

from .conftest import A4, BAD, CALIBRATION, RECEIPT

STAGES = ("vision", "prefill", "decode")


RUNS = [("eager", False), ("fused", False), ("graph", True)]


@pytest.fixture(scope="module", params=RUNS, ids=["eager", "fused", "graph-calibrated"])
def data(request, timed):
    execution, calibrated = request.param
    return timing_data(timed(A4, RECEIPT, execution=execution, calibrated=calibrated, by_layer=2, decode_tokens=4))


def predicted(levels):
    """The calibrated seconds where there are any, else the roofline's."""
    return levels.get("calibrated", levels["roofline"])


def test_waits_parts_and_layers_add_up_to_the_predicted_seconds(data):
    for page in data["pages"]:
        for name in STAGES:
            stage = page["stages"][name]
            seconds = pytest.approx(predicted(stage["seconds"]), rel=1e-9)
            assert sum(stage["waits"].values()) == seconds
            assert sum(part["seconds"] for part in stage["parts"].values()) == seconds
            assert sum(layer["seconds"] for layer in stage["layers"].values()) == seconds
            assert stage["binds"] == max(stage["waits"], key=stage["waits"].get)


def test_stages_add_up_to_the_page(data):
    for page in data["pages"]:
        host = page["host_seconds"]
        for level, seconds in page["total"].items():
            ttft = page["stages"]["prefill"]["seconds"][level] + (host if level != "bound" else 0)
            assert page["ttft"][level] == pytest.approx(ttft, rel=1e-12)
            assert page["decode_total"][level] == pytest.approx(4 * page["tpot"][level], rel=1e-12)
            assert seconds == pytest.approx(page["ttft"][level] + page["decode_total"][level], rel=1e-12)
        assert page["total"]["bound"] < page["total"]["roofline"] <= predicted(page["total"])
        assert page["pages_per_second"] == pytest.approx(1 / predicted(page["total"]), rel=1e-12)
        assert page["tokens_per_second"] == pytest.approx(1 / predicted(page["tpot"]), rel=1e-12)


def test_mfu_and_mbu_are_what_their_numbers_say(data):
    for page in data["pages"]:
        for name in STAGES:
            stage = page["stages"][name]
            bytes_a_second = stage["used_bytes"] / predicted(stage["seconds"])
            assert stage["mbu"] == pytest.approx(bytes_a_second / data["device"]["bandwidth"], rel=1e-12)
            peak = data["device"]["peaks"]["bf16"]  # the gate's fp32 products count at the best rate, too
            assert stage["mfu"] == pytest.approx(
                stage["needed_flops"] / (peak * predicted(stage["seconds"])), rel=1e-12
            )


def test_host_seconds_follow_from_each_page(timed):
    timing = timed(A4, RECEIPT, decode_tokens=1, batch_size=3)
    views = [plan_views(page.width, page.height) for page in (A4, RECEIPT)]
    expected = [
        3 * host_seconds(1191, 1684, views[0], source="pdf"),
        3 * host_seconds(600, 620, views[1], source="jpeg"),
    ]
    assert [page["host_seconds"] for page in timing_data(timing)["pages"]] == expected
    given = timing_data(timed(A4, RECEIPT, decode_tokens=1, batch_size=3, host=0.125))
    assert [page["host_seconds"] for page in given["pages"]] == [0.375, 0.375]  # 0.125 a page


@pytest.mark.parametrize("host", [-1.0, float("nan"), float("inf")])
def test_a_host_that_cannot_be(timed, host):
    with pytest.raises(ModelMeterError, match=r"host seconds are .*: give 0 or more"):
        timed(A4, host=host)


def test_a_wanted_time_that_the_host_alone_takes(timed):
    with pytest.raises(ModelMeterError, match=r"a TTFT of 0\.2 s ends before the host has read the page \(0\.25 s\)"):
        timed(A4, host=0.25, wanted=Wanted(ttft=0.2))
    # The second page is of the first one's kind, but larger: its host takes longer than what is wanted.
    large = A4.__class__("large.png", 1, 11910, 16840, "large.png")
    limit = host_seconds(1191, 1684, plan_views(1191, 1684), source="pdf") * 1.1
    assert timed(A4, wanted=Wanted(ttft=limit), decode_tokens=1).pages
    with pytest.raises(ModelMeterError, match="ends before the host has read the page"):
        timed(A4, large, wanted=Wanted(ttft=limit), decode_tokens=1)


@pytest.mark.parametrize("name", ["ttft", "tpot"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
def test_a_wanted_time_that_cannot_be(name, value):
    with pytest.raises(ModelMeterError, match=f"a wanted {name.upper()} must be positive seconds, not {value}"):
        Wanted(**{name: value})


def test_rates_required(timed):
    timing = timed(RECEIPT, host=0.25, wanted=Wanted(ttft=1.25, tpot=0.01), decode_tokens=1)
    (page,) = timing_data(timing)["pages"]
    prefill, decode = page["stages"]["prefill"], page["stages"]["decode"]
    assert page["required"]["ttft"] == {"seconds": 1.25, "flops": prefill["flops"], "bytes": prefill["io_bytes"]}
    flops, moved = decode["flops"] / 0.01, decode["io_bytes"] / 0.01
    assert page["required"]["tpot"] == {"seconds": 0.01, "flops": flops, "bytes": moved}
    (table,) = [table for table in timing_tables(timing) if table.title == "Rates required"]
    assert table.rows == (
        ("b.png", "TTFT of 1.25 s", f"{prefill['flops'] / 1e12:.3g}", f"{prefill['io_bytes'] / 1e9:.4g}"),
        ("b.png", "TPOT of 10.0 ms", f"{flops / 1e12:.3g}", f"{moved / 1e9:.4g}"),
    )


@pytest.mark.parametrize("calibrated", [False, True])
def test_csv_has_a_row_for_each_quantity_and_level(timed, calibrated):
    timing = timed(A4, BAD, RECEIPT, calibrated=calibrated, decode_tokens=2)
    rows = list(csv.DictReader(io.StringIO(to_csv(timing))))
    pages = timing_data(timing)["pages"]
    quantities = ["vision", "prefill", "decode", "ttft", "tpot", "decode_total", "total"]
    levels = ["bound", "roofline"] + ["calibrated"] * calibrated
    assert [(row["source"], row["quantity"], row["level"]) for row in rows] == [
        (source, name, level) for source in ("a.pdf", "b.png") for name in quantities for level in levels
    ]
    for row in rows:
        page = pages[["a.pdf", "b.png"].index(row["source"])]
        found = page[row["quantity"]] if row["quantity"] in page else page["stages"][row["quantity"]]["seconds"]
        assert float(row["seconds"]) == found[row["level"]]  # to the last digit
        assert (row["device"], row["execution"], int(row["context_len"])) == ("h200", "eager", page["context_len"])


def test_the_table_of_a_page_is_its_data(timed):
    timing = timed(RECEIPT, decode_tokens=2, calibrated=True)
    (table,) = timing_tables(timing)
    assert table.columns[1:4] == ("bound", "roofline", "calibrated")
    assert {len(row) for row in table.rows} == {len(table.columns)}
    rows = {row[0].strip(): row for row in table.rows}
    assert {"sam", "clip", "projector", "embedding", "decoder", "lm_head"} < set(rows)
    page = timing.pages[0].time
    decode = rows[f"decode step at {page.context_len} cached"]
    assert decode[-2:] == (f"{page.decode.mfu * 100:.3g}%", f"{page.decode.mbu * 100:.3g}%")
    assert decode[-3] == page.decode.timeline.total.binds
    assert rows["TPOT (mean of 2 steps)"][1:4] != ("", "", "")
    assert "page of 3 tokens" in rows  # the prefill yields the first
    assert rows["host"][1] == "0"  # no part of the bound


def test_pages_of_one_kind_share_a_table(document):
    titles = [table.title for table in timing_tables(document)]
    assert titles[0].startswith("a.pdf p1 and 1 more, each: ")
    assert [title for title in titles if "layers" in title] == [
        "a.pdf p1: layers, prefill (vision included)",
        "a.pdf p1: layers, decode, one token",
        "b.png: layers, prefill (vision included)",
        "b.png: layers, decode, one token",
    ]
    (pages,) = [table for table in timing_tables(document) if table.title == "Pages"]
    assert [row[0] for row in pages.rows] == ["a.pdf p1", "scan|2.png", "b.png", "mean"]


def test_markdown(document):
    text = to_markdown(document)
    assert text.startswith("# How long DeepSeek-OCR takes on these pages\n")
    assert heading(document) in text
    assert "\n## Not read\n\n- c.pdf: the PDF is damaged\n" in text
    assert all(f"\n- {note}" in text for note in notes(document))
    assert "| scan\\|2.png |" in text
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        columns = {len(re.findall(r"(?<!\\)\|", row)) for row in table.splitlines()}
        assert len(columns) == 1


def said(machine, precision=None, **options):
    """The notes on a machine, as one text."""
    return "\n".join(machine_notes(machine(**options), precision or Precision()))


def test_notes_on_the_launch_overhead(machine):
    text = "us of the host a kernel, an assumption (PyTorch takes 5 to 25 us): --launch-overhead sets it"
    assert f"eager: 5 {text}" in said(machine)
    assert said(machine, given_host_seconds=7e-6).startswith("eager: 7 us of the host a kernel")
    assert "assumption" not in said(machine, given_host_seconds=7e-6)
    assert said(machine, given_host_seconds=0.0).startswith("eager: 0 us of the host a kernel")
    assert "assumption" not in said(machine, given_host_seconds=0.0)
    assert said(machine, calibrated=True).startswith("eager: 8 us of the host a kernel\n")
    for execution in ("graph", "fused"):
        assert said(machine, execution=execution).startswith(f"{execution}: no host time between kernels")


def test_notes_on_formats_that_a_device_lacks(machine):
    assert "t4 has no bf16 units: products in bf16 are taken at its fp16 rate" in said(machine, device="t4")
    assert "units" not in said(machine, Precision(weights="fp16"), device="t4")
    assert "units" not in said(machine)
    fp8 = Precision(weights="fp8", activations="fp8")
    assert "a100-80g has no fp8 units: products in fp8 are taken at its bf16 rate" in said(
        machine, fp8, device="a100-80g"
    )
    assert "units" not in said(machine, fp8)
    assert "units" not in said(machine, Precision(weights="fp8"), device="a100-80g")  # products are in bf16


def test_notes_on_what_is_unknown(machine):
    text = "tpu-v5e: its vector rate is not published: elementwise work and products in fp32 are taken as free"
    assert text in said(machine, device="tpu-v5e")
    assert "tpu-v5e: number of multiprocessors unknown: no tile and wave quantisation" in said(
        machine, device="tpu-v5e"
    )
    assert "unknown" not in said(machine) and "published" not in said(machine)
    assert "h200: The H100's chip with its whole L2." in said(machine)  # the catalogue's own note


@pytest.mark.parametrize("calibrated", [False, True])
def test_notes_on_the_levels_and_the_host(timed, calibrated):
    text = "\n".join(notes(timed(RECEIPT, calibrated=calibrated, decode_tokens=1)))
    assert "no implementation of this model on this device can be faster" in text
    assert ("calibrated: at the rates kernels reach here" in text) == calibrated
    assert f"where the {'calibrated' if calibrated else 'roofline'} time goes" in text
    assert "host: reading and resizing on one core, from the page's size" in text
    given = "\n".join(notes(timed(RECEIPT, decode_tokens=1, host=0.02)))
    assert "host: 20.0 ms a page, as given" in given


def test_the_calibration_says_where_it_comes_from(timed):
    assert timing_data(timed(RECEIPT, decode_tokens=1))["device"]["calibration"] is None
    data = json.loads(to_json(timed(RECEIPT, decode_tokens=1, calibrated=True)))
    assert data["device"]["calibration"] == CALIBRATION.provenance
    assert data["device"]["host_seconds_per_kernel"] == 8e-6


def test_the_precision_is_told(timed):
    timing = timed(RECEIPT, decode_tokens=1, precision=Precision(weights="int4", kv="fp8"))
    data = timing_data(timing)["precision"]
    assert (data["weights"], data["kv"], data["parts"]) == ("int4", "fp8", ("decoder",))
    assert any(data["description"] in note for note in notes(timing))
    assert "vision, gate, embedding, head bf16" in data["description"]
