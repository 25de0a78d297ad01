"""The host time of a page: work by the vendor's rules, and the measured constants."""

import json
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelmeter.core.errors import ModelMeterError
from modelmeter.hardware.host import HostProfile, HostWork, host_seconds, host_work
from modelmeter.models.deepseek_ocr.views import MODES, plan_views

RESULT = Path(__file__).parents[2] / "bench" / "results" / "host-time.json"
UNIT = HostProfile(**{field.name: 1.0 for field in attrs.fields(HostProfile)})


def test_the_work_of_a_tiled_page():
    views = plan_views(1654, 2339)  # 2 x 3 tiles of 640, a view of 1024 that holds 724 x 1024
    assert host_work(1654, 2339, views) == HostWork(
        resampled_pixels=2 * 1654 * 2339,  # both shrink a row of 1654
        written_pixels=6 * 640**2 + 1024**2,
        cut_pixels=6 * 640**2,
    )


def test_a_page_that_is_enlarged():
    views = plan_views(700, 500, mode="gundam")  # 3 x 2 tiles: a canvas of 1920 x 1280
    assert views.grid == (3, 2)
    assert host_work(700, 500, views).resampled_pixels == (1920 + 1024) * 500


def test_small_modes_stretch_and_large_ones_pad():
    assert host_work(100, 1000, plan_views(100, 1000, mode="small")).resampled_pixels == 640 * 1000
    assert host_work(100, 1000, plan_views(100, 1000, mode="base")).resampled_pixels == 102 * 1000  # 1024 x 0.1


def test_seconds_are_the_sum_of_the_terms():
    views = plan_views(1654, 2339)
    work = 2 * 1654 * 2339 + (6 * 640**2 + 1024**2) + 6 * 640**2
    assert host_seconds(1654, 2339, views, source="pixels", profile=UNIT) == work
    assert host_seconds(1654, 2339, views, source="pdf", profile=UNIT) == work + 1 + 1654 * 2339
    only_files = HostProfile(
        **dict.fromkeys([field.name for field in attrs.fields(HostProfile)], 0.0) | {"jpeg_file_seconds": 3.0}
    )
    assert host_seconds(1654, 2339, views, profile=only_files) == 3.0


def test_the_constants_are_those_measured():
    measured = json.loads(RESULT.read_text(encoding="utf-8"))
    reading, preparing = measured["reading"], measured["preparing"]
    assert HostProfile() == HostProfile(
        jpeg_file_seconds=reading["jpeg"]["fixed_seconds"],
        jpeg_pixel_seconds=reading["jpeg"]["seconds_per_pixel"],
        pdf_page_seconds=reading["pdf"]["fixed_seconds"],
        pdf_pixel_seconds=reading["pdf"]["seconds_per_pixel"],
        resampled_pixel_seconds=preparing["seconds_per_resampled_pixel"],
        written_pixel_seconds=preparing["seconds_per_written_pixel"],
        cut_pixel_seconds=preparing["seconds_per_cut_pixel"],
    )


def test_the_constants_predict_what_was_measured():
    """Every point of the committed result, recomputed: what the docstring says of their errors."""
    points = json.loads(RESULT.read_text(encoding="utf-8"))["preparing_points"]
    errors = []
    for point in points:
        width, height = point["page"]
        views = plan_views(width, height, mode=point["mode"])
        errors.append(abs(host_seconds(width, height, views, source="pixels") / point["seconds"] - 1))
    assert sorted(errors)[len(errors) // 2] < 0.05
    assert max(errors) < 0.14


@given(
    width=st.integers(1, 5000),
    height=st.integers(1, 5000),
    more=st.integers(1, 500),
    mode=st.sampled_from(sorted(MODES)),
)
def test_larger_pages_of_the_same_views_take_no_less(width, height, more, mode):
    views = plan_views(width, height, mode=mode)
    larger = attrs.evolve(views, width=width + more, height=height + more)
    for source in ("jpeg", "pdf"):
        assert host_seconds(width + more, height + more, larger, source=source) > 0
        assert host_seconds(2 * width, 2 * height, views, source=source) > host_seconds(
            width, height, views, source=source
        )


@pytest.mark.parametrize("wrong", [-1e-9, float("nan"), float("inf"), "1", None, True])
def test_a_profile_of_seconds_only(wrong):
    with pytest.raises(ModelMeterError, match="cut_pixel_seconds"):
        HostProfile(cut_pixel_seconds=wrong)


def test_unknown_sources_and_empty_pages_are_errors():
    views = plan_views(10, 10)
    with pytest.raises(ModelMeterError, match="png"):
        host_seconds(10, 10, views, source="png")
    with pytest.raises(ModelMeterError, match="positive"):
        host_seconds(0, 10, views)
