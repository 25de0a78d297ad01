"""The vendor's checkpoint folder: what has to be there, and the model in it, with its weights or without data."""

import json
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from os import PathLike
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from modelmeter.core.errors import ModelMeterError
from modelmeter.nn.attention import AttentionKind

WANTED: Final = "4.46."
INSTALL: Final = "pip install transformers==4.46.3, in an environment of its own"
_MOST_CAUSE: Final = 200  # characters
_IMPLEMENTATION: Final = {"eager": "eager", "flash": "flash_attention_2"}


def checked_folder(path: str | PathLike[str], *, trust_remote_code: bool) -> Path:
    """The folder, if its model can be run here. Raises `ModelMeterError` otherwise; nothing of it has run then."""
    folder = Path(path)
    if not folder.is_dir():
        raise ModelMeterError(f"{folder} is no folder: give the one that a checkpoint lies in (nothing is downloaded)")
    if not (folder / "config.json").is_file():
        raise ModelMeterError(f"{folder} has no config.json: give the folder of a whole checkpoint")
    _check_code(folder)
    _check_transformers()
    if not trust_remote_code:
        raise ModelMeterError(
            f"the model in {folder} is Python code of its publisher, not of transformers: it would run on this machine "
            "with your rights (your files, your network). Read its *.py files; if you trust them, pass "
            "--trust-remote-code (trust_remote_code=True)"
        )
    return folder


def _check_code(folder: Path) -> None:
    """`auto_map` names the file and class that `AutoModel` is to run."""
    try:
        raw = json.loads((folder / "config.json").read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise ModelMeterError(f"{folder / 'config.json'} is broken JSON ({error}): fetch it again or mend it") from None
    named = raw.get("auto_map") if isinstance(raw, dict) else None
    if not isinstance(named, dict) or not {"AutoConfig", "AutoModel"} <= named.keys():
        raise ModelMeterError(
            f"{folder / 'config.json'} has no auto_map with AutoConfig and AutoModel, so no code of the vendor's goes "
            "with it: give the released checkpoint's folder, or leave --model-path out to verify against transformers 5"
        )
    for reference in (str(named["AutoConfig"]), str(named["AutoModel"])):
        file = folder / f"{reference.split('.')[0]}.py"
        if "--" in reference:
            raise ModelMeterError(f"the auto_map of {folder} names code elsewhere ({reference}): nothing is downloaded")
        if not file.is_file():
            raise ModelMeterError(f"{folder} lacks {file.name}, which its auto_map names: download the *.py files too")


def _check_transformers() -> None:
    try:
        installed = version("transformers")
    except PackageNotFoundError:
        raise ModelMeterError(f"the vendor's code needs transformers 4.46, none is installed: {INSTALL}") from None
    if not installed.startswith(WANTED):
        raise ModelMeterError(f"the vendor's code needs transformers 4.46, {installed} is installed: {INSTALL}")


def checked_device(device: str | None) -> str:
    """The device to run on: that given, by default CUDA where there is one."""
    cuda = torch.cuda.is_available()
    if device is None:
        return "cuda" if cuda else "cpu"
    if device.partition(":")[0] not in ("cpu", "cuda") or (device.startswith("cuda") and not cuda):
        raise ModelMeterError(f"device {device!r} is not here: choose {'cpu or cuda' if cuda else 'cpu'}")
    return device


def has_weights(folder: Path) -> bool:
    """Whether weights lie beside the configuration."""
    return any(folder.glob("*.safetensors"))


def build(
    folder: Path,
    attention: AttentionKind,
    device: str,
    fake: FakeTensorMode | None,
    dtype: torch.dtype = torch.bfloat16,
) -> Any:
    """The model in `dtype` on `device`, in eval mode: with its weights, or on fake tensors of `fake`."""
    auto: Any = import_module("transformers")
    trusted = {"trust_remote_code": True, "torch_dtype": dtype}
    before = torch.get_default_dtype()
    try:
        config = auto.AutoConfig.from_pretrained(folder, trust_remote_code=True)
        config._attn_implementation = _IMPLEMENTATION[attention]
        config._attn_implementation_autoset = True  # transformers would ask for the flash-attn package
        if fake is not None:
            with fake:
                return auto.AutoModel.from_config(config, **trusted).eval()
        model, read = auto.AutoModel.from_pretrained(
            folder, config=config, output_loading_info=True, ignore_mismatched_sizes=True, **trusted
        )
    except ImportError as error:  # transformers looks at what the code imports before it runs it
        raise ModelMeterError(f"the code in {folder} imports what is not installed: {error}") from None
    except (OSError, SafetensorError) as error:
        raise ModelMeterError(
            f"the weights in {folder} cannot be read ({one_line(error)}): download them again"
        ) from None
    finally:
        torch.set_default_dtype(before)  # transformers does not, when building raises
    check_all_found(folder, model, read)
    return model.to(device).eval()


def check_all_found(folder: Path, model: nn.Module, read: Any) -> None:
    """Raises `ModelMeterError` unless every parameter of `model` was read, in its shape.

    `read` is transformers' loading info, of a model loaded with `ignore_mismatched_sizes`: else it names none of them.
    """
    missing = sorted(set(read["missing_keys"]) & {name for name, _ in model.named_parameters()})
    if missing:
        raise ModelMeterError(
            f"the weights in {folder} lack {len(missing)} of the model's, {missing[0]} first: download them again"
        )
    wrong = sorted((str(name), tuple(found), tuple(wanted)) for name, found, wanted in read["mismatched_keys"])
    if wrong:
        name, found, wanted = wrong[0]
        raise ModelMeterError(
            f"{len(wrong)} of the weights in {folder} have other shapes than its config.json says, {name} first "
            f"({list(found)}, not {list(wanted)}): take both from one place"
        )


def one_line(error: Exception) -> str:
    """The beginning of an error's message, which transformers spreads over many lines."""
    text = " ".join(str(error).split())
    return text if len(text) <= _MOST_CAUSE else f"{text[:_MOST_CAUSE]} ..."
