"""`DeepSeekOCRSession`: a real DeepSeek-OCR, loaded once, that prepares pages and runs them timed."""

from collections.abc import Collection
from os import PathLike
from typing import Any, Final

import torch
from torch import nn

from modelmeter.core.errors import ModelMeterError
from modelmeter.core.precision import Precision
from modelmeter.live.reference.adapter import ExpertsRun
from modelmeter.live.reference.hook_points import HookPoints, hook_points
from modelmeter.live.session.body import Body
from modelmeter.live.session.inputs import MOST_SEED, Images, PreparedInputs, check_inputs, whole
from modelmeter.live.session.load import local_model, precision_of, random_model
from modelmeter.live.session.memory import Room, check_room
from modelmeter.live.session.pictures import PageSource, open_page
from modelmeter.live.session.preprocessing import noise_images, page_images
from modelmeter.live.session.prompt import prompt_ids, random_ids
from modelmeter.live.session.result import RunResult
from modelmeter.live.session.run import Run, check_positions
from modelmeter.live.shadow.shadow import Shadow
from modelmeter.live.shadow.stats import AnalyticRunStats
from modelmeter.models.deepseek_ocr.config import Conventions, DeepseekOCRConfig
from modelmeter.models.deepseek_ocr.views import ViewPlan, plan_views
from modelmeter.nn.attention import AttentionKind

WARM_UP: Final = {"cuda": 2, "cpu": 1}
REPEATS: Final = {"cuda": 5, "cpu": 3}
"""Prefills before the measured ones, and measured ones, where a run is not told: a CPU has no clocks to bring up."""


