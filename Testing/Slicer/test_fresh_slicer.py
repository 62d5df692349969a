"""A Slicer without any of XRecon's packages: modules load, nothing is installed unasked, one question."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import slicer
import slicerhost
from panel_inputs import chiralChest, choose, leftovers, radiographNodes
from XReconSlicerLib import install
from XReconSlicerLib.settings import saveSetting

HERE = Path(__file__).resolve().parent
TORCH = "torch>=2.4"
# What Slicer does not bring along.
ABSENT = (
    "torch", "monai", "skimage", "pydantic", "typer", "rich", "safetensors", "cc3d", "edt", "jinja2",
)  # fmt: skip
SCRIPT = """
import importlib.abc, sys
class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.split(".")[0] in ABSENT:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
import slicerhost
slicerhost.create()
import numpy, slicer
for name in ("PTXSeg", "XReconTrainer", "XReconSlicer"):  # the dependent ones first
    widget = slicerhost.openModule(name)
    assert not widget.ui.applyButton.enabled
nodes = [slicer.util.addVolumeFromArray(numpy.random.rand(1, 9, 7)) for _ in range(2)]
for box, node in zip(widget.viewsBox.boxes, nodes):
    box.ui.volumeSelector.setCurrentNode(node)
assert widget.ui.applyButton.enabled, widget.ui.applyButton.toolTip
assert not widget.viewsBox.boxes[0].ui.previewLabel.pixmap.isNull()  # needs nothing that Slicer lacks
assert not slicerhost.slotErrors, slicerhost.slotErrors
print("loaded", sorted(set(ABSENT) & set(sys.modules)))
"""


def test_all_panels_open_without_any_of_the_packages() -> None:
    folders = [
        HERE / "host",
        *(HERE.parents[1] / name for name in ("XReconSlicer", "PTXSeg", "XReconTrainer")),
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders))}
    code = f"ABSENT = {ABSENT}\n{SCRIPT}"
    ran = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[-1] == "loaded []"


def test_the_requirements_file_is_found_and_read() -> None:
    found = {requirement.name.lower() for requirement in install.requirements()}
    assert {"monai", "numpy", "simpleitk"} <= found
    assert "torch" not in found  # its extension installs it


def test_comments_of_a_requirements_file_are_no_requirements(tmp_path: Path) -> None:
    path = tmp_path / "requirements.txt"
    path.write_text("# all of it\n\nalpha>=2  # why\nbeta ; python_version < '3'\n", encoding="utf-8")
    alpha, beta = install.requirements(path)
    assert (alpha.name, str(alpha.specifier)) == ("alpha", ">=2")
    assert not install.isSatisfied(alpha) and install.isSatisfied(beta)  # beta is for another Python


def test_an_older_version_does_not_satisfy(tmp_path: Path) -> None:
    (requirement,) = install.requirements(written(tmp_path, "pytest>=9999"))
    assert not install.isSatisfied(requirement)
    (requirement,) = install.requirements(written(tmp_path, "pytest>=1"))
    assert install.isSatisfied(requirement)


def written(folder: Path, text: str) -> Path:
    path = folder / "requirements.txt"
    path.write_text(text + "\n", encoding="utf-8")
    return path


class FreshSlicer:
    """Missing packages, a user who answers, and installers that note what they are asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, missing: list[str], answer: bool = True) -> None:
        self.missing, self.questions, self.installed = list(missing), [], []
        monkeypatch.setattr(install, "missingPackages", lambda: list(self.missing))
        monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", self.ask)
        monkeypatch.setitem(sys.modules, "PyTorchUtils", self)
        monkeypatch.setattr("slicer.packaging.pip_install", self.pip)
        self.answer = answer

    def ask(self, text: str, *_rest: object, **_options: object) -> bool:
        self.questions.append(text)
        return self.answer

    def PyTorchUtilsLogic(self) -> FreshSlicer:  # noqa: N802  (Slicer's name)
        return self

    def installTorch(  # noqa: N802  (Slicer's name)
        self, askConfirmation: bool = True, torchVersionRequirement: str | None = None
    ) -> object:
        assert not askConfirmation  # the user was asked once already
        return self.note(["torch" + (torchVersionRequirement or "")])

    def pip(self, packages: list[str], constraints: Path, requester: str) -> object:
        assert requester == "XRecon"
        self.constraints = Path(constraints).read_text(encoding="utf-8").split()
        return self.note(packages)

    def note(self, packages: list[str]) -> object:
        self.installed.append(packages)
        self.missing = [each for each in self.missing if each not in packages]
        return self


