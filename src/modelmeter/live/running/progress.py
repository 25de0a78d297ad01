"""What a run says while it goes on."""

from collections.abc import Callable
from typing import TypeAlias

import attrs


@attrs.frozen(kw_only=True)
class Progress:
    """Where a run is: the stage, the page (None: of no page), and how much of the stage is done."""

    stage: str
    page: str | None = None
    done: int = 0
    total: int = 0

    @property
    def words(self) -> str:
        """The stage and the page: "decode of scan.png"."""
        return self.stage if self.page is None else f"{self.stage} of {self.page}"

    @property
    def place(self) -> str:
        """With how far it is: "decode of scan.png (3 of 7)"."""
        return self.words + (f" ({self.done} of {self.total})" if self.total else "")


Watch: TypeAlias = Callable[[Progress], None]


def nobody(_progress: Progress) -> None:
    """Nobody watches."""
