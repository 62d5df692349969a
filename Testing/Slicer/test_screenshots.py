"""A picture of each panel in its main states: made by the tests, kept in Resources/Screenshots."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from photographs import SCREENSHOTS, STAMP, STATES, WIDTH, fingerprint, moduleOf, requireContent
from PIL import Image

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
LARGEST_BYTES = 300_000


def photographed() -> dict[str, list[str]]:
    """The tests that photograph each state."""
    found: dict[str, list[str]] = {}
    for path in sorted(HERE.glob("test_*.py")):
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(function, ast.FunctionDef) or not function.name.startswith("test_"):
                continue
            for call in ast.walk(function):
                if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "photograph":
                    state = call.args[1]
                    assert isinstance(state, ast.Constant), f"{path.name}: name the state"
                    found.setdefault(state.value, []).append(f"{path.name}::{function.name}")
    return found


def test_every_state_is_photographed_by_one_test() -> None:
    found = photographed()
    models = {"XReconSlicer-views"}  # the 3D view, saved by the test of the arrangement
    assert set(found) | models == set(STATES)
    assert {state: tests for state, tests in found.items() if len(tests) > 1} == {}
    assert '"XReconSlicer-views"' in (HERE / "test_panel_tools.py").read_text(encoding="utf-8")


def test_the_kept_pictures_are_of_these_states_and_remade_by_the_script() -> None:
    assert {path.stem for path in SCREENSHOTS.iterdir()} == set(STATES)
    script = ast.parse((HERE / "make_screenshots.py").read_text(encoding="utf-8"))
    texts = {node.value for node in ast.walk(script) if isinstance(node, ast.Constant)}
    assert {state for state in STATES if state not in texts} == set()


@pytest.mark.parametrize("state", STATES)
def test_a_kept_picture_shows_the_panel_as_it_is(state: str) -> None:
    path = SCREENSHOTS / f"{state}.png"
    width, height = requireContent(path)
    assert width >= WIDTH and height >= 300 and path.stat().st_size < LARGEST_BYTES
    stamp = Image.open(path).text.get(STAMP)
    remake = f"python Testing/Slicer/make_screenshots.py {moduleOf(state)}"
    assert stamp == fingerprint(moduleOf(state)), f"the panel has changed since: {remake}"


def test_a_blank_picture_and_a_changed_panel_are_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = Image.new("RGB", (480, 640), "#efefef")
    empty.save(tmp_path / "empty.png")
    with pytest.raises(AssertionError, match="blank"):
        requireContent(tmp_path / "empty.png")
    panel = Image.open(SCREENSHOTS / "PTXSeg.png").convert("RGB").crop((0, 0, 480, 320))
    empty.paste(panel)
    empty.save(tmp_path / "half.png")
    with pytest.raises(AssertionError, match="half empty"):
        requireContent(tmp_path / "half.png")
    before = fingerprint("PTXSeg")
    changed = tmp_path / "PTXSeg.ui"
    text = (REPOSITORY / "PTXSeg" / "Resources" / "UI" / "PTXSeg.ui").read_text(encoding="utf-8")
    changed.write_text(text.replace("<string>Apply</string>", "<string>Go</string>"), encoding="utf-8")
    monkeypatch.setattr("used_names.uiFiles", lambda: [changed])
    assert fingerprint("PTXSeg") != before


def test_the_pages_show_kept_pictures_only() -> None:
    pages = [REPOSITORY / "README.md", *(REPOSITORY / "Resources" / "Tutorials").glob("*.md")]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    shown = {part.partition(".png")[0] for part in text.split("Screenshots/")[1:]}
    assert shown <= set(STATES)
    assert {moduleOf(state) for state in shown} == {moduleOf(state) for state in STATES}


def namesOfTests() -> set[str]:
    files = [*HERE.glob("test_*.py"), *(REPOSITORY / "Testing" / "Python").glob("test_*.py")]
    nodes = (node for path in files for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef)}


def test_what_the_page_of_promises_names_is_there() -> None:
    """Each row of `shown.md` names tests and pictures that exist."""
    tests = namesOfTests()
    lines = (HERE / "shown.md").read_text(encoding="utf-8").splitlines()
    rows = [line for line in lines if line.startswith("| ") and not line.startswith("| promise")]
    assert len(rows) > 40
    for row in rows:
        named = row.split("|")[2].split("`")[1::2]
        missing = [n for n in named if n not in tests and n.removesuffix(".png") not in STATES]
        assert named and not missing, f"{row.split('|')[1].strip()}: {missing}"


def test_the_fifteen_complaints_are_answered() -> None:
    page = REPOSITORY / "Resources" / "Tutorials" / "Troubleshooting.md"
    rows = [[cell.strip() for cell in line.split("|")] for line in page.read_text("utf-8").splitlines()]
    rows = [row for row in rows if len(row) > 2 and row[1].isdigit()]
    assert [int(row[1]) for row in rows] == list(range(1, 16)) and all(row[3] for row in rows)
    named = {name for row in rows for name in row[5].split("`")[1::2]}
    assert named - namesOfTests() == set() and sum(bool(row[5]) for row in rows) >= 14
