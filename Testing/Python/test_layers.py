"""The house rules of the source tree: who imports whom, what is light, how long a file may be."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
BACKEND = REPOSITORY / "XReconSlicer" / "xrecon"
MODULES = ("XReconSlicer", "PTXSeg", "XReconTrainer")
SLICER_FILES = sorted(
    path
    for pattern in (*(f"{module}/*.py" for module in MODULES), "XReconSlicer/XReconSlicerLib/**/*.py")
    for path in REPOSITORY.glob(pattern)
)
BACKEND_FILES = sorted(BACKEND.rglob("*.py"))
SOURCE_FILES = SLICER_FILES + BACKEND_FILES

# Room -> rooms it may import, besides itself. The picture of the architecture, as text.
_LOW = {"volume", "provenance", "io", "physics", "preprocess"}
_MIDDLE = _LOW | {"nets", "evaluation", "pneumothorax"}
MAY_IMPORT = {
    "__init__": set(),
    "volume": set(),
    # what a result was made from, as texts: no files
    "provenance": {"volume"},
    "progress": set(),
    "options": {"volume", "progress"},
    "lifeline": set(),
    # a radiograph is read with its geometry
    "io": {"__init__", "volume", "provenance", "physics.geometry", "physics.poses"},
    "physics": {"volume"},
    "preprocess": {"volume"},
    "nets": {"volume", "physics"},
    "evaluation": _LOW | {"nets"},
    "pneumothorax": {"volume", "physics", "preprocess", "nets"},
    "inference": {"volume", "preprocess", "nets"},
    # stages of a reconstruction that say how far it can be trusted
    "trust": _MIDDLE - {"io"} | {"inference"},
    "pipelines": _MIDDLE - {"io"} | {"inference", "trust"},
    # a reconstruction, calibrated by the pictures, and with all its guards
    "calibrated": _MIDDLE - {"io"} | {"pipelines"},
    "checked": _MIDDLE - {"io"} | {"pipelines", "calibrated"},
    "training": (_MIDDLE | {"__init__"}) - {"pneumothorax.segment"},
    # trained models and methods without training under one call
    "methods": _MIDDLE | {"pipelines"},
    # the command line in parts: what a command does, its options, its progress
    "outcome": {"progress"},
    "drr": _MIDDLE | {"__init__", "training", "progress", "outcome"},
    "trust_measurement": _MIDDLE | {
        "pipelines", "inference", "trust", "training", "progress", "outcome", "drr",
    },  # fmt: skip
    "segmentation_report": _MIDDLE | {"__init__", "pipelines"},
    "reconstruction_report": _MIDDLE | {"__init__", "pipelines", "trust"},
    "export": _MIDDLE | {"outcome", "pipelines"},
    "cli_export": {"progress", "options", "outcome", "export"},
    "given_radiographs": _LOW,
    "commands": _MIDDLE | {
        "export", "given_radiographs", "pipelines", "checked", "training", "progress", "outcome",
        "segmentation_report", "reconstruction_report", "trust",
    },  # fmt: skip
    "tools": _MIDDLE | {"outcome"},
    "scoring": _MIDDLE | {"pipelines", "progress", "outcome"},
    "scoring_lungs": _MIDDLE,
    "vertebrae": _MIDDLE | {"pipelines", "training", "progress", "outcome"},
    "demo": _MIDDLE | {
        "pipelines", "checked", "progress", "outcome", "drr", "commands", "scoring", "demo_report",
    },  # fmt: skip
    "demo_report": _MIDDLE | {"__init__", "demo", "reconstruction_report"},
    "benchmark": _MIDDLE | {
        "__init__", "pipelines", "training", "progress", "outcome", "drr", "scoring", "methods",
    },  # fmt: skip
    # trained models on unseen CTs, and what their cards say of it
    "assessment": _MIDDLE | {
        "__init__", "pipelines", "training", "progress", "outcome", "drr", "scoring", "scoring_lungs",
        "benchmark", "trust_measurement",
    },  # fmt: skip
    "cli_benchmark": {"progress", "options", "outcome", "benchmark"},
    "cli_drr": {"volume", "progress", "options", "outcome", "drr"},
    "cli_tools": {"progress", "options", "outcome", "pipelines", "tools", "commands"},
    "cli_trust": {"progress", "options", "outcome", "trust_measurement", "assessment"},
    "cli_vertebrae": {"progress", "options", "outcome", "commands", "vertebrae"},
    "cli_train": {"progress", "options", "outcome", "commands"},
    "cli_evaluate": {"progress", "options", "outcome", "scoring", "assessment"},
    "cli": {
        "__init__", "volume", "progress", "options", "outcome", "commands", "demo", "pipelines",
        "cli_drr", "cli_benchmark", "cli_evaluate", "cli_export", "cli_tools", "cli_train", "cli_trust",
        "cli_vertebrae", "lifeline",
    },  # fmt: skip
    "__main__": {"cli"},
}
SLICER_MAY_IMPORT = {
    "__init__", "volume", "provenance", "io", "pipelines", "checked", "training.config",
    "training.status", "physics.geometry", "preprocess.appearance", "nets.lungmask_published", "trust.words",
}  # fmt: skip
HEAVY = {"torch", "monai", "skimage", "scipy", "SimpleITK", "pydicom", "cc3d", "edt", "safetensors"}
# Imports under this condition serve annotations and load nothing.
ANNOTATIONS_ONLY = "TYPE_CHECKING"


def imports(path: Path, file_scope_only: bool = False) -> Iterator[str]:
    """Dotted names a file imports anywhere, or only at file scope; annotation-only imports left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in _imports_below(tree, file_scope_only):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif node.level:
            raise AssertionError(f"{path}:{node.lineno}: relative import; write it out from xrecon")
        else:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _imports_below(node: ast.AST, file_scope_only: bool) -> Iterator[ast.Import | ast.ImportFrom]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.Import, ast.ImportFrom)):
            yield child
        elif isinstance(child, ast.If) and ANNOTATIONS_ONLY in ast.unparse(child.test):
            continue
        elif file_scope_only and isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        else:
            yield from _imports_below(child, file_scope_only)


