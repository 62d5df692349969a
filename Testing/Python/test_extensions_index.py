"""What the Extensions Index checks before it takes an extension, and what its reviewers ask for.

Repeats scripts/check_description_files.py of the index without its downloads: pictures are looked up in
the repository, where the URLs point.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Annotated, Literal

import pytest
from extension_build import tracked_files
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

ENTRY = Path("Resources", "XRecon.json")
MODULES = ("XReconSlicer", "PTXSeg", "XReconTrainer")
SCHEMA = "https://raw.githubusercontent.com/Slicer/Slicer/main/Schemas/"
SCHEMA += "slicer-extension-catalog-entry-schema-v1.0.2.json#"
# Those of the index's list that could fit; its checker refuses others.
CATEGORIES = ("Tomographic Reconstruction", "Segmentation", "Chest Imaging Platform")
LICENCE_FILES = ("LICENSE", "LICENCE", "License.txt", "license.txt", "LICENSE.txt", "COPYING", "COPYING.txt")
LARGEST_CLONE_BYTES = 100e6  # the index's limit, history included
LARGEST_PICTURE_BYTES = 400e3  # ours: each new version of a picture stays in the history
TIERS = (1, 3, 5)


class CatalogEntry(BaseModel):
    """The index's schema of a catalog entry, version 1.0.2; unknown names are refused."""

    model_config = ConfigDict(extra="forbid", strict=True)
    schema_: Literal[SCHEMA] = Field(alias="$schema")
    category: str
    scm_url: str
    scm_revision: str = "main"
    scm_type: Literal["git", "local"] = "git"
    build_dependencies: list[str] = []
    build_subdirectory: str = "."
    enabled: bool = True
    tier: Annotated[int, Field(ge=1, le=5)] = 1
    dicom_support_rule: str = ""


