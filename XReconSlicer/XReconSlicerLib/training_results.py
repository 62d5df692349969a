"""Figures of a training and of an evaluation: as text, and as a table node."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from XReconSlicerLib.scene import tableToNode


def loadEvaluation(result: Mapping[str, Any]) -> str:
    """The result of `xrecon evaluate` as a table node with a row for each CT; gives a line for the status.

    :raises OSError: when the result's file cannot be read.
    """
    file, model = Path(result["files"]["table"]), result["numbers"]["model"]
    header, *rows = csv.reader(file.read_text(encoding="utf-8").splitlines())
    node = tableToNode(header, rows, _("Evaluation of {model}").format(model=model))
    return _("Evaluated: table '{name}', {file}").format(name=node.GetName(), file=file)
