"""The architecture as imports: which package may see which, and what `import modelmeter` may load.

The one-way order is core -> nn -> models -> hardware -> profiles and sweeps -> report -> cli, with `documents` a leaf
beside core and `live` above all of them, seen by nobody but a function of the command line.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import modelmeter

SOURCE = Path(modelmeter.__file__).parent
ROOT = "modelmeter"  # as a unit: the package's own __init__.py

# unit (a folder or file right below the package) -> the other units it may import, anywhere in its code
BELOW_REPORT = {"core", "nn", "models", "formulas", "hardware", "sweeps"}
MAY_IMPORT: dict[str, set[str]] = {
    "_version": set(),
    "core": {"_version"},
    "documents": {"_version", "core"},
    "nn": {"_version", "core"},
    "models": {"_version", "core", "nn"},
    "formulas": {"_version", "core", "nn", "models"},
    "hardware": {"_version", "core", "nn", "models", "formulas"},
    "profiles": {"_version", "core", "nn", "models", "documents", "hardware"},
    "sweeps": {"_version", *BELOW_REPORT},
    "report": {"_version", "documents", "profiles", *BELOW_REPORT},
    ROOT: {"_version", "documents", "report", *BELOW_REPORT},
    "cli": {ROOT, "_version", "documents", "report", *BELOW_REPORT},
    "__main__": {"cli"},
    "live": {ROOT, "_version", "cli", "documents", "report", *BELOW_REPORT},
}
# Methods that ask what is above them: Trace.roofline, and what a notebook shows of an object.
INSIDE_FUNCTIONS_ONLY = {"cli": {"live"}, "core": {"hardware", "live", "report"}, "hardware": {"report"}}

# third-party package -> the only folders or files that may import it while they load
HEAVY = {
    "dask": (),
    "distributed": (),
    "matplotlib": (),
    "pandas": (),
    "simpy": (),
    "sympy": ("core/symbolic.py",),
    "torch": ("live/",),
    "transformers": ("live/",),
    "xarray": (),
    "zarr": (),
}
NOT_LOADED = {*HEAVY, "PIL", "pypdfium2", "rich", "typer", "yaml"}


class Import(NamedTuple):
    """One imported dotted name, and whether it is loaded together with its module."""

    name: str
    line: int
    on_load: bool


def imports(tree: ast.AST, package: str, on_load: bool = True) -> Iterator[Import]:
    """Every import below a node; relative ones resolved against `package`, `from a import b` as a.b."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, node.lineno, on_load) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*parts, *([node.module] if node.module else [])])
            yield from (Import(f"{base}.{alias.name}", node.lineno, on_load) for alias in node.names)
        elif isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            yield from imports(ast.Module(node.body, []), package, on_load=False)
            yield from imports(ast.Module(node.orelse, []), package, on_load)
        else:
            inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            yield from imports(node, package, on_load and not inside)


def unit_of(name: str) -> str | None:
    """`modelmeter.nn.linear` -> nn, `modelmeter.Cost` -> modelmeter (the root), `numpy` -> None."""
    first, *rest = name.split(".")
    if first != ROOT:
        return None
    return rest[0] if rest and (rest[0] in MAY_IMPORT or (SOURCE / rest[0]).is_dir()) else ROOT


def own_unit(path: Path) -> str:
    """The unit that a source file belongs to."""
    first = path.parts[0].removesuffix(".py")
    return ROOT if first == "__init__" else first


def order_violations(path: Path, source: str) -> list[str]:
    """Imports in a file (path relative to the package) that the table does not allow."""
    own = own_unit(path)
    if own not in MAY_IMPORT:
        return [f"{path}: {own} is not in the table: give it a place in the order"]
    package = ".".join([ROOT, *path.parts[:-1]])
    found = []
    for item in imports(ast.parse(source), package):
        target = unit_of(item.name)
        allowed = MAY_IMPORT[own] | (set() if item.on_load else INSIDE_FUNCTIONS_ONLY.get(own, set()))
        if target not in {None, own, *allowed}:
            found.append(f"{path}:{item.line}: {own} must not import {item.name}")
    return found


def heavy_violations(path: Path, source: str) -> list[str]:
    """Heavy packages that a file loads at module level outside their folder."""
    return [
        f"{path}:{item.line}: import {item.name} inside the function that needs it"
        for item in imports(ast.parse(source), ".".join([ROOT, *path.parts[:-1]]))
        if (homes := HEAVY.get(item.name.split(".")[0])) is not None
        and item.on_load
        and not path.as_posix().startswith(homes)
    ]


def sources() -> Iterator[tuple[Path, str]]:
    """Every source file of the package: its path below the package, its text."""
    for path in sorted(SOURCE.rglob("*.py")):
        yield path.relative_to(SOURCE), path.read_text(encoding="utf-8")


def test_importing_the_package_loads_nothing_heavy():
    code = "import sys, modelmeter; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert NOT_LOADED.isdisjoint(done.stdout.split())


def test_packages_import_one_way():
    assert [line for path, source in sources() for line in order_violations(path, source)] == []


def test_heavy_packages_are_imported_in_functions():
    assert [line for path, source in sources() for line in heavy_violations(path, source)] == []


def test_public_names_are_sorted_and_importable():
    names = modelmeter.__all__
    assert list(names) == sorted(set(names))
    for name in names:
        getattr(modelmeter, name)  # raises and names what is missing


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("core/cost.py", "from ..nn import Linear"),
        ("core/cost.py", "from modelmeter import Cost"),
        ("core/cost.py", "def f():\n    from modelmeter import nn"),
        ("nn/linear.py", "import modelmeter.models.deepseek_ocr"),
        ("documents/pdf.py", "from modelmeter.models.deepseek_ocr.views import plan_views"),
        ("models/deepseek_ocr/sam.py", "from ...report import table"),
        ("report/table.py", "from modelmeter.live import measure"),
        ("cli/verify.py", "from modelmeter.live import verify"),
        ("__init__.py", "from . import cli"),
        ("extra/new.py", ""),
    ],
)
def test_the_order_rule_sees(path, source):
    assert order_violations(Path(path), source)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("nn/linear.py", "from ..core import Layer\nfrom .norm import Norm\nimport numpy"),
        ("cli/verify.py", "def f():\n    from modelmeter.live import verify"),
        ("live/recording/record.py", "import modelmeter as mm\nfrom modelmeter.core.trace import Trace"),
        ("__init__.py", "from modelmeter.core.cost import Cost\nfrom ._version import __version__"),
    ],
)
def test_the_order_rule_allows(path, source):
    assert order_violations(Path(path), source) == []


def test_the_heavy_rule_tells_module_level_from_inside():
    assert heavy_violations(Path("core/ops.py"), "try:\n    import torch.nn\nexcept ImportError:\n    pass")
    assert heavy_violations(Path("live/recording/record.py"), "from sympy import Symbol")
    assert not heavy_violations(Path("live/recording/record.py"), "import torch")
    assert not heavy_violations(Path("core/ops.py"), "def f():\n    import torch")
    assert not heavy_violations(Path("core/ops.py"), "if TYPE_CHECKING:\n    import sympy")
