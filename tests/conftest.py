"""Shared by all tests: the `support` package beside this file, golden files, and real models that are built once.

`pytest --update-golden` (or `make unit ARGS='tests/report --update-golden'`) writes the golden files anew: look at
their diff before keeping it.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))  # test modules are imported by file (importlib mode): `support` is not

if TYPE_CHECKING:
    from support.reference import Stages

# A first example may have to import SymPy or record a whole model: a deadline in milliseconds would be noise.
settings.register_profile("modelmeter", deadline=None, derandomize=True)
settings.load_profile("modelmeter")


def pytest_addoption(parser: pytest.Parser) -> None:
    """The flag for golden files."""
    parser.addoption("--update-golden", action="store_true", help="write the golden files of the tests run anew")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """golden(name, text): text equals that file in `golden` beside the test, or replaces it with --update-golden."""

    def check(name: str, text: str) -> None:
        path = request.path.parent / "golden" / name
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="\n")
        assert text == path.read_text(encoding="utf-8")

    return check


@pytest.fixture(scope="session")
def real() -> "Stages":
    """The full-size real model on meta, eager attention."""
    from support.reference import Stages, build, released_config

    return Stages(build(released_config()))


@pytest.fixture(scope="session")
def real_sdpa() -> "Stages":
    """The full-size real model on meta, scaled_dot_product_attention (which meta takes apart into bmm)."""
    from support.reference import Stages, build, released_config

    return Stages(build(released_config(), "sdpa"))


@pytest.fixture
def make_model() -> Callable[..., Any]:
    """make_model(**conventions): a fresh released model of ours, in transformers' conventions unless told otherwise."""
    from modelmeter import DeepseekOCRModel

    def make(**conventions: Any) -> Any:
        return DeepseekOCRModel.from_config(**{"implementation": "transformers", **conventions})

    return make
