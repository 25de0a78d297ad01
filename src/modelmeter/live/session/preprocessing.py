"""A picture as the model's views: resized, padded, cut and normalised by the vendor's rules, with Pillow and NumPy."""

from typing import Final

import numpy as np
import torch
from PIL import Image, ImageOps

from modelmeter.hardware.host import STRETCHED_MODES
from modelmeter.live.session.inputs import Images
from modelmeter.models.deepseek_ocr.views import ViewPlan

MEAN, STD = 0.5, 0.5
"""Of every channel, of values from 0 to 1 (the vendor's `BasicImageTransform`; `image_mean`, `image_std`)."""
BACKGROUND: Final = (int(MEAN * 255),) * 3
"""What padding is filled with: the vendor's int(mean * 255), 127."""


def page_images(picture: Image.Image, views: ViewPlan, *, batch_size: int, dtype: torch.dtype) -> Images:
    """`batch_size` times the views of an RGB picture, normalised: page [b 3 s s], tiles [b*n 3 t t] or None.

    Tiny and small stretch it to a square, the other modes fit it into one and pad; Gundam's tiles are cut, row by row,
    from the picture stretched to the grid. All with Pillow's bicubic filter, its default, as the vendor's code has it.
    """
    page = normalised(global_view(picture, views))[None]
    cut = [normalised(tile) for tile in tiles(picture, views)]
    return Images(page=_batch(page, batch_size, dtype), tiles=_batch(np.stack(cut), batch_size, dtype) if cut else None)


def global_view(picture: Image.Image, views: ViewPlan) -> Image.Image:
    """The square global view."""
    side = (views.base_size, views.base_size)
    if views.mode in STRETCHED_MODES:
        return picture.resize(side, Image.Resampling.BICUBIC)
    return ImageOps.pad(picture, side, method=Image.Resampling.BICUBIC, color=BACKGROUND)


def tiles(picture: Image.Image, views: ViewPlan) -> list[Image.Image]:
    """The tiles, row by row from the upper left; none where the page has none."""
    if not views.num_tiles or views.tile_size is None:
        return []
    (columns, rows), side = views.grid, views.tile_size
    canvas = picture.resize((columns * side, rows * side), Image.Resampling.BICUBIC)
    boxes = [(x * side, y * side, (x + 1) * side, (y + 1) * side) for y in range(rows) for x in range(columns)]
    return [canvas.crop(box) for box in boxes]


def normalised(view: Image.Image) -> "np.ndarray[tuple[int, ...], np.dtype[np.float32]]":
    """[h w] RGB bytes as float32 [3 h w]: (x / 255 - mean) / std, from -1 to 1."""
    pixels = np.asarray(view, dtype=np.float32).transpose(2, 0, 1) / np.float32(255)
    return (pixels - np.float32(MEAN)) / np.float32(STD)


def noise_images(views: ViewPlan, *, channels: int, batch_size: int, dtype: torch.dtype, seed: int) -> Images:
    """Views of `views` with random pixels: the same for the same seed."""
    random = torch.Generator().manual_seed(seed)

    def pixels(number: int, side: int) -> torch.Tensor:
        return torch.randn(number, channels, side, side, generator=random).to(dtype)

    page = pixels(batch_size, views.base_size)
    has_tiles = views.num_tiles and views.tile_size
    return Images(page=page, tiles=pixels(batch_size * views.num_tiles, views.tile_size or 0) if has_tiles else None)


def _batch(
    views: "np.ndarray[tuple[int, ...], np.dtype[np.float32]]", batch_size: int, dtype: torch.dtype
) -> torch.Tensor:
    """[n 3 s s] as [b*n 3 s s]."""
    return torch.from_numpy(views).to(dtype).repeat(batch_size, 1, 1, 1)
