"""The sliders: what the page works out from the formulas is what the model says for the same sizes."""

import attrs
import pytest

from modelmeter.models.deepseek_ocr.model import DeepseekOCRModel
from modelmeter.models.deepseek_ocr.views import plan_views

EXACT = ("tensor_flops", "cuda_flops", "activation_bytes", "kv_bytes")
ROUNDED = 0.5
"""Bytes by which the weights an operator reads differ: the model rounds their expected number, the page does not."""


@pytest.fixture
def result(browser):
    """result(stage, quantity): the digits that the page shows, as an int, and whether it calls them exact."""

    def read(stage, quantity):
        text = browser.find_element("css selector", f"[data-value='{stage}-{quantity}'] small").get_attribute(
            "textContent"
        )
        return int(text.removeprefix("≈").replace(",", "")), not text.startswith("≈")

    return read


def write(browser, name, value):
    from selenium.webdriver.common.keys import Keys

    field = browser.find_element("id", f"size-{name}")
    field.send_keys(Keys.CONTROL, "a")  # clear() would leave the field, which takes its old value back
    field.send_keys(str(value))


def model_at(context, batch):
    model = DeepseekOCRModel.from_config()
    model.set_views(plan_views(1191, 1684, mode="gundam"))
    model.start_prefill(context, batch)
    return model


def reads_weights(model):
    """Operators that read weights: each may be rounded."""
    return sum(1 for _, op in model.trace().operators() if op.cost.weight_bytes)


@pytest.mark.parametrize(("context", "batch", "steps"), [(1415, 1, 511), (2048, 7, 100), (8192, 64, 1), (903, 2, 0)])
def test_stages_are_those_of_the_model(shown, result, context, batch, steps):
    for name, value in {"S": context, "B": batch, "K": steps}.items():
        write(shown, name, value)
    model = model_at(context, batch)
    run = model.simulate_run(steps)
    prefill, roundings = model.cost(), reads_weights(model)
    model.start_decode()
    first, step_roundings = model.cost(), reads_weights(model)
    wanted = {"prefill": (prefill, roundings), "first": (first, step_roundings)}
    wanted["run"] = (run.total.cost, roundings + steps * step_roundings)
    for stage, (cost, most) in wanted.items():
        for quantity in EXACT:
            assert result(stage, quantity) == (getattr(cost, quantity), True), (stage, quantity)
        for quantity in ("weight_bytes", "io_bytes"):
            assert abs(result(stage, quantity)[0] - getattr(cost, quantity)) <= most * ROUNDED + 1, (stage, quantity)
    assert result("run", "kv_cache_bytes") == (model.kv_bytes_per_token(batch) * (context + steps), True)


def test_a_slider_moves_the_numbers(shown, result):
    from selenium.webdriver.common.keys import Keys

    shown.find_element("id", "slider-B").send_keys(Keys.HOME)  # the least batch: 1
    slider = shown.find_element("id", "slider-S")
    context = int(slider.get_attribute("value"))
    slider.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert shown.find_element("id", "size-S").get_attribute("value") == str(context + 2)
    assert result("prefill", "tensor_flops") == (model_at(context + 2, 1).cost().tensor_flops, True)


def test_integers_beyond_a_float_are_exact(shown, result):
    """A prefill of a million tokens in 511 sequences: 840 B S**2 alone is above 2**58."""
    for name, value in {"S": 999_999, "B": 511, "K": 0}.items():
        write(shown, name, value)
    expected = model_at(999_999, 511).cost().cuda_flops
    assert expected > 2**58 and expected != int(float(expected))
    assert result("prefill", "cuda_flops") == (expected, True)


def test_a_size_that_cannot_be_leaves_the_numbers(shown, result, report):
    from selenium.webdriver.common.keys import Keys

    before = result("prefill", "tensor_flops")
    write(shown, "S", report.kinds[0].image_tokens - 1)
    field = shown.find_element("id", "size-S")
    assert shown.execute_script("return arguments[0].checkValidity()", field) is False
    assert result("prefill", "tensor_flops") == before
    field.send_keys(Keys.TAB)
    assert field.get_attribute("value") == str(report.kinds[0].context_len)  # the size in use


def test_the_report_s_own_sizes_come_back(shown, result, report):
    write(shown, "S", 4000)
    shown.find_element("xpath", "//button[text()='Sizes of this report']").click()
    assert result("prefill", "tensor_flops") == (report.kinds[0].stages["prefill"].cost.cost.tensor_flops, True)
    assert result("run", "cuda_flops") == (report.kinds[0].stages["run"].cost.cost.cuda_flops, True)


def test_more_positions_than_the_model_has_are_said(shown):
    write(shown, "S", 8192)
    write(shown, "K", 1)
    assert "8,193 positions are more than the model's 8,192" in shown.find_element("id", "sizes-result").text


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("Max(ceiling(S/128)*B, 3)", lambda S, B: max(-(-S // 128) * B, 3)),
        ("Min(S, 5) + floor(S/2) - 7", lambda S, B: min(S, 5) + S // 2 - 7),
        ("Piecewise((7, Eq(B, 2)), (1, True))*S**2", lambda S, B: (7 if B == 2 else 1) * S**2),
        ("S*B_above_1 + 10**20", lambda S, B: S * (B > 1) + 10**20),
        ("(3/2)*S", lambda S, B: 1.5 * S),
    ],
)
def test_every_operation_of_a_formula(show, report, result, expression, value):
    """A formula put in the place of the vision's FLOPs, for the sizes of the report."""
    show(with_formula(report, "vision", expression))
    shown, is_exact = result("vision", "tensor_flops")
    wanted = value(report.kinds[0].context_len, report.profile.batch_size)
    assert shown == round(wanted) and is_exact == isinstance(wanted, int)


def test_steps_that_do_not_grow_evenly_are_added_one_by_one(show, report, result):
    """A window that the cache outgrows half way."""
    context, steps = report.kinds[0].context_len, report.profile.decode_steps
    window = context + steps // 2
    changed = with_formula(with_formula(report, "prefill", "S"), "decode", f"Min(T, {window})")
    show(changed)
    assert result("run", "tensor_flops") == (
        context + sum(min(t, window) for t in range(context, context + steps)),
        True,
    )


def with_formula(report, stage, expression):
    """The report with another formula for a stage's tensor FLOPs."""
    kind = report.kinds[0]
    formulas = tuple(
        attrs.evolve(formula, expression=expression)
        if (formula.stage, formula.layer, formula.quantity) == (stage, None, "tensor_flops")
        else formula
        for formula in kind.formulas
    )
    return attrs.evolve(report, kinds=(attrs.evolve(kind, formulas=formulas), *report.kinds[1:]))
