"""Widgets that only carry a scene: qMRMLWidget and its relatives."""

from __future__ import annotations

import qt
import slicer
from ctk import ctkCollapsibleButton
from qt._standins import StandIn, standIn

_SCENE_CHANGED = "mrmlSceneChanged(vtkMRMLScene*)"


class SceneHolder(StandIn):
    """`setMRMLScene` / `mrmlScene`; the signal only where the class declares it."""

    _scene: slicer.vtkMRMLScene | None = None

    def mrmlScene(self) -> slicer.vtkMRMLScene | None:
        return self._scene

    def setMRMLScene(self, scene: slicer.vtkMRMLScene | None) -> None:
        if scene is not None and not scene.IsA("vtkMRMLScene"):
            raise TypeError(f"setMRMLScene takes a vtkMRMLScene, not {scene!r}")
        if scene is not self._scene:
            self._scene = scene
            self._sceneChanged()
            if _SCENE_CHANGED in self._standInSignals():
                self._emit(_SCENE_CHANGED, scene)

    def _sceneChanged(self) -> None:
        """Called after the scene was replaced."""


@standIn
class qMRMLWidget(SceneHolder, qt.QWidget):
    """QWidget with a scene; the top widget of a module's `.ui` file."""

    SIGNALS = (_SCENE_CHANGED,)


@standIn
class qSlicerWidget(SceneHolder, qt.QWidget):
    """QWidget with a scene, from the application's library."""

    SIGNALS = (_SCENE_CHANGED,)


@standIn
class qMRMLCollapsibleButton(SceneHolder, ctkCollapsibleButton):
    """ctkCollapsibleButton with a scene."""

    SIGNALS = (_SCENE_CHANGED,)


@standIn
class qSlicerScriptedLoadableModuleWidget(qSlicerWidget):
    """The C++ panel of a scripted module; `self()` is the module's Python widget."""

    _python: object = None
    _entered = False

    @property
    def isEntered(self) -> bool:
        return self._entered

    def self(*arguments: object) -> object:
        return arguments[0]._python

    def reload(self) -> None:
        """Build the Python widget anew from the (re-imported) module file."""
        import sys

        name = self.objectName.removesuffix("ModuleWidget")
        widget = getattr(sys.modules[name], name + "Widget")(self)
        self._python = widget
        setattr(slicer.modules, name + "Widget", widget)
        widget.setup()
