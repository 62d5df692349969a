"""A stand-in for the 3D Slicer application, for tests of scripted modules.

The scene, the nodes and their logics are Slicer's own (slicer-core).  Qt is PySide6 with PythonQt's rules
(`qt`), CTK and MRML widgets are small stand-ins (`ctk`, `slicerhost.qmrml`), and Slicer's Python layer
(`slicer_layer`) is written anew from its documentation.  What this cannot prove: real PythonQt marshalling,
the real widgets' behaviour, packaging.
"""

from __future__ import annotations

from qt._dialogs import ModalDialogError, answer, opened
from qt._errors import qtWarnings, slotErrors

from .application_start import create, interactiveMode, messages, reset
from .modules import closeModule, enterModule, exitModule, loadModule, openModule
from .screens import click, screenshot, wait_until

__all__ = [
    "ModalDialogError",
    "answer",
    "click",
    "closeModule",
    "create",
    "enterModule",
    "exitModule",
    "interactiveMode",
    "loadModule",
    "messages",
    "openModule",
    "opened",
    "qtWarnings",
    "reset",
    "screenshot",
    "slotErrors",
    "wait_until",
]
