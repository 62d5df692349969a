"""What CMake installs: configured for real, with a stub of Slicer's macros, from the tracked files only."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from extension_build import configure, modules_folder, tracked_files
from PIL import Image

MODULES = ("XReconSlicer", "PTXSeg", "XReconTrainer")
NEVER_PACKAGED = ("CMakeLists.txt",)


@pytest.fixture(scope="module")
def tracked(repository: Path) -> list[Path]:
    """Files in git, relative to the repository."""
    return tracked_files(repository)


@pytest.fixture(scope="module")
def build(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build folder of a configured copy of the tracked files, beside a model that is in no repository."""
    source, build = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("build")
    configure(repository, source, build)
    return build


@pytest.fixture(scope="module")
def installed(build: Path) -> Path:
    """The folder that Slicer puts on its module path."""
    return modules_folder(build)


def test_every_tracked_file_of_the_modules_is_installed_and_no_other(
    tracked: list[Path], installed: Path
) -> None:
    expected = {
        name.relative_to(name.parts[0])
        for name in tracked
        if name.parts[0] in MODULES and name.name not in NEVER_PACKAGED
    }
    copied = {path.relative_to(installed) for path in installed.rglob("*") if path.is_file()}
    assert copied == expected  # without the developer's own model


def test_contributors_are_named_with_their_organization(build: Path) -> None:
    text = (build / "description.txt").read_text(encoding="utf-8")
    (contributors,) = re.findall(r"^EXTENSION_CONTRIBUTORS=(.+)$", text, flags=re.MULTILINE)
    for each in contributors.split("), "):
        assert re.fullmatch(r"\w+( \w+)+ \([^()]+\)", each.removesuffix(")") + ")"), each


def test_only_module_files_lie_where_slicer_looks_for_modules(installed: Path) -> None:
    assert sorted(path.name for path in installed.glob("*.py")) == sorted(f"{name}.py" for name in MODULES)


def test_the_installed_backend_runs_from_its_folder(installed: Path, tmp_path: Path) -> None:
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); import xrecon, xrecon.cli, xrecon.io.image; "
        "assert xrecon.__file__.startswith(sys.argv[1]), xrecon.__file__; "
        "assert 'torch' not in sys.modules"
    )
    # -I: neither PYTHONPATH nor the current folder may help
    command = [sys.executable, "-I", "-c", script, str(installed)]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


def test_the_installed_command_line_finds_the_installed_models(installed: Path, tmp_path: Path) -> None:
    bundled = sorted(path.parent.name for path in installed.glob("xrecon/models/*/card.json"))
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); "
        "from xrecon.nets.registry import bundled_models; print(*sorted(bundled_models()))"
    )
    command = [sys.executable, "-I", "-c", script, str(installed)]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split() == bundled


def test_slicer_packages_the_files_of_the_extension_and_not_its_own(build: Path, repository: Path) -> None:
    text = (build / "description.txt").read_text(encoding="utf-8")
    said = dict(line.split("=", 1) for line in text.splitlines())
    assert said["PROJECT_NAME"] == "XRecon"  # equals the name of the catalog entry, else nothing is packaged
    assert all(said.values()), "an empty variable"
    assert (repository / Path(said["EXTENSION_LICENSE_FILE"]).name).is_file()
    assert (repository / Path(said["EXTENSION_README_FILE"]).name).is_file()


@pytest.mark.parametrize("module", MODULES)
def test_each_module_has_its_icon(module: str, repository: Path) -> None:
    with Image.open(repository / module / "Resources" / "Icons" / f"{module}.png") as picture:
        assert picture.size == (128, 128)


def test_a_wheel_holds_the_bundled_models_and_no_developers_own(
    tracked: list[Path], repository: Path
) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text())
    patterns = project["tool"]["setuptools"]["package-data"]["xrecon"]
    named = {Path(pattern).parts[1] for pattern in patterns if pattern.startswith("models/")}
    bundled = {path.parent.name for path in tracked if path.name == "card.json"}
    assert named == bundled and bundled


def test_a_wheel_holds_every_file_that_the_backend_reads(tracked: list[Path], repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text())
    patterns = project["tool"]["setuptools"]["package-data"]["xrecon"]
    package = Path("XReconSlicer", "xrecon")
    named = {path for pattern in patterns for path in (repository / package).glob(pattern)}
    data = {repository / path for path in tracked if package in path.parents and path.suffix != ".py"}
    assert data <= named
