"""Fits the host time of a page: reading it, and resizing, padding and normalising its views, on one core.

python bench/host_time.py [-o bench/results/host-time.json]

Pages of text are drawn, saved as JPEG and written as PDF; each is read and made into views by the vendor's rules, with
Pillow and NumPy. CPU seconds of one thread, so that other jobs on the machine count little; medians of the rounds. The
constants of `modelmeter.hardware.host` are those of the committed result.
"""

import argparse
import io
import json
import platform
import statistics
import time
from collections.abc import Callable
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from modelmeter.hardware.host import host_work
from modelmeter.models.deepseek_ocr.views import ViewPlan, plan_views

HERE = Path(__file__).resolve().parent
ROUNDS = 15
PAGES = [(827, 1170), (1240, 1754), (1654, 2339), (2339, 1654), (1700, 2200), (2480, 3508), (595, 842), (600, 600)]
"""A4 at 100, 150, 200 (both ways), 300 and 72 dpi, Letter at 200 dpi, and a small picture, in pixels."""
CONTENTS = ["text", "sparse", "photograph"]
MODES = ["tiny", "small", "base", "large", "gundam", "gundam-m"]
DPI = 144
PAPER = [(420, 595), (595, 842), (612, 792), (842, 1191), (1191, 1684)]
"""A5, A4, Letter, A3, A2 in points."""
MEAN = 0.5
"""Of each colour, and its deviation too: the released processor's."""


