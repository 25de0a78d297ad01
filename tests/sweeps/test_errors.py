"""What cannot be asked: one line that names it."""

import pytest

import modelmeter as mm

BASE_PAGE = mm.plan_views(1654, 2339)
UNUSUAL = {
    "no mapping": (["context_len"], {}, "over is no mapping"),
    "nothing": ({}, {}, "the stage decode needs a context"),
    "unknown name": ({"seq_len": [1]}, {}, "unknown dimension 'seq_len': choose among batch_size, context_len"),
    "no values": ({"context_len": []}, {}, "context_len has no values"),
    "twice": ({"context_len": [5, 6, 5]}, {}, "context_len has the same value, or name of one, twice"),
    "twice in words": ({"page": [(10, 20), "10x20"]}, {"stage": "vision"}, "page has the same value"),
    "a float": ({"context_len": [1.5]}, {}, "context_len: 1.5 is not a whole number"),
    "a text": ({"context_len": "512"}, {}, "context_len: '512' is not a whole number"),
    "a truth": ({"context_len": [True, 2]}, {}, "context_len: True is not a whole number"),
    "None": ({"context_len": None}, {}, "context_len: None is not a whole number"),
    "a table": ({"context_len": [[1, 2], [3, 4]]}, {}, r"context_len: \[1, 2\] is not a whole number"),
    "ragged": ({"context_len": [[1, 2], [3]]}, {}, r"context_len: \[1, 2\] is not a whole number"),
    "negative": ({"context_len": [-1, 2]}, {}, "context_len: -1 is too small: give 1 or more"),
    "zero": ({"batch_size": 0, "context_len": 1}, {}, "batch_size: 0 is too small: give 1 or more"),
    "no steps": ({"context_len": 1, "decode_tokens": [0]}, {}, "decode_tokens: 0 is too small"),
    "beyond int64": ({"context_len": [1, 2**63]}, {}, r"context_len: a size is beyond 2\*\*63"),
    "one beyond int64": ({"context_len": 10**5000}, {}, r"context_len: a size is beyond 2\*\*63"),
    "no pair": ({"page": "A4"}, {"stage": "vision"}, "page: 'A4' is not WIDTHxHEIGHT"),
    "a pair alone": ({"grid": (2, 3)}, {"stage": "vision"}, "grid: 2 is not WIDTHxHEIGHT.*give a list of such"),
    "a pair of 0": ({"page": "0x10"}, {"stage": "vision"}, "page: 0 is too small"),
    "digits": ({"page": "9" * 5000 + "x1"}, {"stage": "vision"}, "page: '9{40}' is not WIDTHxHEIGHT"),
    "unknown stage": ({"context_len": [1]}, {"stage": "train"}, "unknown stage 'train': choose among vision, prefill"),
    "unknown quantity": ({"context_len": [1]}, {"quantities": "cost"}, "unknown quantity 'cost': choose among flops"),
    "a wrong quantity": ({"context_len": [1]}, {"quantities": [["flops"]]}, r"unknown quantity \['flops'\]"),
    "a number of them": ({"context_len": [1]}, {"quantities": 5}, "quantities is 5: give a list of names"),
    "none of them": ({"context_len": [1]}, {"quantities": []}, "no quantities: name one or more"),
    "time of nothing": ({"context_len": [1]}, {"quantities": "seconds"}, "seconds needs a device: give device="),
    "TTFT of a step": (
        {"context_len": [1]},
        {"quantities": "ttft_seconds", "device": "h200"},
        "ttft_seconds is not of the stage decode: it is of run",
    ),
    "MFU of many steps": (
        {"context_len": [1], "decode_tokens": 5},
        {"quantities": "mfu", "device": "h200"},
        "mfu is of one forward pass: leave decode_tokens out",
    ),
    "unknown device": ({"context_len": [1]}, {"device": "h2000"}, "device: unknown device 'h2000': did you mean h200"),
    "no device": ({"context_len": [1], "device": [None]}, {}, "a NoneType is no device: give a name, a device file"),
    "no device file": ({"context_len": [1]}, {"device": "none.toml"}, "cannot read the device file none.toml"),
    "two devices called the same": (
        {"context_len": [1]},
        {"device": ["h200", mm.get_device("h200")]},
        "device has the same value, or name of one, twice",
    ),
    "device twice": ({"context_len": [1], "device": "h200"}, {"device": "h200"}, "device is given twice"),
    "unknown execution": (
        {"context_len": [1]},
        {"device": "h200", "execution": "fast"},
        "execution: 'fast' is unknown",
    ),
    "execution alone": ({"context_len": [1]}, {"execution": "eager"}, "execution needs a device"),
    "unknown attention": ({"context_len": [1], "attention": ["fast"]}, {}, "attention 'fast' is unknown: choose eager"),
    "no convention": ({"context_len": [1], "coverage": [None]}, {}, "coverage: None is none of its values"),
    "coverage": (
        {"context_len": [1], "coverage": [65]},
        {},
        "coverage 65: choose expected, max, min or a number up to",
    ),
    "elementwise": ({"context_len": [1], "elementwise": [0]}, {}, "elementwise must be True or False, not 0"),
    "KV heads": ({"context_len": [1], "num_key_value_heads": [3]}, {}, "num_attention_heads 10 is not a multiple of"),
    "experts": ({"context_len": [1], "num_experts_per_tok": [65]}, {}, "num_experts_per_tok 65 exceeds"),
    "layers": ({"context_len": [1], "num_hidden_layers": [0]}, {}, "num_hidden_layers must be an int of at least 1"),
    "unknown precision": (
        {"context_len": [1], "precision": ["int3"]},
        {},
        "precision: 'int3' is unknown: choose among",
    ),
    "two lengths": ({"context_len": [1], "cache_len": [1]}, {}, "context_len and cache_len say the same twice"),
    "length and words": ({"context_len": [1], "prompt_tokens": [1]}, {}, "context_len and prompt_tokens say the same"),
    "a cache in prefill": ({"cache_len": [1]}, {"stage": "prefill"}, "cache_len changes nothing in the stage prefill"),
    "steps in prefill": (
        {"context_len": [1], "decode_tokens": [1]},
        {"stage": "prefill"},
        "decode_tokens changes nothing in the stage prefill",
    ),
    "context in vision": ({"context_len": [1]}, {"stage": "vision"}, "context_len changes nothing in the stage vision"),
    "vision of nothing": ({"batch_size": [1]}, {"stage": "vision"}, "the stage vision needs views"),
    "run without steps": ({"context_len": [1]}, {"stage": "run"}, "the stage run needs decode_tokens"),
    "grid and page": ({"grid": ["2x3"], "page": ["9x9"]}, {"stage": "vision"}, "grid and page do not go together"),
    "page and width": ({"page": ["9x9"], "width": [9]}, {"stage": "vision"}, "page is width and height together"),
    "mode of no page": ({"mode": ["tiny"]}, {"stage": "vision"}, "mode needs a page"),
    "tiles of no page": ({"width": [9], "max_tiles": [6]}, {"stage": "vision"}, "width needs a page"),
    "a side": ({"page": "9x9", "tile_size": [641]}, {"stage": "vision"}, "tile_size must be a positive multiple of 64"),
    "too short": (
        {"grid": ["1x1"], "context_len": [272]},
        {"stage": "prefill"},
        "context_len 272 is shorter than the 273 image tokens",
    ),
    "chunks in memory": ({"context_len": [1]}, {"chunks": 5}, "chunks, scheduler and workers need a store"),
    "too many": (
        {"context_len": range(1, 100_001), "batch_size": range(1, 10_001)},
        {},
        "1,000,000,000 points of 17 quantities are too many for memory: name a store",
    ),
}


@pytest.mark.parametrize("name", UNUSUAL)
def test_it_is_named(name):
    over, options, reason = UNUSUAL[name]
    with pytest.raises(mm.ModelMeterError, match=reason) as raised:
        mm.sweep(mm.DeepseekOCRModel.from_config(), over, **{"stage": "decode", **options})
    assert "\n" not in str(raised.value)


def test_a_model_of_layers_cannot_be_swept():
    layers = mm.DeepseekOCRModel.from_config().network.model.layers
    with pytest.raises(mm.ModelMeterError, match=r"from_layers\(\) has nothing to build again"):
        mm.sweep(mm.DeepseekOCRModel.from_layers(None, layers[0], 2), {"context_len": [1]}, stage="decode")


def test_what_is_no_model_cannot_be_swept():
    with pytest.raises(mm.ModelMeterError, match="takes a DeepseekOCRModel first, not a DeepseekOCRConfig"):
        mm.sweep(mm.DeepseekOCRConfig(), {"context_len": [1]}, stage="decode")
