"""`slicer.app`: the members of qSlicerApplication that scripts use."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable

import qt
import slicer
from qt._errors import guarded

from .files import CoreIOManager
from .modules import ModuleManager

_SIGNALS = ("startupCompleted()", "aboutToQuit()", "lastWindowClosed()", "mrmlSceneChanged(vtkMRMLScene*)")


class _CommandOptions:
    noMainWindow = True
    verbose = False


class Application:
    """One per process.  Testing mode is on, as under ctest, unless `interactiveMode()` turns it off."""

    applicationName = "Slicer"
    majorVersion, minorVersion = 5, 12
    applicationVersion = "5.12.0"
    documentationBaseUrl = "https://slicer.readthedocs.io/en/latest"
    platform = "linux-amd64"

    def __init__(self) -> None:
        self.temporaryPath = tempfile.mkdtemp(prefix="slicerhost-")
        self.cachePath = os.path.join(self.temporaryPath, "cache")
        self.slicerHome = os.path.join(self.temporaryPath, "home")
        self.defaultScenePath = self.temporaryPath
        atexit.register(shutil.rmtree, self.temporaryPath, ignore_errors=True)
        for folder in (self.cachePath, self.slicerHome):
            os.makedirs(folder)
        self._fileManager = CoreIOManager()
        self._moduleManager = ModuleManager()
        self._testing = True
        self._layoutManager: object = None
        self._slots: dict[str, list[Callable]] = {}

    def mrmlScene(self) -> slicer.vtkMRMLScene:
        return self._scene.mrmlScene

    def applicationLogic(self) -> slicer.vtkSlicerApplicationLogic:
        return self._scene.applicationLogic

    def coreIOManager(self) -> CoreIOManager:
        return self._fileManager

    ioManager = coreIOManager

    def moduleManager(self) -> ModuleManager:
        return self._moduleManager

    def layoutManager(self) -> object:
        """The stand-in of the layout, or None as under `--no-main-window`."""
        return self._layoutManager

    def testingEnabled(self) -> bool:
        return self._testing

    def commandOptions(self) -> _CommandOptions:
        return _CommandOptions()

    def settings(self) -> qt.QSettings:
        return qt.QSettings()

    userSettings = settings

    def startupEnvironment(self) -> qt.QProcessEnvironment:
        return qt.QProcessEnvironment.systemEnvironment()

    def translate(self, context: str, text: str) -> str:
        return text

    def mainWindow(self) -> None:
        return None

    def topLevelWidgets(self) -> list[qt.QWidget]:
        return qt.QApplication.topLevelWidgets()

    def processEvents(self, *flags: object) -> None:
        qt.QApplication.processEvents()

    def setOverrideCursor(self, cursor: object) -> None:
        qt.QApplication.setOverrideCursor(qt.QCursor(cursor))

    def restoreOverrideCursor(self) -> None:
        qt.QApplication.restoreOverrideCursor()

    def pauseRender(self) -> None:
        """No views are rendered on their own here."""

    def resumeRender(self) -> None:
        """See `pauseRender`."""

    def applicationUpdateAvailable(self) -> bool:
        return False

    def moduleDocumentationUrl(self, moduleName: str) -> str:
        return f"{self.documentationBaseUrl}/user_guide/modules/{moduleName.lower()}.html"

    def connect(self, signal: str, slot: Callable) -> bool:
        if signal not in _SIGNALS:
            raise ValueError(f"slicer.app has no signal '{signal}' in this host")
        self._slots.setdefault(signal, []).append(slot)
        return True

    def disconnect(self, signal: str, slot: Callable) -> bool:
        slots = self._slots.get(signal, [])
        if slot in slots:
            slots.remove(slot)
            return True
        return False

    def _emitOnce(self, signal: str) -> None:
        """Call and forget the slots of a signal that Slicer sends once."""
        for slot in self._slots.pop(signal, []):
            guarded(slot, 0)()


def start() -> Application:
    """Create the QApplication and isolate settings in the application's temporary folder."""
    application = Application()
    if qt.QApplication.instance() is None:
        application._qt = qt.QApplication(["Slicer"])
    qt.QCoreApplication.setOrganizationName("slicerhost")
    qt.QCoreApplication.setApplicationName("Slicer")
    qt.QSettings.setDefaultFormat(qt.QSettings.IniFormat)
    for scope in (qt.QSettings.UserScope, qt.QSettings.SystemScope):
        qt.QSettings.setPath(
            qt.QSettings.IniFormat, scope, os.path.join(application.temporaryPath, "settings")
        )
    return application
