"""Stages: a name over a context variable."""

import asyncio
import subprocess
import sys
from threading import Thread
from typing import Any

import pytest

from modelmeter import ModelMeterError
from modelmeter.live.shadow.stage import analytic_stage, current_stage


def test_stages_nest_and_end() -> None:
    assert current_stage() == "unknown"
    with analytic_stage("prefill"):
        assert current_stage() == "prefill"
        with analytic_stage("vision"):
            assert current_stage() == "vision"
        assert current_stage() == "prefill"
    assert current_stage() == "unknown"


def test_an_error_ends_a_stage() -> None:
    with pytest.raises(ZeroDivisionError), analytic_stage("decode"):
        _ = 1 // 0
    assert current_stage() == "unknown"


def test_another_thread_is_in_no_stage() -> None:
    seen: list[str] = []
    with analytic_stage("decode"):
        thread = Thread(target=lambda: seen.append(current_stage()))
        thread.start()
        thread.join()
    assert seen == ["unknown"]


def test_tasks_have_stages_of_their_own() -> None:
    async def task(name: str) -> str:
        with analytic_stage(name):
            await asyncio.sleep(0)
            return current_stage()

    async def both() -> list[str]:
        return await asyncio.gather(task("prefill"), task("decode"))

    assert asyncio.run(both()) == ["prefill", "decode"]


@pytest.mark.parametrize("name", ["", None])
def test_an_empty_name_is_none(name: Any) -> None:
    with pytest.raises(ModelMeterError, match="analytic_stage"), analytic_stage(name):
        pass


def test_all_but_the_hooks_uses_nothing_of_torch() -> None:
    """An empty module stands for torch, which the package asks for."""
    code = (
        "import sys, types; sys.modules['torch'] = types.ModuleType('torch');"
        "from modelmeter.live.shadow import aggregate, export, process, report, shadow, stage;"
        "assert process.get_analytic_run_stats().decoder_steps == []"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
