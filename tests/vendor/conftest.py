"""The stand-in of the vendor's checkpoint, for tests: like the real remote code it runs under transformers 4.46 only.

Elsewhere all its tests are skipped. In an environment with torch, transformers 4.46.3, pytest and hypothesis:
`pytest tests/vendor`.
"""

import copy
import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

CHECKPOINT = Path(__file__).parent / "checkpoint"
SMALL_SAM = {"width": 32, "layers": 2, "heads": 2, "out_channels": 16, "downsample_channels": [24, 48]}
SMALL_CLIP = {"width": 48, "layers": 2, "heads": 4, "mlp_dim": 96, "image_size": 84, "patch_size": 14}
SMALL_DECODER = {
    "hidden_size": 32,
    "intermediate_size": 80,
    "moe_intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "n_routed_experts": 8,
    "num_experts_per_tok": 2,
    "vocab_size": 128,
    "max_position_embeddings": 512,
}


class Skipped(pytest.Module):
    """A test file that is not even imported."""

    def collect(self) -> Iterable[pytest.Item]:
        pytest.skip(f"the vendor's remote code runs under transformers 4.46.3; {version('transformers')} is installed")


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    """Leave out each file of this folder where transformers is not the version that the remote code needs."""
    return None if version("transformers").startswith("4.46.") else Skipped.from_parent(parent, path=module_path)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """torch says of the remote code's scripted quick-GELU that torch.jit.script is deprecated: no error here."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning"))


@pytest.fixture(scope="session", autouse=True)
def remote_code(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """transformers runs copies of the code that it is told to trust: they go to a temporary folder."""
    from transformers import dynamic_module_utils

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path_factory.mktemp("modules")))
        yield


@pytest.fixture(scope="session")
def checkpoint() -> Path:
    """The checkpoint folder in the released sizes, without weights."""
    return CHECKPOINT


@pytest.fixture(scope="session")
def small_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same in small sizes: views of 384 px fit the tables, tiles of 256 px resize them; either has windows."""
    folder = tmp_path_factory.mktemp("checkpoints") / "small"
    shutil.copytree(CHECKPOINT, folder)
    path = folder / "config.json"
    path.write_text(json.dumps(_shrink(json.loads(path.read_text()))))
    return folder


def _shrink(raw: dict[str, Any]) -> dict[str, Any]:
    small = copy.deepcopy(raw) | SMALL_DECODER
    small["language_config"] |= SMALL_DECODER
    small["projector_config"] |= {"input_dim": 48 + 48, "n_embed": 32}  # CLIP's and SAM's channels
    small["vision_config"]["image_size"] = 384
    small["vision_config"]["width"]["sam_vit_b"] |= SMALL_SAM | {"global_attn_indexes": [1]}
    small["vision_config"]["width"]["clip-l-14-224"] |= SMALL_CLIP
    return small


@pytest.fixture(scope="session")
def small_weights(small_checkpoint: Path, build: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small sizes with random weights."""
    import torch
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("checkpoints") / "weights"
    shutil.copytree(small_checkpoint, folder)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        weights = dict(build(small_checkpoint, "cpu").named_parameters())  # the released file has no buffers
        weights = {name: torch.randn(x.shape).to(x) * 0.2 if x.dim() > 1 else x for name, x in weights.items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.fixture(scope="session")
def build() -> Callable[..., Any]:
    """build(folder, device, dtype, attention): the model of a folder's configuration, in eval mode."""
    import torch
    from transformers import AutoConfig, AutoModel

    def build(folder: Path, device: str = "meta", dtype: Any = torch.bfloat16, attention: str = "eager") -> Any:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=True)
        config._attn_implementation = attention
        config._attn_implementation_autoset = True  # transformers would ask for the flash-attn package
        before = torch.get_default_dtype()
        try:
            with torch.device(device):
                return AutoModel.from_config(config, trust_remote_code=True, torch_dtype=dtype).eval()
        finally:
            torch.set_default_dtype(before)  # transformers does not, when building raises

    return build
