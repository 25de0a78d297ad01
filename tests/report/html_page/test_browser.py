"""The page in a real browser: it opens alone and its parts work."""

import csv
import time

import pytest

ROW_FIELDS = ("tensor_flops", "cuda_flops", "weight_bytes", "activation_bytes", "kv_bytes", "io_bytes")


@pytest.fixture
def find(shown):
    """find(css): the elements."""
    return lambda css: shown.find_elements("css selector", css)


def expected_rows(report, stage=None):
    """(node, times, stage, operator) of the first kind, as the table lists them."""
    for name in ("vision", "prefill", "decode") if stage is None else (stage,):
        for times, node in report.kinds[0].tree.walk():
            if name in node.snapshots:
                for operator in node.snapshots[name].operators:
                    yield node, times, name, operator


def run(browser, script, *arguments):
    return browser.execute_script(script, *arguments)


def test_opens_without_errors_and_without_network(shown, page_file, requests):
    assert [entry["message"] for entry in shown.get_log("browser")] == []
    addresses = requests()
    assert addresses[0] == page_file.as_uri()
    assert [address for address in addresses[1:] if not address.startswith(("data:", "blob:"))] == []


def test_network_is_closed_to_the_page(shown):
    run(shown, "window.asked = ''; fetch('https://example.com/').catch(() => { window.asked = 'refused'; });")
    wait_for(lambda: run(shown, "return window.asked") == "refused")


def test_names_of_files_are_text(shown, report):
    names = [element.text for element in shown.find_elements("css selector", "#document-list .file")]
    hostile = report.documents[1].source
    assert names == ["scan.pdf", hostile, f"broken {hostile}"]
    assert run(shown, "return window.broken") is None
    assert shown.find_elements("css selector", "main img") == []


def test_charts_are_drawn(find):
    charts = [chart.get_attribute("id") for chart in find(".js-plotly-plot")]
    assert charts == ["roofline-chart", "memory-chart", "kv-chart", "step-chart"]


def test_roofline_can_be_hovered(shown, report):
    from selenium.webdriver import ActionChains

    stage = next(point for point in report.kinds[0].roofline if point.is_stage and point.stage == "decode")
    names = run(shown, "return document.getElementById('roofline-chart').data.map((trace) => trace.name)")
    mark = shown.find_elements("css selector", "#roofline-chart .scatterlayer .trace")[
        names.index("decode, the whole stage")
    ].find_element("css selector", ".point")
    run(shown, "arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", mark)
    ActionChains(shown).move_to_element(mark).perform()
    wait_for(lambda: shown.find_elements("css selector", "#roofline-chart .hoverlayer .hovertext"))
    words = shown.find_element("css selector", "#roofline-chart .hoverlayer").text
    assert "decode" in words and f"{stage.intensity:.3g} FLOP/B" in words


def test_points_of_the_roofline_are_the_report_s(shown, report):
    drawn = run(
        shown,
        "return document.getElementById('roofline-chart').data.filter((trace) => trace.mode.includes('markers'))"
        ".flatMap((trace) => trace.x.map((x, i) => [x, trace.y[i]]))",
    )
    assert sorted(map(tuple, drawn)) == sorted((point.intensity, point.rate) for point in report.kinds[0].roofline)


def test_curves_add_up_to_what_is_held(shown, report):
    drawn = run(shown, "return document.getElementById('memory-chart').data.map((trace) => trace.y)")
    held = [sum(column) * 2**30 for column in zip(*drawn, strict=True)]
    assert held == pytest.approx([point.memory_bytes for point in report.kinds[0].decode], rel=1e-12)


def test_tree_opens_down_to_operators_by_keyboard(shown, report):
    for path in ("model", "model.layers.1", "model.layers.1.self_attn"):
        shown.find_element("css selector", f"details.module[data-path='{path}'] > summary").send_keys("\n")
        wait_for(lambda path=path: run(shown, OPENED, path))
    snapshot = report.kinds[0].tree.find("model.layers.1.self_attn").snapshots["prefill"]
    shown_names = shown.find_elements(
        "css selector", "details[data-path='model.layers.1.self_attn'] > .inside > .scroll tbody th"
    )
    assert [element.text for element in shown_names] == [operator.name for operator in snapshot.operators]


OPENED = "return document.querySelector(`details[data-path='${arguments[0]}'][open] > .inside`) !== null"


def test_opening_all_modules_lists_each_of_them(shown, report):
    shown.find_element("xpath", "//button[text()='Open modules']").click()
    paths = run(shown, "return [...document.querySelectorAll('details.module')].map((module) => module.dataset.path)")
    assert paths == [node.path for _, node in report.kinds[0].tree.walk()]


