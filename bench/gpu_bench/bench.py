"""What the sections of a run share: the device, the model's session, the clock, and what came out so far."""

import gc
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import attrs
import torch

from gpu_bench.budget import Budget
from gpu_bench.predict import Measured, Point, Predictions, as_it_runs
from modelmeter.core.errors import ModelMeterError
from modelmeter.live.calibration.clock import Timing
from modelmeter.live.reference.choose import check_transformers
from modelmeter.models.deepseek_ocr.config import DeepseekOCRConfig
from modelmeter.models.deepseek_ocr.engine import OperationMode
from modelmeter.models.deepseek_ocr.views import ViewPlan

if TYPE_CHECKING:
    from modelmeter.live.session.session import DeepSeekOCRSession

Row: TypeAlias = dict[str, Any]
"""What was found at one point of a section: plain data with a `name`; `skipped` or `failed` say why it ends there."""

FAILURES = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    MemoryError,
    NameError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    ModelMeterError,
)
"""What another version of torch or transformers, a driver or a card may raise: it ends a point or a section, not the
run, for which nobody gets the device again."""

ATTENTION: Final = "flash"
EXPERTS: Final = "grouped_mm"
"""How the model runs: transformers' own defaults, which can be captured in a graph."""


def said(error: BaseException) -> str:
    """An error in a line."""
    first = str(error).partition("\n")[0]
    return first if isinstance(error, ModelMeterError) else f"{type(error).__name__}: {first}"


@cache
def no_model() -> str | None:
    """Why transformers cannot build the model here; None where it can. It is imported to find out."""
    try:
        check_transformers(what="the model")
    except ModelMeterError as error:
        return str(error).partition(": ")[0]
    try:
        import_module("modelmeter.live.reference.transformers5")
    except FAILURES as error:
        return f"transformers cannot be imported ({said(error)})"
    return None


@attrs.define(kw_only=True, eq=False)
class Bench:
    """One run of a model of `config`; `device_file` is where a calibration is written."""

    device: torch.device
    config: DeepseekOCRConfig
    budget: Budget
    predictions: Predictions
    device_file: Path
    quick: bool = False
    say: Callable[[str], None] = print
    checks: list[Row] = attrs.field(factory=list)
    _session: "DeepSeekOCRSession | None" = None

    @property
    def session(self) -> "DeepSeekOCRSession":
        """The model with random weights on the device: built at the first call."""
        if self._session is None:
            from modelmeter.live.session.session import DeepSeekOCRSession

            self.say(f"  building {self.config.name} with random weights")
            self._session = DeepSeekOCRSession.from_config(
                self.config, device=str(self.device), attention=ATTENTION, experts=EXPERTS
            )
        return self._session

    def took(
        self,
        section: str,
        name: str,
        stage: OperationMode,
        timing: Timing | None,
        *,
        batch: int,
        context_len: int = 0,
        views: ViewPlan | None = None,
        reached: float | None = None,
    ) -> None:
        """Keep a stage's time of the session's model, to be predicted; nothing for a stage that did not run."""
        if timing is None:
            return
        point = Point(
            section=section,
            name=name,
            stage=stage,
            batch=batch,
            context_len=context_len,
            views=views,
            conventions=as_it_runs(self.session.conventions, reached),
        )
        self.predictions.measured.append(Measured(point=point, timing=timing))

    def check(self, what: str, ok: bool, **detail: Any) -> None:
        """Keep the outcome of a check, with the numbers that were compared."""
        self.checks.append({"what": what, "ok": bool(ok), **detail})

    def points(self, points: Iterable[tuple[str, Callable[[], Row]]]) -> Iterator[Row]:
        """A row for each (name, function that measures it): one that fails or lacks memory says so, the next comes."""
        for name, measure in points:
            row: Row = {"name": name}
            with self._forgiving(row):
                row |= measure()
            yield row
            self._let_go()

    @contextmanager
    def _forgiving(self, row: Row) -> Iterator[None]:
        from modelmeter.live.session.memory import NotEnoughMemory

        try:
            yield
        except (NotEnoughMemory, torch.OutOfMemoryError) as error:
            row["skipped"] = said(error)
        except FAILURES as error:
            row["failed"] = said(error)

    def _let_go(self) -> None:
        """Memory of the last point, which a larger one may need in one piece."""
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
