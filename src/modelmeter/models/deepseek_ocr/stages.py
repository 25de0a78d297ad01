"""The three stage costs as free functions."""

from modelmeter.core.cost import StageCost
from modelmeter.core.dims import Dim
from modelmeter.models.deepseek_ocr.model import DeepseekOCRModel


def get_vision_cost(model: DeepseekOCRModel, batch_size: Dim = 1) -> StageCost:
    """Start vision of `batch_size` pages of the model's views and return its cost."""
    model.start_vision(batch_size)
    return model.get_forward_cost()


def get_prefill_cost(model: DeepseekOCRModel, *, context_len: Dim, batch_size: Dim = 1) -> StageCost:
    """Start a prefill of `context_len` tokens of `batch_size` sequences and return its cost, vision included."""
    model.start_prefill(context_len, batch_size)
    return model.get_forward_cost()


def get_decode_cost_per_token(model: DeepseekOCRModel) -> StageCost:
    """Enter decode and return the cost of the next token, given what is cached."""
    model.start_decode()
    return model.get_forward_cost()
