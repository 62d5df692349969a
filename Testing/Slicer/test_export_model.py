"""Handing a model over: the whole model with the right weights appears, or nothing."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import slicerhost
from xrecon.volume import InputError
from XReconSlicerLib.training import exportModel

WEIGHTS = b"not read, only compared"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "run" / "model"
    folder.mkdir(parents=True)
    card = {"name": "mine", "sha256": hashlib.sha256(WEIGHTS).hexdigest()}
    (folder / "card.json").write_text(json.dumps(card), encoding="utf-8")
    (folder / "weights.safetensors").write_bytes(WEIGHTS)
    return folder


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    folder = tmp_path / "shelf"
    folder.mkdir()
    return folder


def test_card_and_weights_arrive_in_a_folder_of_the_models_name(model: Path, shelf: Path) -> None:
    assert exportModel(model, shelf) == shelf / "mine"
    for name in ("card.json", "weights.safetensors"):
        assert (shelf / "mine" / name).read_bytes() == (model / name).read_bytes()
    assert [path.name for path in shelf.iterdir()] == ["mine"]
    with pytest.raises(InputError, match="already a model"):
        exportModel(model, shelf)


def test_a_failing_copy_leaves_nothing_and_the_next_try_succeeds(
    model: Path, shelf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copyfile = shutil.copyfile

    def fail(source: Path, target: Path) -> None:
        if source.suffix == ".safetensors":
            target.write_bytes(b"half")
            raise OSError(28, "No space left on device")
        copyfile(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfile", fail)
        with pytest.raises(OSError, match="No space left"):
            exportModel(model, shelf)
        with pytest.raises(OSError, match="No space left"):
            exportModel(model, shelf / "new" / "folders")
    assert list(shelf.iterdir()) == []
    exportModel(model, shelf)


@pytest.mark.parametrize(
    "card",
    ["{", "[]", "{}", '{"name": "mine"}', '{"name": "../mine", "sha256": ""}', '{"name": 3, "sha256": ""}'],
)
def test_a_damaged_card_is_named(model: Path, shelf: Path, card: str) -> None:
    (model / "card.json").write_text(card, encoding="utf-8")
    with pytest.raises(InputError, match=r"card\.json"):
        exportModel(model, shelf)
    assert list(shelf.iterdir()) == [] and not (shelf.parent / "mine").exists()


def test_other_weights_than_the_cards_are_refused(model: Path, shelf: Path) -> None:
    (model / "weights.safetensors").write_bytes(WEIGHTS[:-1])
    with pytest.raises(InputError, match="SHA-256"):
        exportModel(model, shelf)
    (model / "weights.safetensors").unlink()
    with pytest.raises(InputError, match=r"weights\.safetensors"):
        exportModel(model, shelf)
    assert list(shelf.iterdir()) == []


def test_the_panel_shows_what_is_wrong_with_the_card(openModule: object, model: Path, shelf: Path) -> None:
    widget = openModule("XReconTrainer")
    (model / "card.json").write_text("{", encoding="utf-8")
    widget.ui.modelFolderEdit.currentPath = str(model)
    slicerhost.answer(str(shelf))
    slicerhost.click(widget.ui.exportButton)
    assert "card.json" in slicerhost.messages.pop()[1]
    assert "card.json" in widget.ui.statusLabel.text and slicerhost.slotErrors == []
