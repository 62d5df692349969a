"""`slicer.modules`, `slicer.app.moduleManager()`, and opening a scripted module the way Slicer does."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import qt
import slicer
import vtk

_PARENT_ATTRIBUTES = (
    "name",
    "title",
    "path",
    "categories",
    "dependencies",
    "contributors",
    "helpText",
    "acknowledgementText",
    "icon",
    "hidden",
    "index",
    "associatedNodeTypes",
    "widgetRepresentationCreationEnabled",
)


class LoadedModule:
    """`slicer.modules.<name>` of a C++ module."""

    def __init__(self, name: str, logic: vtk.vtkObject | None = None, path: str = "") -> None:
        self.name = name
        self.title = name
        self.path = path
        self._logic = logic

    def logic(self) -> vtk.vtkObject | None:
        return self._logic

    def widgetRepresentation(self) -> qt.QWidget | None:
        return None


class qSlicerScriptedLoadableModule(LoadedModule):
    """`slicer.modules.<name>` of a scripted module, also the `parent` its Python class gets.

    Setting an attribute the C++ class has no property for raises AttributeError.
    """

    def __init__(self, name: str, path: str) -> None:
        super().__init__(name, slicer.vtkSlicerScriptedLoadableModuleLogic(), path)
        self.categories: list[str] = []
        self.dependencies: list[str] = []
        self.contributors: list[str] = []
        self.associatedNodeTypes: list[str] = []
        self.helpText = self.acknowledgementText = ""
        self.icon = qt.QIcon()
        self.hidden = False
        self.index = -1
        self.widgetRepresentationCreationEnabled = True
        self._widget: qt.QWidget | None = None

    def __setattr__(self, name: str, value: object) -> None:
        if not name.startswith("_") and name not in _PARENT_ATTRIBUTES:
            raise AttributeError(f"a scripted module has no property '{name}'")
        super().__setattr__(name, value)

    def widgetRepresentation(self) -> qt.QWidget | None:
        return self._widget


class Modules:
    """`slicer.modules`: modules by lower-case name; `<Name>Instance`, `<Name>Widget` of scripted ones."""


class FactoryManager:
    """`slicer.app.moduleManager().factoryManager()`."""

    def loadedModuleNames(self) -> list[str]:
        return [m.name for m in vars(slicer.modules).values() if isinstance(m, LoadedModule)]

    def isLoaded(self, name: str) -> bool:
        return name in self.loadedModuleNames()


class ModuleManager:
    """`slicer.app.moduleManager()`."""

    def __init__(self) -> None:
        self._factory = FactoryManager()

    def module(self, name: str) -> LoadedModule | None:
        return getattr(slicer.modules, name.lower(), None)

    def modulesNames(self) -> list[str]:
        return self._factory.loadedModuleNames()

    def factoryManager(self) -> FactoryManager:
        return self._factory

    def connect(self, signal: str, slot: object) -> bool:
        if signal != "moduleAboutToBeUnloaded(QString)":
            raise ValueError(f"the module manager has no signal '{signal}' in this host")
        return True

    def disconnect(self, signal: str, slot: object) -> bool:
        return self.connect(signal, slot)


def _importScript(name: str) -> object:
    """Import `<name>.py` from `sys.path` afresh, as Slicer loads it at start."""
    path = next((Path(p) / f"{name}.py" for p in sys.path if (Path(p) / f"{name}.py").is_file()), None)
    if path is None:
        raise RuntimeError(f"no module file {name}.py on sys.path")
    spec = importlib.util.spec_from_file_location(name, path)
    script = importlib.util.module_from_spec(spec)
    sys.modules[name] = script
    spec.loader.exec_module(script)
    return script


def loadModule(name: str) -> qSlicerScriptedLoadableModule:
    """Import and register a scripted module without showing it; its dependencies are loaded first.

    Raises
    ------
    RuntimeError
        when the file is missing, or the module lacks what Slicer's generic module test asks for
    """
    script = sys.modules.get(name) or _importScript(name)
    module = qSlicerScriptedLoadableModule(name, script.__file__)
    setattr(slicer.modules, name.lower(), module)
    setattr(slicer.modules, name + "Instance", getattr(script, name)(module))
    for attribute in ("title", "categories", "contributors", "helpText", "acknowledgementText"):
        if not getattr(module, attribute):
            raise RuntimeError(f"module {name}: parent.{attribute} is empty")
    for dependency in module.dependencies:
        if not hasattr(slicer.modules, dependency.lower()):
            loadModule(dependency)
    slicer.app._emitOnce("startupCompleted()")
    return module


def openModule(name: str) -> object:
    """Load the module if needed, build its panel, enter it; returns the module's widget object (Python).

    The panel itself is `widget.parent` and can be shown, clicked and photographed.
    """
    module = getattr(slicer.modules, name.lower(), None) or loadModule(name)
    script = sys.modules[name]
    panel = slicer.qSlicerScriptedLoadableModuleWidget()
    panel.setLayout(qt.QVBoxLayout())
    panel.layout().setContentsMargins(0, 0, 0, 0)
    panel.setMRMLScene(slicer.mrmlScene)
    panel.objectName = name + "ModuleWidget"
    widget = getattr(script, name + "Widget")(panel)
    panel._python = widget
    module._widget = panel
    setattr(slicer.modules, name + "Widget", widget)
    widget.setup()
    enterModule(name)
    return widget


def enterModule(name: str) -> None:
    """What happens when the user comes (back) to the module."""
    panel = getattr(slicer.modules, name.lower())._widget
    panel._entered = True
    panel._python.enter()


def exitModule(name: str) -> None:
    """What happens when the user goes to another module; the panel stays alive."""
    panel = getattr(slicer.modules, name.lower())._widget
    panel._entered = False
    panel._python.exit()


def closeModule(name: str) -> None:
    """Leave the module and destroy its panel; the module stays registered."""
    widget = getattr(slicer.modules, name + "Widget", None)
    if widget is None:
        return
    exitModule(name)
    widget.cleanup()
    delattr(slicer.modules, name + "Widget")
    module = getattr(slicer.modules, name.lower())
    module._widget = None
    widget.parent.hide()
    widget.parent.deleteLater()
    qt.QApplication.processEvents()


def moduleFolders(root: Path) -> list[str]:
    """Folders below `root` that hold a scripted module: `<Name>/<Name>.py`."""
    return sorted(str(p.parent) for p in root.glob("*/*.py") if p.stem == p.parent.name and os.path.isfile(p))
