"""What docs/shadow.md says hooks cost is what bench/results/hook-overhead.json has, and it is inside the goal."""

import json
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_table_is_that_of_the_result() -> None:
    found = json.loads((ROOT / "bench" / "results" / "hook-overhead.json").read_text(encoding="utf-8"))
    page = (ROOT / "docs" / "shadow.md").read_text(encoding="utf-8")
    block = page.partition("<!-- overhead -->")[2].partition("<!-- end -->")[0].strip()
    assert f"median of {found['pairs']} pairs" in block
    for name, row in zip(("passes", "decode", "run", "processor"), block.splitlines()[2:], strict=True):
        spread = found[name]["spread"]
        quartiles = f"{spread['first_quartile']:.4f} to {spread['third_quartile']:.4f}"
        assert [cell.strip() for cell in row.split("|")[2:4]] == [f"{found[name]['ratio']:.4f}", quartiles]
    assert found["passes"]["ratio"] <= found["goal"] and found["run"]["ratio"] <= found["goal"]
    assert "2 of 12 decoder layers" in found["model"]