def draw(width: int, height: int, content: str = "text") -> Image.Image:
    """A page, RGB: lines of text on all of it, on a quarter of it ("sparse"), or a grainy picture ("photograph")."""
    if content == "photograph":
        grain = np.random.default_rng(0).normal(128, 40, (height // 2, width // 2, 3)).clip(0, 255).astype(np.uint8)
        return Image.fromarray(grain).resize((width, height))
    image = Image.new("RGB", (width, height), "white")
    pen, size = ImageDraw.Draw(image), max(9, min(width, height) // 70)
    font = ImageFont.load_default(size)
    line = "The quick brown fox jumps over the lazy dog, 0123456789 times. " * 9
    end = height - size * 3 if content == "text" else height // 4
    for top in range(size * 3, end, int(size * 1.5)):
        pen.text((size * 3, top), line[: int((width - size * 6) / (size * 0.52))], fill="black", font=font)
    return image


def jpeg(image: Image.Image) -> bytes:
    """The page as a JPEG file of quality 90."""
    out = io.BytesIO()
    image.save(out, "JPEG", quality=90)
    return out.getvalue()


def read_jpeg(data: bytes) -> Image.Image:
    """As the released code reads: turned upright, RGB."""
    return ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")


def pdf(width: int, height: int) -> bytes:
    """A PDF file of one page of text; sides in points."""
    lines = ["(The quick brown fox jumps over the lazy dog, 0123456789 times.) Tj T*"] * (height // 14 - 4)
    text = f"BT /F1 {max(7, width // 48)} Tf 13 TL 36 {height - 40} Td\n" + "\n".join(lines) + "\nET"
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {width} {height}] /Contents 4 0 R "
        "/Resources << /Font << /F1 5 0 R >> >> >>",
        f"<< /Length {len(text)} >>\nstream\n{text}\nendstream",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    body, places = "%PDF-1.4\n", []
    for number, content in enumerate(objects, start=1):
        places.append(len(body))
        body += f"{number} 0 obj\n{content}\nendobj\n"
    table = "0000000000 65535 f \n" + "".join(f"{place:010d} 00000 n \n" for place in places)
    end = f"trailer << /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{len(body)}\n%%EOF\n"
    return (body + f"xref\n0 {len(objects) + 1}\n{table}{end}").encode()


def read_pdf(data: bytes) -> Image.Image:
    """The page drawn at 144 dpi, the resolution of the vendor's script for PDF files."""
    import pypdfium2

    with pypdfium2.PdfDocument(data) as document:
        return document[0].render(scale=DPI / 72).to_pil().convert("RGB")


def prepare(image: Image.Image, views: ViewPlan) -> list[np.ndarray]:
    """The views of a page, normalised, [count 3 side side] in fp32, by the vendor's rules."""
    whole, pictures = (views.base_size, views.base_size), []
    if views.num_tiles and views.tile_size:
        (w, h), side = views.grid, views.tile_size
        canvas = image.resize((w * side, h * side))
        boxes = [(x * side, y * side, x * side + side, y * side + side) for y in range(h) for x in range(w)]
        pictures.append([canvas.crop(box) for box in boxes])
    stretched = views.mode in ("tiny", "small")
    grey = (int(MEAN * 255),) * 3
    pictures.append([image.resize(whole) if stretched else ImageOps.pad(image, whole, color=grey)])
    return [np.stack([normalise(picture) for picture in batch]) for batch in pictures]


def normalise(picture: Image.Image) -> np.ndarray:
    """[side side 3] bytes -> [3 side side] of (x / 255 - mean) / deviation, in one array changed in place."""
    values = np.empty((3, picture.height, picture.width), dtype=np.float32)
    values[...] = np.asarray(picture).transpose(2, 0, 1)
    values *= np.float32(1 / (255 * MEAN))
    values -= np.float32(1)
    return values


def measure(call: Callable[[], Any], rounds: int) -> dict[str, Any]:
    """Median and middle half of the CPU seconds of `rounds` calls, one call to warm up."""
    call()
    times = []
    for _ in range(rounds):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    low, middle, high = statistics.quantiles(times, n=4)
    return {"seconds": short(middle), "spread": [short(low), short(high)]}


def short(value: float) -> float:
    """Four digits: more is noise."""
    return float(f"{value:.4g}")


def fit(rows: list[list[float]], seconds: list[float]) -> tuple[list[float], dict[str, float]]:
    """Non-negative least squares of the relative error; (constants, what the fit misses by)."""
    weighted = np.array(rows) / np.array(seconds)[:, None]
    kept = list(range(len(rows[0])))
    while True:  # drop what would come out below zero: no work takes negative time
        found, *_ = np.linalg.lstsq(weighted[:, kept], np.ones(len(rows)), rcond=None)
        if found.min() >= 0:
            break
        kept.pop(int(found.argmin()))
    constants = [0.0] * len(rows[0])
    for place, value in zip(kept, found, strict=True):
        constants[place] = short(float(value))
    errors = [abs(float(e)) for e in np.array(rows) @ constants / np.array(seconds) - 1]
    return constants, {"median_error": short(statistics.median(errors)), "worst_error": short(max(errors))}


def measure_reading(rounds: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Constants of reading pages of text by kind of file (fixed, each pixel), and the measurements."""
    points = []
    for width, height in PAGES:
        for content in CONTENTS:
            data = jpeg(draw(width, height, content))
            found = measure(lambda d=data: read_jpeg(d), rounds)
            points.append({"kind": "jpeg", "content": content, "pixels": width * height, **found})
    for width, height in PAPER:
        data = pdf(width, height)
        drawn = read_pdf(data)
        found = measure(lambda d=data: read_pdf(d), rounds)
        points.append({"kind": "pdf", "content": "text", "pixels": drawn.width * drawn.height, **found})
    constants = {}
    for kind in ("jpeg", "pdf"):
        own = [point for point in points if point["kind"] == kind and point["content"] == "text"]
        (fixed, pixel), missed = fit([[1.0, point["pixels"]] for point in own], [point["seconds"] for point in own])
        others = [point["seconds"] / (fixed + pixel * point["pixels"]) for point in points if point["kind"] == kind]
        constants[kind] = {"fixed_seconds": fixed, "seconds_per_pixel": pixel, **missed}
        constants[kind]["other_contents"] = [short(min(others)), short(max(others))]  # in times of the constants
    return constants, points


def measure_preparing(rounds: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Constants of making views (each pixel resampled, written, cut), and the measurements."""
    points, rows = [], []
    for width, height in PAGES:
        image = draw(width, height)
        for mode in MODES:
            views = plan_views(width, height, mode=mode)
            work = host_work(width, height, views)
            found = measure(lambda i=image, v=views: prepare(i, v), rounds)
            points.append({"page": [width, height], "mode": mode, "grid": list(views.grid), **found})
            rows.append([work.resampled_pixels, work.written_pixels, work.cut_pixels])
    (resampled, written, cut), missed = fit(rows, [point["seconds"] for point in points])
    constants = {"seconds_per_resampled_pixel": resampled, "seconds_per_written_pixel": written}
    return {**constants, "seconds_per_cut_pixel": cut, **missed}, points


def processor() -> str:
    """The processor's own name where the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=HERE / "results" / "host-time.json")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    given = parser.parse_args()
    reading, read_points = measure_reading(given.rounds)
    preparing, prepared_points = measure_preparing(given.rounds)
    result = {
        "what": "CPU seconds of one core to read a page and to make its views, median of the rounds",
        "date": date.today().isoformat(),
        "processor": processor(),
        "versions": {name: version(name) for name in ("pillow", "numpy", "pypdfium2")}
        | {"python": platform.python_version()},
        "rounds": given.rounds,
        "reading": reading,
        "preparing": preparing,
        "reading_points": read_points,
        "preparing_points": prepared_points,
    }
    given.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({"reading": reading, "preparing": preparing}, indent=1))


if __name__ == "__main__":
    main()
