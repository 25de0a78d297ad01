"""The analytic model of DeepSeek-OCR: its configuration, the twin of each of its classes, and the stateful model."""

from modelmeter.models.deepseek_ocr.clip import (
    CLIPVisionEmbeddings,
    NoTPAttention,
    NoTPFeedForward,
    NoTPTransformer,
    NoTPTransformerBlock,
    VitModel,
)
from modelmeter.models.deepseek_ocr.config import (
    ClipConfig,
    Conventions,
    DecoderConfig,
    DeepseekOCRConfig,
    ProjectorConfig,
    SamConfig,
)
from modelmeter.models.deepseek_ocr.deepseek_v2 import (
    DeepseekV2DecoderLayer,
    DeepseekV2MLP,
    DeepseekV2MoE,
    DeepseekV2RMSNorm,
    MoEGate,
)
from modelmeter.models.deepseek_ocr.head import LMHead
from modelmeter.models.deepseek_ocr.llama import LlamaAttention, LlamaFlashAttention2, LlamaRotaryEmbedding
from modelmeter.models.deepseek_ocr.model import DeepseekOCRModel
from modelmeter.models.deepseek_ocr.network import ImageTokenSplice, VisionTower
from modelmeter.models.deepseek_ocr.projector import MlpProjector
from modelmeter.models.deepseek_ocr.run import RunCost
from modelmeter.models.deepseek_ocr.sam import (
    Attention,
    Block,
    ImageEncoderViT,
    LayerNorm2d,
    MLPBlock,
    Neck,
    PatchEmbed,
)
from modelmeter.models.deepseek_ocr.views import ViewPlan, plan_views

__all__ = [
    "Attention",
    "Block",
    "CLIPVisionEmbeddings",
    "ClipConfig",
    "Conventions",
    "DecoderConfig",
    "DeepseekOCRConfig",
    "DeepseekOCRModel",
    "DeepseekV2DecoderLayer",
    "DeepseekV2MLP",
    "DeepseekV2MoE",
    "DeepseekV2RMSNorm",
    "ImageEncoderViT",
    "ImageTokenSplice",
    "LMHead",
    "LayerNorm2d",
    "LlamaAttention",
    "LlamaFlashAttention2",
    "LlamaRotaryEmbedding",
    "MLPBlock",
    "MlpProjector",
    "MoEGate",
    "Neck",
    "NoTPAttention",
    "NoTPFeedForward",
    "NoTPTransformer",
    "NoTPTransformerBlock",
    "PatchEmbed",
    "ProjectorConfig",
    "RunCost",
    "SamConfig",
    "ViewPlan",
    "VisionTower",
    "VitModel",
    "plan_views",
]
