"""Builds the wheel, installs it into an empty environment and holds both to their size limits.

Run it as `make budget`, or `python tools/check_budget.py` from anywhere; exits 1 past a limit.
Sizes are the files' own (apparent) sizes in units of 10**6 bytes; the environment includes pip and the compiled caches.
"""

import os
import subprocess
import sys
import tempfile
import venv
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MB = 10**6
WHEEL_LIMIT = 1 * MB
ENVIRONMENT_LIMIT = 180 * MB
ABSENT = ("torch", "transformers", "sympy", "matplotlib", "pandas", "xarray")  # extras only


def run(*command: str | Path) -> str:
    """Output of a command, run outside the checkout and blind to the caller's own Python path."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    done = subprocess.run(
        command, cwd=tempfile.gettempdir(), env=environment, text=True, capture_output=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"failed: {' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout.strip()


def package_sizes(site_packages: Path) -> Counter[str]:
    """Bytes of every top-level entry of site-packages."""
    sizes: Counter[str] = Counter()
    for path in site_packages.rglob("*"):
        if not path.is_dir():
            sizes[path.relative_to(site_packages).parts[0]] += path.lstat().st_size
    return sizes


def tree_size(folder: Path) -> int:
    """Bytes of all files below a folder; a link counts as itself."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())


def check(name: str, size: int, limit: int) -> bool:
    """Prints one figure and tells whether it is within its limit."""
    print(f"{name:<32} {size / MB:8.3f} MB of at most {limit / MB:g} MB  {'ok' if size <= limit else 'TOO LARGE'}")
    return size <= limit


def main() -> int:
    """0 if the wheel and its environment are within their limits and work, else 1."""
    with tempfile.TemporaryDirectory(prefix="modelmeter-budget-") as scratch:
        folder = Path(scratch) / "venv"
        venv.create(folder, with_pip=True)
        python = folder / "bin" / "python"

        run(python, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", scratch, ROOT)
        (wheel,) = Path(scratch).glob("modelmeter-*.whl")
        run(python, "-m", "pip", "install", "--quiet", wheel)
        version = run(folder / "bin" / "modelmeter", "--version")

        finder = "import sys, importlib.util as u; print(*[n for n in sys.argv[1:] if u.find_spec(n)])"
        unwanted = run(python, "-c", finder, *ABSENT)
        site_packages = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"))
        sizes = package_sizes(site_packages)

        fits = check(f"wheel {wheel.name.split('-py3')[0]}", wheel.stat().st_size, WHEEL_LIMIT)
        fits &= check("environment of the base install", tree_size(folder), ENVIRONMENT_LIMIT)
        print("  largest: " + ", ".join(f"{name} {size / MB:.1f}" for name, size in sizes.most_common(8)))
        print(f"`modelmeter --version` there:    {version}")
        if unwanted:
            print(f"the base install must not bring: {unwanted}")
        return 0 if fits and not unwanted else 1


if __name__ == "__main__":
    sys.exit(main())
