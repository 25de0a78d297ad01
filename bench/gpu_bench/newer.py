"""Another transformers than the installed one, put before it: a wheel, or a folder that holds the package.

Standard library alone (and `packaging`, which transformers needs too): it runs before anything heavy is imported.
"""

import importlib
import sys
import zipfile
from collections.abc import Iterator
from importlib.metadata import Distribution, DistributionFinder, MetadataPathFinder, PackageNotFoundError, version
from pathlib import Path

NAME = "transformers"


class Unusable(Exception):
    """That transformers cannot be used, and why: the installed one stays."""


def use_transformers(source: Path, folder: Path) -> str:
    """Put the transformers of `source` into the empty `folder`, and that before all others; returns its version.

    Raises `Unusable` where it is no wheel or package, or where something it needs is missing or too old.
    """
    if NAME in sys.modules:
        raise Unusable(f"{NAME} is imported already")
    try:
        if source.is_dir():
            _link(source, folder)
        else:
            with zipfile.ZipFile(source) as wheel:
                wheel.extractall(folder)
    except OSError as error:
        raise Unusable(f"{source.name} cannot be read: {error.strerror}") from error
    except zipfile.BadZipFile as error:
        raise Unusable(f"{source.name} is no wheel: {error}") from error
    found = _distribution(folder)
    if found is None or not (folder / NAME / "__init__.py").is_file():
        raise Unusable(f"{source.name} lacks {NAME} or its .dist-info, which says its version and what it needs")
    missing = "; ".join(_missing(found))
    if missing:
        raise Unusable(f"{NAME} {found.version} needs {missing}")
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    return found.version


def _link(source: Path, folder: Path) -> None:
    """The package and its metadata alone: a folder of packages holds others, which are not asked for."""
    package = source if source.name == NAME and (source / "__init__.py").is_file() else source / NAME
    for path in (package, *package.parent.glob(f"{NAME}-*.dist-info")):
        (folder / path.name).symlink_to(path.resolve(), target_is_directory=True)


def _distribution(folder: Path) -> Distribution | None:
    context = DistributionFinder.Context(name=NAME, path=[str(folder)])
    return next(iter(MetadataPathFinder.find_distributions(context)), None)


def _missing(found: Distribution) -> Iterator[str]:
    """Each requirement that is not met, with what is there instead."""
    try:
        from packaging.requirements import Requirement
        from packaging.specifiers import SpecifierSet
    except ImportError:
        yield "packaging (none is installed)"
        return
    python = found.metadata["Requires-Python"]
    running = ".".join(map(str, sys.version_info[:3]))
    if python and not SpecifierSet(python).contains(running):
        yield f"Python {python} ({running} runs)"
    for line in found.requires or ():
        wanted = Requirement(line)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        try:
            there = version(wanted.name)
        except PackageNotFoundError:
            yield f"{wanted.name}{wanted.specifier} (none is installed)"
            continue
        if not wanted.specifier.contains(there, prereleases=True):
            yield f"{wanted.name}{wanted.specifier} ({there} is installed)"