def test_a_package_that_slicer_built_without_metadata_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install, "_installedVersion", lambda name: None)
    assert install.isSatisfied(install.Requirement("SimpleITK>=2.4"))
    assert not install.isSatisfied(install.Requirement("monai>=1.4"))


def test_one_question_then_torch_by_its_extension_then_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = FreshSlicer(monkeypatch, [TORCH, "absent>=1.4", "typer>=99"])
    with slicerhost.interactiveMode():
        assert install.ensurePackages()
        assert install.ensurePackages()  # nothing is missing any more: no question
    (question,) = fresh.questions
    typer = f"typer>=99 (replaces {metadata.version('typer')})"
    assert "absent>=1.4" in question and typer in question
    assert fresh.installed == [[TORCH], ["absent>=1.4", "typer>=99"]]


def test_an_old_torch_is_missing_and_the_backend_wants_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    project = tomllib.loads((HERE.parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["optional-dependencies"]["torch"] == [TORCH] == [str(install.TORCH)]
    versions = {"torch": "2.1.2+cu118"}
    monkeypatch.setattr(install, "_installedVersion", lambda name: versions.get(name))
    assert install.missingPackages()[0] == TORCH
    versions["torch"] = "2.4.0+cu121"
    assert TORCH not in install.missingPackages()


def test_an_older_pytorch_extension_is_not_asked_for_a_version(monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = FreshSlicer(monkeypatch, [TORCH])

    def installTorch(askConfirmation: bool = True, forceComputationBackend: object = None) -> object:  # noqa: N802
        fresh.missing = []
        return fresh

    fresh.installTorch = installTorch
    with slicerhost.interactiveMode():
        assert install.ensurePackages()


def test_pip_is_kept_from_replacing_torch_and_packages_of_slicer(monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = FreshSlicer(monkeypatch, ["absent>=1", "pillow>=99"])
    with slicerhost.interactiveMode():
        assert install.ensurePackages()
    for name in ("torch", "numpy", "simpleitk", "pydicom"):
        assert f"{name}=={metadata.version(name)}" in fresh.constraints
    assert not any(line.startswith("pillow") for line in fresh.constraints)  # it was asked for


def test_everything_comes_from_the_folder_of_wheels_when_one_is_chosen(
    openModule: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    openModule("XReconSlicer").ui.wheelsFolderEdit.currentPath = str(tmp_path)
    fresh = FreshSlicer(monkeypatch, [TORCH, "absent>=1"])
    with slicerhost.interactiveMode(), pytest.raises(install.InstallError, match="holds no wheels"):
        install.ensurePackages()
    (tmp_path / "absent-1-py3-none-any.whl").touch()
    calls = []

    def pip(arguments: list[str]) -> None:
        calls.append(arguments[:3])
        fresh.pip(arguments[5:], Path(arguments[4]), "XRecon")

    monkeypatch.setattr(slicer.util, "pip_install", pip, raising=False)
    with slicerhost.interactiveMode():
        assert install.ensurePackages()
    assert calls == [["--no-index", "--find-links", str(tmp_path)]]
    assert fresh.installed == [[TORCH, "absent>=1"]]
    (question,) = fresh.questions
    assert str(tmp_path) in question and "nothing is downloaded" in question


def test_a_folder_that_lacks_a_wheel_is_told_with_the_way_to_fill_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other-1-py3-none-any.whl").touch()
    saveSetting("wheelsFolder", str(tmp_path))
    FreshSlicer(monkeypatch, ["absent>=1"])

    def fail(_arguments: list[str]) -> None:
        raise subprocess.CalledProcessError(1, "pip")

    monkeypatch.setattr(slicer.util, "pip_install", fail, raising=False)
    with slicerhost.interactiveMode(), pytest.raises(install.InstallError, match="pip download absent>=1"):
        install.ensurePackages()


def test_pip_of_slicer_5_10_gets_the_constraints_as_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = FreshSlicer(monkeypatch, ["absent>=1"])
    find = install.importlib.util.find_spec
    monkeypatch.setattr(
        install.importlib.util, "find_spec", lambda name: None if name == "slicer.packaging" else find(name)
    )

    def pip(arguments: list[str]) -> None:
        option, path, *packages = arguments
        assert option == "--constraint"
        fresh.pip(packages, Path(path), "XRecon")

    monkeypatch.setattr(slicer.util, "pip_install", pip, raising=False)
    with slicerhost.interactiveMode():
        assert install.ensurePackages()
    assert fresh.installed == [["absent>=1"]]
    assert f"torch=={metadata.version('torch')}" in fresh.constraints


def test_nothing_is_installed_when_the_user_declines(monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = FreshSlicer(monkeypatch, [TORCH], answer=False)
    with slicerhost.interactiveMode():
        assert not install.ensurePackages()
    assert fresh.installed == []


def test_nothing_is_installed_in_testing_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = FreshSlicer(monkeypatch, [TORCH])
    with pytest.raises(install.InstallError, match="torch"):
        install.ensurePackages()
    assert fresh.installed == [] and fresh.questions == []


def test_the_console_is_told_what_is_missing_and_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = FreshSlicer(monkeypatch, [TORCH, "monai>=1.4"])
    with slicerhost.interactiveMode():
        with pytest.raises(install.InstallError, match=r"torch>=2.4, monai>=1.4.*Apply.*ensurePackages\(\)"):
            install.requirePackages()
        assert fresh.installed == [] and fresh.questions == []
        fresh.missing = []
        install.requirePackages()


def test_packages_of_slicer_itself_are_never_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = FreshSlicer(monkeypatch, ["SimpleITK>=99", "monai>=1.4"])
    with slicerhost.interactiveMode(), pytest.raises(install.InstallError, match="Slicer 5.10 or newer"):
        install.ensurePackages()
    assert fresh.installed == [] and fresh.questions == []


def test_without_the_pytorch_extension_the_user_is_told_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    FreshSlicer(monkeypatch, [TORCH])
    monkeypatch.setitem(sys.modules, "PyTorchUtils", None)  # as if it did not exist
    with slicerhost.interactiveMode(), pytest.raises(install.InstallError, match="Extensions Manager"):
        install.ensurePackages()


def test_a_failing_pip_is_told_with_the_usual_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    FreshSlicer(monkeypatch, ["monai>=1.4"])

    def fail(*_arguments: object, **_options: object) -> None:
        raise subprocess.CalledProcessError(1, "pip")

    monkeypatch.setattr("slicer.packaging.pip_install", fail)
    with slicerhost.interactiveMode(), pytest.raises(install.InstallError, match="proxy"):
        install.ensurePackages()


def test_apply_shows_a_failed_installation_and_a_refusal(
    openModule: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    widget = openModule("XReconSlicer")
    choose(widget, *radiographNodes(chiralChest()))
    FreshSlicer(monkeypatch, [TORCH])
    slicerhost.click(widget.ui.applyButton)
    assert f"Missing Python packages: {TORCH}." in slicerhost.messages.pop()[1]
    FreshSlicer(monkeypatch, [TORCH], answer=False)
    with slicerhost.interactiveMode():
        slicerhost.click(widget.ui.applyButton)
    assert widget.ui.statusLabel.text == "Not started: the packages were not installed."
    assert not widget.jobPanel.isRunning and leftovers() == [] and slicerhost.messages == []