class DeepSeekOCRSession:
    """A real model on one device, made by `from_config` or `from_local`.

    `conventions` say how it runs: the twin with them counts the FLOPs that the model's passes have. `points` are the
    modules that hooks are put on. Not for several threads.
    """

    def __init__(self, body: Body, tokenizer: Any = None) -> None:
        self.body = body
        self.tokenizer = tokenizer
        self.points: HookPoints = hook_points(body.model)

    @classmethod
    def from_config(
        cls,
        config: DeepseekOCRConfig | None = None,
        *,
        seed: int = 0,
        device: str | torch.device = "cpu",
        dtype: str = "bfloat16",
        attention: AttentionKind = "eager",
        experts: ExpertsRun = "eager",
        layers: int | None = None,
    ) -> "DeepSeekOCRSession":
        """Random weights of a configuration (the released one), with its first `layers` decoder layers or all.

        transformers' own class, so that it needs transformers 5.23. The same seed gives the same weights on one kind
        of device. `attention` is "eager", or "flash" for torch's attention kernels; `experts` a loop ("eager") or one
        product for all ("grouped_mm", "batched_mm"); `dtype` "bfloat16" or "float16". Raises `ModelMeterError` for a
        choice that is not there, `NotEnoughMemory` before anything is built.
        """
        return cls(
            random_model(
                config, seed=seed, device=device, dtype=dtype, attention=attention, experts=experts, layers=layers
            )
        )

    @classmethod
    def from_local(
        cls,
        path: str | PathLike[str],
        *,
        device: str | torch.device = "cpu",
        dtype: str | None = None,
        attention: AttentionKind = "eager",
        experts: ExpertsRun | None = None,
        trust_remote_code: bool = False,
    ) -> "DeepSeekOCRSession":
        """The model of a checkpoint folder: transformers' own class (transformers 5.23), or the vendor's code (4.46).

        `dtype` is by default the checkpoint's, bfloat16 for one in fp32. Raises `ModelMeterError` for a folder that is
        incomplete, weights of another type, a device that is not there, and for the vendor's code unless it is
        trusted; `NotEnoughMemory` before anything is loaded.
        """
        body, tokenizer = local_model(
            path,
            device=device,
            dtype=dtype,
            attention=attention,
            experts=experts,
            trust_remote_code=trust_remote_code,
        )
        return cls(body, tokenizer)

    @property
    def name(self) -> str:
        """What runs, for reports: model, code, kernels, weights."""
        return self.body.name

    @property
    def config(self) -> DeepseekOCRConfig:
        """The model's configuration."""
        return self.body.config

    @property
    def conventions(self) -> Conventions:
        """How it runs, in the twin's terms."""
        return self.body.conventions

    @property
    def precision(self) -> Precision:
        """What it computes and stores in, in the twin's terms."""
        return precision_of(self.body.dtype)

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return self.body.device

    @property
    def dtype(self) -> torch.dtype:
        """Of its weights."""
        return self.body.dtype

    @property
    def model(self) -> nn.Module:
        """The real model."""
        return self.body.model

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """The tokenizer's end of sequence, for `run(stop=...)`; empty without one."""
        end = None if self.tokenizer is None else self.tokenizer.eos_token_id
        return () if end is None else (int(end),)

    def prepare_inputs(
        self,
        page: PageSource,
        *,
        mode: str = "gundam",
        max_tiles: int = 9,
        prompt: str | None = None,
        prompt_tokens: int = 10,
        batch_size: int = 1,
        dpi: float = 144.0,
    ) -> PreparedInputs:
        """`batch_size` times a page with a prompt, by the vendor's rules; a page of a PDF is drawn at `dpi`.

        With a tokenizer the prompt is a text with `<image>` in it, by default the released one. Without, it is random
        text: `prompt_tokens` tokens with BOS. Raises `ModelMeterError` for what is no page and no prompt.
        """
        picture = open_page(page, dpi=dpi)
        views = plan_views(
            picture.width, picture.height, mode=mode, max_tiles=max_tiles, patch_size=self.config.sam.patch_size
        )
        token, vocab = self.body.image_token, self.config.decoder.vocab_size
        if self.tokenizer is not None:
            ids = prompt_ids(self.tokenizer, prompt, views.image_tokens, token)
        elif prompt is not None:
            raise ModelMeterError(
                "prepare_inputs(): a prompt needs a tokenizer, and the model's folder has none: give prompt_tokens"
            )
        else:
            ids = random_ids(views.image_tokens, prompt_tokens, image_token=token, vocab_size=vocab)
        batch = whole(batch_size, "batch_size")
        images = page_images(picture, views, batch_size=batch, dtype=self.dtype)
        return self._inputs([ids] * batch, views, images)

    def synthetic_inputs(
        self, seq_len: int, *, batch_size: int = 1, views: ViewPlan | None = None, seed: int = 0
    ) -> PreparedInputs:
        """Random text of exactly `seq_len` tokens, the image tokens of `views` (pictures of noise) among them."""
        length, batch = whole(seq_len, "seq_len"), whole(batch_size, "batch_size")
        seed = whole(seed, "seed", least=0, most=MOST_SEED)
        images, image_tokens = None, 0
        if views is not None:
            image_tokens = views.image_tokens
            if length < image_tokens:
                raise ModelMeterError(
                    f"synthetic_inputs(): seq_len {length} is shorter than the {image_tokens} image tokens of the "
                    "views: count them in"
                )
            images = noise_images(
                views, channels=self.config.sam.in_channels, batch_size=batch, dtype=self.dtype, seed=seed
            )
        ids = [
            random_ids(
                image_tokens,
                length - image_tokens,
                image_token=self.body.image_token,
                vocab_size=self.config.decoder.vocab_size,
                seed=seed + sequence,
            )
            for sequence in range(batch)
        ]
        return self._inputs(ids, views, images)

    def check_room(self, inputs: PreparedInputs, *, decode_tokens: int = 0) -> Room:
        """What a run of these inputs takes of what is free now. Raises `NotEnoughMemory` where it does not fit."""
        return check_room(
            self.config,
            self.conventions,
            self.device,
            precision=self.precision,
            context_len=inputs.context_len,
            views=inputs.views,
            batch_size=inputs.batch_size,
            decode_tokens=decode_tokens,
        )

    def start(
        self,
        inputs: PreparedInputs,
        *,
        shadow: Shadow | None = None,
        observe_experts: bool = False,
        stop: Collection[int] = (),
        warm_up: int | None = None,
        repeats: int | None = None,
    ) -> Run:
        """A run to go through pass by pass. Prefills are repeated as `WARM_UP` and `REPEATS` have it, or as given.

        `shadow` watches the last prefill and all decode steps, with `observe_experts` the routers, too, and is told of
        the inputs' views. `stop` are token ids: a run goes on until every sequence has met one.
        """
        check_inputs(inputs, self.config.decoder.vocab_size, self.dtype)
        check_positions(self.body, inputs.context_len)
        if observe_experts and shadow is None:
            raise ModelMeterError("start(): observe_experts goes with a shadow: give shadow=session.shadow(), too")
        kind = self.device.type
        return Run(
            self.body,
            self.points,
            inputs,
            shadow=shadow,
            observe_experts=observe_experts,
            stop=stop,
            warm_up=WARM_UP[kind] if warm_up is None else whole(warm_up, "warm_up", least=0),
            repeats=REPEATS[kind] if repeats is None else whole(repeats, "repeats"),
            text=None if self.tokenizer is None else self._text,
        )

    def run(
        self,
        inputs: PreparedInputs,
        max_new_tokens: int,
        *,
        stop: Collection[int] = (),
        warm_up: int | None = None,
        repeats: int | None = None,
        hooks: bool = False,
    ) -> RunResult:
        """Prefill, and greedy tokens: up to `max_new_tokens` of each sequence, of which the prefill yields the first.

        With `hooks` an analytic shadow watches, and `stats` hold what it saw. An interruption loses the run: to keep
        what was finished go through it by `start()`.
        """
        tokens = whole(max_new_tokens, "max_new_tokens")
        check_positions(self.body, inputs.context_len + tokens - 1)
        shadow = self.shadow() if hooks else None
        with self.start(inputs, shadow=shadow, stop=stop, warm_up=warm_up, repeats=repeats) as run:
            run.prefill()
            for _ in range(tokens - 1):
                if run.stopped:
                    break
                run.decode_step()
            return run.result()

    def shadow(self, *, document: str | None = None, page: int | None = None) -> Shadow:
        """A new shadow of this model, with stats of its own."""
        shadow = Shadow(self.config, self.conventions, self.precision, AnalyticRunStats())
        shadow.start_document(document, page=page)
        return shadow

    def _inputs(self, ids: list[list[int]], views: ViewPlan | None, images: Images | None) -> PreparedInputs:
        tokens = torch.tensor(ids, dtype=torch.long)
        places = tokens[0] == self.body.image_token
        inputs = PreparedInputs(ids=tokens, image_mask=places & (views is not None), images=images, views=views)
        check_inputs(inputs, self.config.decoder.vocab_size, self.dtype)
        return inputs

    def _text(self, ids: list[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=True))
