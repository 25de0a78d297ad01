"""`OCRWorkloadProfile`: how pages are read, by name."""

from typing import Any, Final

import attrs

from modelmeter.core.errors import ModelMeterError
from modelmeter.models.deepseek_ocr.views import MODES
from modelmeter.report.analysis import Workload
from modelmeter.report.model_report import checks

CUSTOM: Final = "custom"


@attrs.frozen(kw_only=True)
class OCRWorkloadProfile:
    """A workload: text tokens beside a page's image, sides of its views in pixels, tiles or none, tokens, pages.

    `new_tokens` come out of a page: the prefill gives the first, each decode step one more. Raises `ModelMeterError`
    for sides that no mode of the model has.
    """

    name: str = attrs.field(default=CUSTOM, validator=checks.text)
    text_tokens: int = attrs.field(default=512, validator=checks.whole())
    base_size: int = attrs.field(default=1024, validator=checks.whole(1))
    tile_size: int = attrs.field(default=640, validator=checks.whole(1))
    crops: bool = attrs.field(default=True, validator=attrs.validators.instance_of(bool))
    max_tiles: int = attrs.field(default=9, validator=checks.whole(2))
    new_tokens: int = attrs.field(default=512, validator=checks.whole(1))
    pages: int = attrs.field(default=1, validator=checks.whole(1))
    batch_size: int = attrs.field(default=1, validator=checks.whole(1))

    def __attrs_post_init__(self) -> None:
        self.mode  # noqa: B018 - raises where there is none

    @property
    def mode(self) -> str:
        """The model's mode with these views."""
        for mode, (base, tile) in MODES.items():
            if base == self.base_size and tile == (self.tile_size if self.crops else None):
                return mode
        wanted = f"a base of {self.base_size}" + (f" and tiles of {self.tile_size}" if self.crops else " and no tiles")
        raise ModelMeterError(f"profile {self.name}: no mode has {wanted} pixels: choose among {_modes()}")

    @property
    def decode_steps(self) -> int:
        """Forward passes after the prefill: one less than the new tokens."""
        return self.new_tokens - 1

    @property
    def workload(self) -> Workload:
        """The same as the other commands take it."""
        return Workload(
            mode=self.mode,
            max_tiles=self.max_tiles,
            prompt_tokens=self.text_tokens,
            decode_tokens=self.decode_steps,
            batch_size=self.batch_size,
        )

    @classmethod
    def of(cls, workload: Workload, *, pages: int, name: str = CUSTOM) -> "OCRWorkloadProfile":
        """The profile of a workload on so many pages."""
        base, tile = MODES[workload.mode]
        return cls(
            name=name,
            text_tokens=workload.prompt_tokens,
            base_size=base,
            crops=tile is not None,
            **({} if tile is None else {"tile_size": tile}),
            max_tiles=workload.max_tiles,
            new_tokens=workload.decode_tokens + 1,
            pages=pages,
            batch_size=workload.batch_size,
        )


STANDARD: Final = OCRWorkloadProfile(name="dsocr-standard-v1")
"""512 text tokens beside the image, base 1024, tiles of 640, crops on, 512 new tokens, one page."""
PROFILES: Final = {STANDARD.name: STANDARD}


def profile_named(name: Any) -> OCRWorkloadProfile:
    """A profile by name. Raises `ModelMeterError` listing them for another."""
    if name not in PROFILES:
        raise ModelMeterError(f"unknown profile {name!r}: choose {', '.join(PROFILES)}")
    return PROFILES[name]


def _modes() -> str:
    return ", ".join(f"{base}" if tile is None else f"{base} with tiles of {tile}" for base, tile in MODES.values())