def room_of(path: Path) -> str:
    """"nets" for xrecon/nets/lifting.py, "cli" for xrecon/cli.py."""
    parts = path.relative_to(BACKEND).with_suffix("").parts
    return parts[0]


def is_allowed(name: str, own_room: str, allowed: set[str], forbidden: set[str] = frozenset()) -> bool:
    """Whether a dotted name below `xrecon` may be imported."""
    inner = name.removeprefix("xrecon").lstrip(".") or "__init__"
    room = inner.split(".")[0]
    if not (BACKEND / room).exists() and not (BACKEND / f"{room}.py").exists():
        room = inner = "__init__"  # a name out of xrecon/__init__.py, such as __version__
    if any(inner == f or inner.startswith(f"{f}.") for f in forbidden):
        return False
    return room == own_room or any(inner == a or inner.startswith(f"{a}.") for a in allowed)


def test_the_tree_is_where_it_is_expected():
    assert len(BACKEND_FILES) > 20
    rooms = {room_of(path) for path in BACKEND_FILES}
    assert rooms <= set(MAY_IMPORT), f"rooms without a rule: {sorted(rooms - set(MAY_IMPORT))}"


@pytest.mark.parametrize("path", BACKEND_FILES, ids=lambda p: str(p.relative_to(BACKEND)))
def test_backend_imports_only_downwards(path: Path):
    room = room_of(path)
    forbidden = {"pneumothorax.segment"} if room == "training" else set()
    wrong = [
        name
        for name in imports(path)
        if name.split(".")[0] == "xrecon" and not is_allowed(name, room, MAY_IMPORT[room], forbidden)
    ]
    assert not wrong, f"{room} must not import {wrong}"