def test_tree_shows_another_stage(shown):
    shown.find_element("css selector", "details.module[data-path='model'] > summary").send_keys("\n")
    wait_for(lambda: run(shown, OPENED, "model"))
    run(shown, "document.querySelector('input[name=tree-stage][value=decode]').click()")
    assert "not in decode" in run(
        shown, "return document.querySelector(\"details[data-path='model.sam_model']\").textContent"
    )


def test_another_kind_of_page_changes_all(shown, report):
    from selenium.webdriver.support.select import Select

    Select(shown.find_element("id", "kind")).select_by_index(1)
    kind = report.kinds[1]
    assert shown.find_element("id", "size-S").get_attribute("value") == str(kind.context_len)
    assert f"{kind.stages['prefill'].cost.cost.tensor_flops:,}" in shown.find_element("id", "cards").text


def test_table_filters_and_adds_up(shown, report):
    shown.find_element("id", "table-filter").send_keys("self_attn bmm")
    rows = [
        (times, operator)
        for node, times, _, operator in expected_rows(report, "prefill")
        if "self_attn" in node.path and operator.name == "bmm"
    ]
    assert rows
    assert f"{len(rows)} of " in shown.find_element("css selector", "#table [role=status]").text
    sums = shown.find_elements("css selector", "#table tfoot [title]")
    flops = sum(times * operator.cost.flops for times, operator in rows)
    assert sums[0].get_attribute("title") == f"{flops:,}"


def test_sum_of_the_table_is_the_stage(shown, report):
    sums = [element.get_attribute("title") for element in shown.find_elements("css selector", "#table tfoot [title]")]
    cost = report.kinds[0].stages["prefill"].cost.cost
    wanted = (cost.flops, cost.io_bytes, cost.weight_bytes, cost.activation_bytes, cost.kv_bytes)
    assert sums == [f"{value:,}" for value in wanted]


def test_table_sorts_both_ways(shown, report):
    flops = sorted(times * operator.cost.flops for _, times, _, operator in expected_rows(report, "prefill"))
    for wanted in (flops[-1], flops[0]):  # the largest first, then turned round
        shown.find_element("css selector", "[data-sort=flops]").click()
        cell = shown.find_element("css selector", "#table tbody tr td:nth-child(6)")
        assert (
            cell.text == "0"
            if wanted == 0
            else cell.find_element("css selector", "[title]").get_attribute("title") == f"{wanted:,}"
        )
    head = shown.find_element("css selector", "#table th[aria-sort]")
    assert head.get_attribute("aria-sort") == "ascending"


def test_csv_is_the_data(shown, report, folder):
    from selenium.webdriver.support.select import Select

    Select(shown.find_element("id", "table-stage")).select_by_value("")
    shown.find_element("id", "table-download").click()
    path = folder / "modelmeter-operators.csv"
    wait_for(path.exists)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    path.unlink()
    expected = list(expected_rows(report))
    assert len(rows) == len(expected)
    for row, (node, times, stage, operator) in zip(rows, expected, strict=True):
        names = (row["stage"], row["module"], row["class"], row["operator"], row["dtype"], row["category"])
        assert names == (
            stage,
            node.path or "(model)",
            node.class_name,
            operator.name,
            operator.dtype,
            operator.category.value,
        )
        assert (int(row["modules"]), int(row["calls"])) == (times, times * operator.calls)
        for name in ROW_FIELDS:
            assert int(row[name]) == times * getattr(operator.cost, name)
        assert float(row["seconds"]) == pytest.approx(times * operator.time.predicted.seconds, rel=1e-5)


def test_terms_are_explained_on_focus(shown):
    from selenium.webdriver.common.keys import Keys

    run(shown, "document.querySelector('[data-term=TTFT]').focus()")
    tip = shown.find_element("id", "tip")
    assert tip.text.startswith("Time to first token")
    shown.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert not tip.is_displayed()


def test_every_input_has_a_name(shown):
    nameless = run(
        shown,
        "return [...document.querySelectorAll('input, select, button')].filter((input) => !input.labels?.length"
        " && !input.getAttribute('aria-label') && !input.textContent.trim()).map((input) => input.outerHTML)",
    )
    assert nameless == []


@pytest.mark.parametrize("width", [360, 1400])
def test_nothing_is_wider_than_the_window(browser, show, report, width):
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    )
    try:
        show(report)
        assert run(browser, "return window.innerWidth") == width
        assert run(browser, "return document.documentElement.scrollWidth") <= width
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_without_a_device_there_are_no_times(show, bare_report):
    browser = show(bare_report)
    assert [entry["message"] for entry in browser.get_log("browser")] == []
    sections = [link.get_attribute("hash") for link in browser.find_elements("css selector", "#sections a")]
    assert (
        "#roofline" not in sections and "#layers" in sections and "#decode" not in sections
    )  # a single step: no curve
    assert browser.find_elements("css selector", "[data-sort=seconds]") == []


def wait_for(condition, seconds=10.0):
    """Ask again until it holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)
