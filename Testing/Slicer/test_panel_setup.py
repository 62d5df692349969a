"""What a panel needs when it is set up late, and what it leaves when setting it up fails."""

from __future__ import annotations

import pytest
import slicer
import slicerhost
from XReconSlicerLib import install, panel, terminology

MODULES = ("XReconSlicer", "PTXSeg", "XReconTrainer")


class ForgetfulLogic:
    """Slicer's terminologies before the extension's own was loaded."""

    def __init__(self) -> None:
        self.loaded: list[str] = []

    def logic(self) -> ForgetfulLogic:
        return self

    def IsTerminologyContextLoaded(self, name: str) -> bool:
        return name == terminology.CONTEXT and bool(self.loaded)

    def LoadTerminologyFromFile(self, path: str) -> bool:
        self.loaded.append(path)
        return True


@pytest.mark.parametrize("name", ["XReconSlicer", "PTXSeg"])
def test_the_terminology_is_there_when_slicer_had_started_before(
    name: str, openModule: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An extension installed into a running Slicer never sees `startupCompleted`."""
    slicerhost.loadModule(name)
    forgetful = ForgetfulLogic()
    monkeypatch.setattr(slicer.modules, "terminologies", forgetful)
    openModule(name)
    assert forgetful.loaded == [str(terminology.FILE)] and terminology.FILE.is_file()
    terminology.loadTerminology()
    assert len(forgetful.loaded) == 1


@pytest.mark.parametrize("name", MODULES)
def test_a_panel_whose_setup_failed_can_be_closed(
    name: str, openModule: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_ui: object) -> None:
        raise RuntimeError("a widget is missing")

    monkeypatch.setattr(panel, "JobPanel", fail)
    with pytest.raises(RuntimeError, match="a widget is missing"):
        openModule(name)
    widget = getattr(slicer.modules, f"{name}Widget")
    widget.cleanup()
    assert widget.Observations == []


@pytest.mark.parametrize(("name", "call"), [("XReconSlicer", "reconstruct"), ("PTXSeg", "segment")])
def test_the_console_says_which_packages_are_missing(
    name: str, call: str, openModule: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install, "missingPackages", lambda: ["torch", "monai>=1.4"])
    logic, nodes = openModule(name).logic, [None, None] if call == "reconstruct" else [None]
    with pytest.raises(install.InstallError, match=r"Missing Python packages: torch, monai>=1\.4"):
        getattr(logic, call)(*nodes)
