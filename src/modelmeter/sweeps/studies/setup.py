"""What all studies share: the model, both ways of attention, the devices; and how a stage of a study is swept."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import attrs
import numpy as np

from modelmeter.models.deepseek_ocr.model import DeepseekOCRModel
from modelmeter.models.deepseek_ocr.views import ViewPlan
from modelmeter.nn.attention import ATTENTION_KINDS
from modelmeter.sweeps.guard import find_absurd
from modelmeter.sweeps.question import PROMPT_TOKENS, Question, ask
from modelmeter.sweeps.study import Study
from modelmeter.sweeps.sweep import sweep

if TYPE_CHECKING:
    import xarray as xr

VIEW_COORDINATES: Final = {
    "image_tokens_total": "image tokens of a page, separators included",
    "image_tokens_crops": "those of its tiles",
    "width_crop_num": "tiles side by side; 1 x 1 is no tiles, 0 no page",
    "height_crop_num": "tiles above each other; 1 x 1 is no tiles, 0 no page",
}
"""Coordinates that say what the pages of a point are; pure numbers."""
A4: Final = (1654, 2339)
"""An A4 page at 200 dpi, in pixels."""


@attrs.frozen(kw_only=True)
class Setup:
    """Several kinds of `attention` are a dimension. With `devices` (names, files, `Device`) there are times."""

    model: DeepseekOCRModel
    attention: tuple[str, ...] = ATTENTION_KINDS
    devices: tuple[Any, ...] = ()
    execution: Sequence[str] | str = "eager"

    def sweep(self, over: Mapping[str, Any], stage: str, **more: Any) -> "xr.Dataset":
        """A stage over `over`, each kind of attention and each device, with what its pages and contexts are.

        `more` is `sweep`'s: quantities, a store.
        """
        over = {**over, **({} if "attention" in over else {"attention": one_or_several(self.attention)})}
        device = None if "device" in over else self._device
        execution = self.execution if device is not None and "execution" not in over else None
        return sweep_with_views(self.model, over, stage=stage, device=device, execution=execution, **more)

    @property
    def _device(self) -> Any:
        """One device is no dimension."""
        return one_or_several(self.devices) if self.devices else None


def sweep_with_views(model: DeepseekOCRModel, over: Mapping[str, Any], **asked: Any) -> "xr.Dataset":
    """`sweep`, with `VIEW_COORDINATES`, batch and context of each point as coordinates. Keywords are `sweep`'s."""
    told = {name: asked[name] for name in ("stage", "device", "execution", "quantities") if name in asked}
    question = ask(model, over, **told)
    return with_views(sweep(model, over, **asked), question)


def with_views(dataset: "xr.Dataset", question: Question) -> "xr.Dataset":
    """`dataset`, with what its question says of the pages and the context of each point."""
    axes = [axis for axis in question.of_role("view") if not axis.fixed]
    plans = question.plans()
    dims, shape = tuple(axis.name for axis in axes), [len(axis) for axis in axes]
    numbers = np.array([_of_views(plan) for plan in plans], dtype=np.int64).T.reshape(-1, *shape)
    found = {
        name: (dims, values, {"long_name": long_name})
        for (name, long_name), values in zip(VIEW_COORDINATES.items(), numbers, strict=True)
    }
    dataset = dataset.assign_coords(found)
    if "batch_size" not in dataset.coords:
        dataset = dataset.assign_coords(batch_size=1)
    if question.stage == "vision" or "context_len" in dataset.coords:
        return dataset
    context = dataset.coords.get("cache_len")
    if context is None:
        context = dataset.coords.get("prompt_tokens", PROMPT_TOKENS) + dataset.coords["image_tokens_total"]
    about = {"long_name": "tokens of the prompt, image tokens included"}
    return dataset.assign_coords(context_len=(context.dims, context.values, about))


def _of_views(plan: ViewPlan | None) -> tuple[int, int, int, int]:
    """The `VIEW_COORDINATES` of a page with these views."""
    if plan is None:
        return 0, 0, 0, 0
    alone = attrs.evolve(plan, grid=(1, 1)).image_tokens  # the global view
    width, height = plan.grid
    return plan.image_tokens, plan.image_tokens - alone, width, height


def make_study(name: str, description: str, datasets: "Mapping[str, xr.Dataset]") -> Study:
    """The study, with warnings of what in it cannot be."""
    return Study(name=name, description=description, datasets=datasets, warnings=find_absurd(datasets))


def one_page(page: tuple[int, int]) -> str:
    """ "1654x2339": a page as the one value of a dimension, as a pair would be two."""
    return f"{page[0]}x{page[1]}"


def one_or_several(values: Sequence[Any]) -> Any:
    """One value alone is no dimension."""
    return values[0] if len(values) == 1 else list(values)
