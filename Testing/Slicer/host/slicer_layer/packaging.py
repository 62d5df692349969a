"""`slicer.packaging` in testing mode: requirements are read and checked, never installed."""

from __future__ import annotations

import importlib.metadata
import logging
from collections.abc import Sequence
from pathlib import Path

from packaging.requirements import Requirement

_One = str | Requirement


def load_requirements(path: str | Path) -> list[Requirement]:
    """Requirements of a requirements.txt; comments and option lines are left out."""
    lines = (line.split(" #")[0].strip() for line in Path(path).read_text(encoding="utf-8").splitlines())
    return [Requirement(line) for line in lines if line and not line.startswith(("#", "-"))]


def _asList(requirements: _One | Sequence[_One]) -> list[Requirement]:
    if isinstance(requirements, str) and ";" not in requirements:
        requirements = requirements.split()
    elif isinstance(requirements, (str, Requirement)):
        requirements = [requirements]
    return [r if isinstance(r, Requirement) else Requirement(r) for r in requirements]


def _satisfied(requirement: Requirement) -> bool:
    if requirement.marker is not None and not requirement.marker.evaluate():
        return True
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return requirement.specifier.contains(version, prereleases=True)


def pip_check(req: _One | Sequence[_One]) -> bool:
    """Whether what is installed meets the requirements (those of extras are not followed here)."""
    return all(_satisfied(requirement) for requirement in _asList(req))


def pip_ensure(
    requirements: _One | Sequence[_One],
    constraints: str | Path | None = None,
    skip_packages: Sequence[str] | None = None,
    prompt_install: bool = True,
    prompt_restart: bool = True,
    requester: str | None = None,
    skip_in_testing: bool = True,
    show_progress: bool = True,
) -> list[str] | None:
    """Name what is missing in the log; as Slicer does in testing mode, install nothing and return None."""
    missing = [str(requirement) for requirement in _asList(requirements) if not _satisfied(requirement)]
    if missing:
        logging.info("Testing mode: not installing %s", ", ".join(missing))
        if not skip_in_testing:
            raise RuntimeError("the host installs no packages: " + ", ".join(missing))
    return None


def pip_install(requirements: _One | Sequence[_One], **options: object) -> None:
    """Refused: a test must not change its own environment."""
    raise RuntimeError(f"the host installs no packages: {requirements}")


def pip_uninstall(requirements: _One | Sequence[_One], **options: object) -> None:
    """Refused: a test must not change its own environment."""
    raise RuntimeError(f"the host uninstalls no packages: {requirements}")


def isPipInstallInProgress() -> bool:
    """Never: nothing is installed."""
    return False
