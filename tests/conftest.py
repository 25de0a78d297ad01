"""Shared by all tests: the `support` package beside this file, and real models that are built once."""

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