@pytest.mark.parametrize("path", BACKEND_FILES, ids=lambda p: str(p.relative_to(BACKEND)))
def test_backend_knows_nothing_of_slicer(path: Path):
    roots = {name.split(".")[0] for name in imports(path)}
    assert not roots & {"slicer", "qt", "ctk", "vtk", "XReconSlicerLib", "PySide6"}


@pytest.mark.parametrize("path", SLICER_FILES, ids=lambda p: str(p.relative_to(REPOSITORY)))
def test_slicer_files_are_light_and_use_the_front_door(path: Path):
    at_load = {name.split(".")[0] for name in imports(path, file_scope_only=True)}
    assert not at_load & HEAVY, f"heavy at file scope: {sorted(at_load & HEAVY)}"
    wrong = [
        name
        for name in imports(path)
        if name.split(".")[0] == "xrecon" and not is_allowed(name, "", SLICER_MAY_IMPORT)
    ]
    assert not wrong, f"Slicer-facing files must not import {wrong}"


@pytest.mark.parametrize("path", SOURCE_FILES, ids=lambda p: str(p.relative_to(REPOSITORY)))
def test_files_are_short_and_clear(path: Path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 400
    assert "utils" not in path.stem
    words = {
        node.id if isinstance(node, ast.Name) else node.arg if isinstance(node, ast.arg) else node.attr
        for node in ast.walk(ast.parse(text))
        if isinstance(node, (ast.Name, ast.arg, ast.Attribute))
    }
    ambiguous = [w for w in words if "sid" in w.lower().split("_") or w.lower() in ("sod", "sdd")]
    assert not ambiguous, f"write source_to_detector_mm or source_to_isocenter_mm, not {ambiguous}"
    unfinished = [mark for mark in ("TODO", "FIXME", "raise NotImplementedError") if mark in text]
    assert not unfinished


def test_files_of_tests_and_benchmarks_are_short():
    long = {
        path.name: lines
        for path in (REPOSITORY / "Testing").rglob("*.py")
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 400
    }
    assert not long


def test_no_file_lies_beside_a_module():
    """Slicer takes every .py at the top of a module's folder for a module of its own."""
    for module in MODULES:
        beside = {path.name for path in (REPOSITORY / module).glob("*.py")}
        assert beside <= {f"{module}.py"}


def test_only_the_command_line_exits():
    for path in SOURCE_FILES:
        if path.name in ("cli.py", "__main__.py"):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        calls = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        assert not calls & {"sys.exit", "exit", "quit", "os._exit"}, path


LIGHT = (
    "xrecon",
    "xrecon.volume",
    "xrecon.io.image",
    "xrecon.io.radiograph",
    "xrecon.io.segmentation",
    "xrecon.physics.geometry",
    "xrecon.physics.poses",
    "xrecon.pipelines",
    "xrecon.training.config",
    "xrecon.training.status",
    "xrecon.cli",
)


@pytest.mark.parametrize("module", LIGHT)
def test_light_modules_load_no_torch(module: str):
    code = f"import sys, {module}; print(sorted({{'torch', 'monai', 'skimage'}} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(BACKEND.parent)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_the_rule_itself_can_fail(tmp_path: Path):
    assert not is_allowed("xrecon.nets.registry", "volume", MAY_IMPORT["volume"])
    segment = "pneumothorax.segment"
    assert not is_allowed(f"xrecon.{segment}.ptx_seg", "training", MAY_IMPORT["training"], {segment})
    assert not is_allowed("xrecon.training.engine", "", SLICER_MAY_IMPORT)
    assert is_allowed("xrecon.training.config.TrainConfig", "", SLICER_MAY_IMPORT)
    sample = tmp_path / "sample.py"
    sample.write_text("import os\ndef f():\n    from xrecon.nets import card\n    import torch\n")
    assert list(imports(sample)) == ["os", "xrecon.nets.card", "torch"]
    assert list(imports(sample, file_scope_only=True)) == ["os"]
