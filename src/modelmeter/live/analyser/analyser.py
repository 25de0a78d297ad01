"""`DeepseekOCRStaticAnalyzer`: runs the real model without data and splits what ran into stages, beside the twin."""

from collections.abc import Callable, Mapping
from os import PathLike
from typing import Any

from modelmeter.live.analyser.collect import Collected
from modelmeter.live.analyser.compare_stages import weights_by_stage
from modelmeter.live.analyser.data import AnalysisPoint, StaticAnalysis, Weights
from modelmeter.live.analyser.grid import Grid
from modelmeter.live.analyser.scaling import Say, StaticScaling, announced, scaling
from modelmeter.live.analyser.shapes import shapes_seen
from modelmeter.live.analyser.stages import MappedParameter, StageName, map_parameters
from modelmeter.live.analyser.tree import module_tree, twin_classes
from modelmeter.live.reference.adapter import Adapter
from modelmeter.live.reference.choose import choose_adapter
from modelmeter.live.verification.verify import (
    Point,
    Stage,
    Verification,
    compare_pass,
    decode_steps,
    passes,
    twin_of,
)
from modelmeter.models.deepseek_ocr.config import DeepseekOCRConfig
from modelmeter.models.deepseek_ocr.model import DeepseekOCRModel
from modelmeter.models.deepseek_ocr.views import ViewPlan


class DeepseekOCRStaticAnalyzer:
    """A real model without data and its twin. Each analysis runs the real model anew; nothing is kept between them."""

    def __init__(self, adapter: Adapter, twin: DeepseekOCRModel | None = None) -> None:
        """Raises `ModelMeterError` where a parameter of the adapter's model belongs to no stage."""
        self.adapter = adapter
        self.twin = twin or twin_of(adapter)
        self.parameters: tuple[MappedParameter, ...] = map_parameters(adapter.model, adapter.rename, adapter.name)

    @classmethod
    def from_config(
        cls,
        config: DeepseekOCRConfig | str | PathLike[str] | None = None,
        *,
        attention: str = "eager",
        experts: str | None = None,
    ) -> "DeepseekOCRStaticAnalyzer":
        """transformers' model of a configuration or its file (default: the released one), on meta or fake tensors.

        `attention` is "eager" or "flash", `experts` "eager", "batched_mm" or "grouped_mm".
        """
        return cls(choose_adapter(config, attention=attention, experts=experts))

    @classmethod
    def from_folder(
        cls, model_path: str | PathLike[str], *, trust_remote_code: bool = False, attention: str = "eager"
    ) -> "DeepseekOCRStaticAnalyzer":
        """The vendor's code in a checkpoint folder; weights that lie there are not read."""
        return cls(choose_adapter(None, model_path, trust_remote_code, attention, weights=False))

    def scaling(
        self, grid: Grid, on_point: Callable[[StaticScaling], None] | None = None, say: Say = lambda line: None
    ) -> StaticScaling:
        """Prefill of text and decode steps at every point of a grid; `on_point` gets all that is done, time and again.

        Stage by stage: single modules are compared by `analyze`.
        """
        return scaling(self.adapter, self.twin, grid, on_point, say)

    @property
    def weights(self) -> Mapping[StageName, Weights]:
        """Parameters by stage, beside the twin's. Decode shares those of prefill."""
        return weights_by_stage(self.parameters, self.twin.network)

    def point(
        self,
        views: ViewPlan | None = None,
        *,
        prompt_tokens: int = 10,
        context_len: int | None = None,
        cached: int | None = None,
        **sizes: Any,
    ) -> AnalysisPoint:
        """The point of a page, or of text alone; `sizes` as in `AnalysisPoint`.

        The context is by default the image tokens and `prompt_tokens`; as many are cached before the first step.
        """
        context = context_len if context_len is not None else prompt_tokens + (views.image_tokens if views else 0)
        return AnalysisPoint(views=views, context_len=context, cached=context if cached is None else cached, **sizes)

    def analyze(self, point: AnalysisPoint, say: Say = lambda line: None) -> StaticAnalysis:
        """Run every pass of a point on both sides; `say` hears which. Raises `ModelMeterError` for what cannot be."""
        found = Collected(self.adapter)
        with shapes_seen(self.adapter.model, self.adapter.rename) as seen:
            for each in passes(self.adapter, announced(points_of(point), say), self.twin):
                found.add(each, compare_pass(each, self.adapter, self.twin), seen.take())
        return StaticAnalysis(
            config=self.adapter.config,
            point=point,
            stages=found.rows(),
            weights=self.weights,
            tree=module_tree(self.adapter.model, self.adapter.rename, found.runs, twin_classes(self.twin.network)),
            verification=Verification(self.adapter.name, self.adapter.conventions, tuple(found.comparisons)),
        )


def points_of(point: AnalysisPoint) -> list[Point]:
    """The passes of a point: vision alone, the page (without views a prefill of text), the steps."""
    batch, views = point.batch_size, point.views
    alone = [] if views is None else [Point(stage="vision", batch=batch, views=views)]
    stage: Stage = "prefill" if views is None else "page"
    prefill = Point(stage=stage, batch=batch, context_len=point.context_len, views=views)
    return [*alone, prefill, *decode_steps(point.decode_steps, batch=batch, context_len=point.cached)]