@pytest.fixture(scope="module")
def entry(repository: Path) -> CatalogEntry:
    return CatalogEntry.model_validate(json.loads((repository / ENTRY).read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def cmake(repository: Path) -> dict[str, str]:
    """The literal values that the index's checker reads with regular expressions."""
    text = (repository / "CMakeLists.txt").read_text(encoding="utf-8")
    values = dict(re.findall(r'set\((EXTENSION_\w+) "([^"]+)"\)', text))
    return {"project": re.search(r"project\((\w+)\)", text).group(1), **values}


def pictures(cmake: dict[str, str]) -> list[str]:
    return [cmake["EXTENSION_ICONURL"], *cmake["EXTENSION_SCREENSHOTURLS"].split()]


# ---- the checks of the index ---------------------------------------------------------------------
def test_the_entry_is_valid_and_written_as_the_index_wants_it(repository: Path, entry: CatalogEntry) -> None:
    raw = (repository / ENTRY).read_bytes()
    assert b"\r" not in raw and raw.endswith(b"}\n")
    assert list(json.loads(raw)) == sorted(json.loads(raw))
    assert entry.category in CATEGORIES and entry.tier in TIERS and entry.enabled
    assert entry.scm_url.startswith("https://") and entry.scm_url.endswith(".git")
    assert entry.build_dependencies == ["PyTorch"]


def test_the_schema_refuses_what_the_index_would(repository: Path) -> None:
    good = json.loads((repository / ENTRY).read_text(encoding="utf-8"))
    for change in ({"homepage": "x"}, {"tier": 6}, {"tier": "1"}, {"scm_type": "svn"}, {"$schema": "v1"}):
        with pytest.raises(ValueError, match="validation error"):
            CatalogEntry.model_validate({**good, **change})
    with pytest.raises(ValueError, match="category"):
        CatalogEntry.model_validate({k: v for k, v in good.items() if k != "category"})


def test_radiographs_are_what_slicer_offers_the_extension_for(entry: CatalogEntry) -> None:
    """The rule is an expression over DICOM names; as Slicer does, it is tried on data sets."""
    names = set(re.findall(r"\b[A-Z]\w+\b(?=\s*(?:==|in))", entry.dicom_support_rule))
    assert names == {"Modality"}
    for modality, wanted in (("DX", True), ("CR", True), ("MR", False), ("MG", False), ("CT", False)):
        assert eval(entry.dicom_support_rule, {"__builtins__": {}}, {"Modality": modality}) is wanted


def test_names_agree(repository: Path, entry: CatalogEntry, cmake: dict[str, str]) -> None:
    assert cmake["project"] == ENTRY.stem and not cmake["project"].lower().startswith("slicer")
    name = entry.scm_url.removesuffix(".git").rpartition("/")[2]
    assert name == f"Slicer{cmake['project']}"  # the index wants repositories to be called so
    assert cmake["EXTENSION_HOMEPAGE"] == entry.scm_url.removesuffix(".git")
    assert cmake["EXTENSION_DEPENDS"].split() == entry.build_dependencies


def test_the_licence_is_in_the_root_and_named_on_the_homepage(
    repository: Path, cmake: dict[str, str]
) -> None:
    assert any((repository / name).is_file() for name in LICENCE_FILES)
    assert (repository / Path(cmake["EXTENSION_LICENSE_FILE"]).name).is_file()
    assert "Apache-2.0" in (repository / "README.md").read_text(encoding="utf-8")


def test_pictures_can_be_had_where_their_addresses_point(repository: Path, cmake: dict[str, str]) -> None:
    base = cmake["EXTENSION_HOMEPAGE"].replace("github.com", "raw.githubusercontent.com") + "/main/"
    tracked = set(tracked_files(repository))
    for url in pictures(cmake):
        path = Path(url.removeprefix(base))
        assert url.startswith(base) and path in tracked, url
        with Image.open(repository / path) as picture:
            assert picture.format in ("PNG", "JPEG", "GIF"), url
    with Image.open(repository / pictures(cmake)[0].removeprefix(base)) as icon:
        assert icon.size == (128, 128)


def test_a_clone_with_its_history_is_small(repository: Path, tmp_path: Path) -> None:
    tracked_files(repository)  # skips outside git
    shallow = subprocess.run(
        ["git", "rev-parse", "--is-shallow-repository"], cwd=repository, capture_output=True, text=True
    )
    if shallow.stdout.strip() == "true":
        pytest.skip("a shallow checkout does not hold the history")
    clone = tmp_path / "clone"
    command = ["git", "clone", "--quiet", "--no-local", "--single-branch", str(repository), str(clone)]
    subprocess.run(command, check=True, capture_output=True)
    size = sum(path.stat().st_size for path in clone.rglob("*") if path.is_file())
    shutil.rmtree(clone)
    assert size < LARGEST_CLONE_BYTES, f"{size / 1e6:.0f} MB"


def test_pictures_are_small_and_no_binary_is_tracked(repository: Path) -> None:
    for path in tracked_files(repository):
        if path.suffix in (".png", ".jpg", ".gif"):
            assert (repository / path).stat().st_size < LARGEST_PICTURE_BYTES, path
        assert path.suffix not in (".exe", ".dll", ".so", ".dylib", ".whl", ".zip", ".dcm"), path
        assert path.suffix not in (".h", ".cxx"), "the index would take the extension for one in C++"


# ---- what reviewers ask for ----------------------------------------------------------------------
def test_the_description_is_one_or_two_sentences_for_anybody(cmake: dict[str, str]) -> None:
    sentences = re.findall(r"[^.]+\.", cmake["EXTENSION_DESCRIPTION"])
    assert 1 <= len(sentences) <= 3 and "not a medical device" in cmake["EXTENSION_DESCRIPTION"]


def test_the_homepage_has_what_the_index_asks_for_in_its_order(repository: Path) -> None:
    """Name and summary, picture, a sentence for each module, tutorial, how to cite, licence, notice."""
    text = (repository / "README.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (.+)$", text, flags=re.MULTILINE)
    asked = ["Modules", "Tutorials", "How to cite", "Licence", "For research only"]
    assert [heading for heading in headings if heading in asked] == asked
    head, _, rest = text.partition("## Modules")
    summary = head.splitlines()[2:]
    assert head.startswith("# XRecon\n") and 1 <= " ".join(summary).count(".") and "![" in head
    modules = rest.partition("\n## ")[0]
    for name in MODULES:
        assert len(re.findall(rf"^\| \[?\*\*{name}\*\*", modules, flags=re.MULTILINE)) == 1
    assert headings[: len(asked)] == asked, "what users ask for comes before what developers ask for"


def documents(repository: Path) -> list[Path]:
    return [path for path in tracked_files(repository) if path.suffix == ".md"]


def test_every_link_and_picture_of_the_documents_is_there(repository: Path) -> None:
    checked = 0
    for document in documents(repository):
        text = (repository / document).read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^)\s#]+)[^)]*\)", text):
            if "://" not in target:
                assert (repository / document.parent / target).exists(), f"{document}: {target}"
                checked += 1
    assert checked > 10


@pytest.mark.parametrize("module", MODULES)
def test_each_module_has_a_tutorial_with_pictures_and_numbers(module: str, repository: Path) -> None:
    text = (repository / "Resources" / "Tutorials" / f"{module}.md").read_text(encoding="utf-8")
    assert len(re.findall(r"^\d+\. ", text, flags=re.MULTILINE)) >= 4, "numbered steps"
    assert re.search(r"!\[[^\]]+\]\(\.\./Screenshots/\w", text), "a picture"
    assert "not a medical device" in " ".join(text.split())
