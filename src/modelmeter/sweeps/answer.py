"""The numbers of a sweep: one recording for many sizes, one after the other for views, models and devices."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from modelmeter.core.dims import INT64_LIMIT, exact_plus
from modelmeter.core.evaluate import CHUNK
from modelmeter.hardware.machine import Machine
from modelmeter.models.deepseek_ocr.model import DeepseekOCRModel
from modelmeter.models.deepseek_ocr.views import ViewPlan
from modelmeter.sweeps.measure import measure
from modelmeter.sweeps.quantities import QUANTITIES, VIEW_QUANTITIES
from modelmeter.sweeps.question import PROMPT_TOKENS, Question
from modelmeter.sweeps.steps import DecodeTimes


def answer(question: Question) -> dict[str, np.ndarray]:
    """Each quantity over its dimensions (`question.dims_of`) in their order, and what the views alone tell."""
    plans = question.plans()
    return stage_answer(question, plans) | view_answer(question, plans)


def stage_answer(question: Question, plans: list[ViewPlan | None]) -> dict[str, np.ndarray]:
    """The quantities of the stage with these views; whole numbers are int64 while they fit."""
    views = [None if plan is None else (plan.grid, plan.views) for plan in plans]  # all that a cost sees of a plan
    kinds = dict(zip(views, plans, strict=True))
    machines = question.machines() if any(QUANTITIES[name].timed for name in question.quantities) else []
    found = [_of_model(model, question, list(kinds.values()), machines) for model in question.models()]
    place = {kind: i for i, kind in enumerate(kinds)}
    of_kind = np.array([place[view] for view in views])
    results = {}
    for name in question.quantities:
        cells = [one[name] for one in found]
        stacked = np.stack(cells) if len(cells) > 1 else cells[0][np.newaxis]  # [models, machines, kinds * sizes]
        by_kind = _numbers(stacked, whole=QUANTITIES[name].whole).reshape(*stacked.shape[:2], len(kinds), -1)
        by_plan = by_kind if len(kinds) == len(plans) else by_kind[:, :, of_kind]
        results[name] = _arranged(question, name, by_plan)
    return results


def _of_model(
    model: DeepseekOCRModel, question: Question, kinds: list[ViewPlan | None], machines: list[Machine]
) -> dict[str, np.ndarray]:
    """Each quantity as [machines (one where it is no time), view plans * sizes]."""
    sizes = _points(question, kinds)
    needs = {QUANTITIES[name].needs for name in question.quantities}
    times = None
    if machines and "decode_tokens" in sizes:
        times = DecodeTimes(model, machines, sizes)
    parts: dict[str, list[np.ndarray]] = {name: [] for name in question.quantities}
    for plan, block in _blocks(question, kinds, len(sizes["batch_size"])):
        here: dict[str, Any] = {name: values[block] for name, values in sizes.items()}
        count = block.stop - block.start
        if count == 1:  # plain ints are the shorter way
            here = {name: int(values[0]) for name, values in here.items()}
        answers = measure(model, question.stage, plan, here, machines, needs, times)
        for name, several in parts.items():
            of_each = answers if QUANTITIES[name].timed else answers[:1]
            rows = [np.broadcast_to(_array(QUANTITIES[name].read(one)), (count,)) for one in of_each]
            several.append(np.stack(rows))
    return {name: np.concatenate(several, axis=1) for name, several in parts.items()}


def _points(question: Question, kinds: list[ViewPlan | None]) -> dict[str, np.ndarray]:
    """Batch, context and decode tokens, an element a point: all sizes of the first plan, then those of the next."""
    axes = question.of_role("size")
    grid = np.meshgrid(*[np.asarray(axis.values) for axis in axes], indexing="ij")
    given = {axis.name: values.reshape(-1) for axis, values in zip(axes, grid, strict=True)}
    count = len(next(iter(given.values()))) if given else 1
    points = {"batch_size": np.tile(given.get("batch_size", np.ones(count, np.int64)), len(kinds))}
    if "decode_tokens" in given:
        points["decode_tokens"] = np.tile(given["decode_tokens"], len(kinds))
    if question.stage != "vision":
        whole = given.get("context_len", given.get("cache_len"))
        text = given.get("prompt_tokens", np.full(count, PROMPT_TOKENS))
        images = [0 if plan is None else plan.image_tokens for plan in kinds]
        points["context_len"] = np.concatenate(
            [exact_plus(text, image) if whole is None else whole for image in images]
        )
    return points


def _blocks(question: Question, kinds: list[ViewPlan | None], points: int) -> Iterator[tuple[ViewPlan | None, slice]]:
    """(view plan, points recorded at once): decode is of all plans at once, as it does not see the views."""
    each = points // len(kinds)
    spans = [(plan, i * each, (i + 1) * each) for i, plan in enumerate(kinds)]
    for plan, first, last in [(None, 0, points)] if question.stage == "decode" else spans:
        for start in range(first, last, CHUNK):
            yield plan, slice(start, min(start + CHUNK, last))


def _arranged(question: Question, name: str, values: np.ndarray) -> np.ndarray:
    """[models, machines, view points, sizes] -> the question's dimensions in its order."""
    wanted = question.dims_of(name)
    axes = [axis for axis in question.of_role("model", "machine", "view", "size") if axis.name in wanted]
    order = [axis.name for axis in axes]
    return values.reshape([len(axis) for axis in axes]).transpose([order.index(name) for name in wanted])


def view_answer(question: Question, plans: list[ViewPlan | None]) -> dict[str, np.ndarray]:
    """What the views alone tell, where they vary."""
    shape = [len(axis) for axis in question.of_role("view") if not axis.fixed]
    if not shape:
        return {}
    numbers = {name: [getattr(plan, name) for plan in plans] for name in VIEW_QUANTITIES}
    return {name: np.array(several, dtype=np.int64).reshape(shape) for name, several in numbers.items()}


def _array(value: Any) -> np.ndarray:
    """An int that int64 does not hold stays Python's (NumPy would take an unsigned one)."""
    return np.asarray(value, dtype=object if isinstance(value, int) and value >= INT64_LIMIT else None)


def _numbers(values: np.ndarray, *, whole: bool) -> np.ndarray:
    """Whole numbers as int64 where all fit; else float64 (exact to 2**53)."""
    if values.dtype != object:
        return values
    try:
        return values.astype(np.int64 if whole else np.float64)
    except OverflowError:
        return values.astype(np.float64)
