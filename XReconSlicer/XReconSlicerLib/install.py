"""Installs the Python packages of `xrecon` into Slicer: on request only, after one question.

torch comes through Slicer's PyTorch extension, which knows the graphics card; the rest of
`Resources/requirements.txt` through pip. Packages that Slicer itself is built on are never
replaced, because other modules would stop working; nor is a fitting torch by pip, because the one
for this graphics card would give way to any other.

Without network everything, torch too, comes from a folder of wheels, if the user has chosen one.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import inspect
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import slicer
from packaging.requirements import Requirement
from slicer.i18n import tr as _

from XReconSlicerLib.settings import setting

REQUIREMENTS = Path(__file__).resolve().parent.parent / "Resources" / "requirements.txt"
# Slicer's own; a newer one from pip has made Slicer unstartable before.
BUNDLED = frozenset({"numpy", "scipy", "simpleitk", "pydicom"})
_IMPORT_NAMES = {"simpleitk": "SimpleITK"}
# What pip must leave as it is while it resolves dependencies: the above, what else Slicer's core
# imports, and torch, which only the PyTorch extension may choose.
PINNED = (
    *sorted(BUNDLED), "torch", "torchvision", "torchaudio", "pillow", "requests", "urllib3", "certifi",
    "idna", "charset-normalizer", "chardet", "dicomweb-client", "cryptography", "cffi", "pyjwt", "six",
    "packaging", "setuptools", "pip",
)  # fmt: skip
TORCH = Requirement("torch>=2.4")  # as in pyproject.toml


class InstallError(RuntimeError):
    """Packages are missing and could not be installed; the message tells the user what to do."""


def requirements(path: Path = REQUIREMENTS) -> list[Requirement]:
    """The requirements listed in a file; comments may follow them on the same line."""
    lines = (line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [Requirement(line) for line in lines if line]


def isSatisfied(requirement: Requirement) -> bool:
    """Whether the installed version fits, or the requirement does not concern this system."""
    if requirement.marker is not None and not requirement.marker.evaluate():
        return True
    name = requirement.name.lower()
    version = _installedVersion(name)
    if version is None and name in BUNDLED:
        # Slicer may build a package itself and leave out what pip would know it by
        return importlib.util.find_spec(_IMPORT_NAMES.get(name, name)) is not None
    return version is not None and requirement.specifier.contains(version, prereleases=True)


def _installedVersion(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _withInstalledVersion(package: str) -> str:
    version = _installedVersion(Requirement(package).name)
    if version is None:
        return package
    return _("{package} (replaces {version})").format(package=package, version=version)


def missingPackages() -> list[str]:
    """What `ensurePackages` would install, torch first; empty when everything is there."""
    missing = [str(requirement) for requirement in requirements() if not isSatisfied(requirement)]
    return missing if isSatisfied(TORCH) else [str(TORCH), *missing]


def ensurePackages() -> bool:
    """Installs what is missing after asking once; False when the user declined.

    In Slicer's testing mode nothing is installed.
    :raises InstallError: when something is missing and cannot be had.
    """
    missing = missingPackages()
    if not missing:
        return True
    bundled = [name for name in missing if Requirement(name).name.lower() in BUNDLED]
    if bundled:
        raise InstallError(
            _(
                "XRecon needs {packages}, which this version of Slicer brings along in an older version. "
                "Use Slicer 5.10 or newer."
            ).format(packages=", ".join(bundled))
        )
    if slicer.app.testingEnabled():
        raise InstallError(_("Missing Python packages: {packages}.").format(packages=", ".join(missing)))
    folder = wheelsFolder()
    if not slicer.util.confirmOkCancelDisplay(_question(missing, folder), _("Install packages")):
        return False
    if str(TORCH) in missing and folder is None:
        _installTorch()
        missing.remove(str(TORCH))
    _installWithPip(missing, folder)
    importlib.invalidate_caches()
    remaining = missingPackages()
    if remaining:
        raise InstallError(
            _("Still missing after the installation: {packages}. Restart Slicer and try again.").format(
                packages=", ".join(remaining)
            )
        )
    return True


def wheelsFolder() -> Path | None:
    """The folder of wheels to install from without network, None to use the network.

    :raises InstallError: when the chosen folder holds no wheels.
    """
    chosen = setting("wheelsFolder")
    if not chosen:
        return None
    folder = Path(chosen)
    if not any(folder.glob("*.whl")):
        raise InstallError(
            _(
                "The folder for offline packages holds no wheels (*.whl): {folder}. Choose another one under "
                "Advanced, or none to use the network."
            ).format(folder=folder)
        )
    return folder


def _question(missing: Sequence[str], folder: Path | None) -> str:
    if folder is None:
        origin = _("They are downloaded from the Python Package Index; PyTorch takes up to 3 GB.")
    else:
        origin = _("They are taken from {folder}; nothing is downloaded.").format(folder=folder)
    return _("XRecon needs these Python packages: {packages}.\n\n{origin} Install them now?").format(
        packages=", ".join(_withInstalledVersion(name) for name in missing), origin=origin
    )


def requirePackages() -> None:
    """For functions called from the Python console, which must not ask or install.

    :raises InstallError: naming what is missing and how to get it.
    """
    missing = missingPackages()
    if missing:
        raise InstallError(
            _(
                "Missing Python packages: {packages}. Open a module of XRecon and press Apply, or call "
                "XReconSlicerLib.install.ensurePackages(); both ask before they install."
            ).format(packages=", ".join(missing))
        )


def _installTorch() -> None:
    try:
        import PyTorchUtils
    except ModuleNotFoundError as error:
        raise InstallError(
            _("Install the extension 'PyTorch' with the Extensions Manager, restart Slicer and try again.")
        ) from error
    install = PyTorchUtils.PyTorchUtilsLogic().installTorch
    options = {"askConfirmation": False}
    if "torchVersionRequirement" in inspect.signature(install).parameters:  # older ones install the newest
        options["torchVersionRequirement"] = str(TORCH.specifier)
    if install(**options) is None:
        raise InstallError(
            _("PyTorch could not be installed. The module 'PyTorch Utils' shows why and offers versions.")
        )


def _installWithPip(packages: list[str], wheels: Path | None) -> None:
    if not packages:
        return
    with tempfile.TemporaryDirectory(prefix="xr") as folder:
        constraints = Path(folder) / "constraints.txt"
        constraints.write_text("\n".join(_pins(packages)) + "\n", encoding="utf-8")
        try:
            if wheels is not None:
                offline = ["--no-index", "--find-links", str(wheels)]
                slicer.util.pip_install([*offline, "--constraint", str(constraints), *packages])
            elif importlib.util.find_spec("slicer.packaging"):  # Slicer 5.12 and newer: progress and log
                from slicer.packaging import pip_install

                pip_install(packages, constraints=constraints, requester="XRecon")
            else:
                slicer.util.pip_install(["--constraint", str(constraints), *packages])
        except subprocess.CalledProcessError as error:
            raise InstallError(_failure(packages, wheels)) from error


def _failure(packages: Sequence[str], wheels: Path | None) -> str:
    names = ", ".join(packages)
    if wheels is None:
        return _(
            "pip could not install {packages}; its log says why. Behind a proxy or firewall, set the "
            "environment variable HTTPS_PROXY before starting Slicer, or choose a folder of wheels under "
            "Advanced."
        ).format(packages=names)
    return _(
        "pip could not install {packages} from {folder}; its log says what is missing. Fill the folder on a "
        "computer with network, the same system and Python: python -m pip download {packages}"
    ).format(packages=names, folder=wheels)


def _pins(packages: Sequence[str]) -> list[str]:
    """Lines of a constraints file: what is installed of `PINNED` stays, but for what is asked for."""
    wanted = {Requirement(package).name.lower() for package in packages}
    versions = {name: _installedVersion(name) for name in PINNED if name not in wanted}
    return [f"{name}=={version}" for name, version in versions.items() if version is not None]
