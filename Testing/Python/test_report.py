"""The HTML report: complete, self-contained, escaped, atomic."""

from __future__ import annotations

import base64
import io
import math
import re
from datetime import UTC, datetime
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image
from xrecon.evaluation.report import (
    Figure,
    ReportData,
    Table,
    format_cell,
    format_fact,
    render_report,
    write_report,
)
from xrecon.volume import InputError

EVIL = "<script>alert('x')</script> & \"quoted\""


class _Page(HTMLParser):
    """Tags, attributes and text of a page; `open_tags` must be empty at the end."""

    VOID = {"meta", "img", "br", "link", "input"}

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags, self.attributes, self.text, self.open_tags = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes.extend(attrs)
        if tag not in self.VOID:
            self.open_tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open_tags.pop() == tag

    def handle_data(self, data):
        if self.open_tags and self.open_tags[-1] != "style":
            self.text.append(data)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


def _full_report(**changes) -> ReportData:
    values = {
        "title": "Chest CT from two radiographs",
        "subject": "phantom 7",
        "summary": "One sentence.",
        "command": "xrecon demo --output out",
        "model": {"name": "lifting-64", "HU window": (-1024, 1476), "spacing (mm)": 5.0},
        "tables": [
            Table(
                "Quality", ["metric", "value (dB)"], [["PSNR", 21.73456], ["SSIM", math.nan]], "range 2500 HU"
            )
        ],
        "figures": [Figure("Slices", "Seen from the feet.", np.arange(12, dtype=np.uint8).reshape(3, 4))],
        "warnings": ["Distances were assumed."],
        "provenance": {"PA": "pa.dcm", "table removed": True},
        "versions": {"xrecon": "0.1"},
        "created": datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC),
    }
    return ReportData(**{**values, **changes})


def test_everything_is_in_it():
    page = _Page(render_report(_full_report()))
    assert page.open_tags == []
    for words in (
        "Chest CT from two radiographs",
        "phantom 7",
        "One sentence.",
        "2025-01-02 03:04 UTC",
        "value (dB)",
        "21.73",
        "range 2500 HU",
        "1. Slices. Seen from the feet.",
        "Distances were assumed.",
        "HU window −1024, 1476",
        "spacing (mm) 5",
        "table removed yes",
        "xrecon demo --output out",
    ):
        assert words in page.words.replace(" .", "."), words


def test_the_notice_comes_first_and_names_the_model():
    words = _Page(render_report(_full_report())).words
    notice = words.index("Research software, not a medical device")
    assert notice < words.index("Chest CT from two radiographs", words.index("Do not use"))
    assert "The reconstruction is synthetic, made by the model lifting-64 . It is computed" in words
    measured = _Page(render_report(_full_report(synthetic=False))).words
    assert "Research software, not a medical device" in measured
    assert "reconstruction is synthetic" not in measured


def test_all_text_is_escaped():
    report = ReportData(
        EVIL,
        EVIL,
        EVIL,
        EVIL,
        {EVIL: EVIL, "name": EVIL},
        [Table(EVIL, [EVIL], [[EVIL]], EVIL)],
        [Figure(EVIL, EVIL, np.zeros((2, 2, 3), np.uint8))],
        [EVIL],
        {EVIL: [EVIL]},
        {EVIL: EVIL},
    )
    text = render_report(report)
    assert "<script" not in text.lower()
    page = _Page(text)
    assert "script" not in page.tags and page.open_tags == []
    assert page.words.count("alert('x')") >= 17
    assert ("alt", EVIL) in page.attributes  # the quotes did not end the attribute


def test_nothing_is_loaded_and_nothing_runs():
    text = render_report(_full_report())
    page = _Page(text)
    assert not {"script", "link", "iframe", "object", "base"} & set(page.tags)
    for name, value in page.attributes:
        assert not name.startswith("on")
        if name in ("src", "href"):
            assert value.startswith("data:image/png;base64,")
    assert not re.search(r"url\(|@import|https?://", text)


def test_pictures_are_whole_pngs():
    pixels = np.random.default_rng(1).integers(0, 256, (17, 23, 3), dtype=np.uint8)
    text = render_report(
        _full_report(figures=[Figure("a", "", pixels), Figure("b", "", Image.fromarray(pixels))])
    )
    found = re.findall(r"data:image/png;base64,([A-Za-z0-9+/=]+)", text)
    assert len(found) == 2
    for encoded in found:
        image = Image.open(io.BytesIO(base64.b64decode(encoded)))
        assert np.array_equal(np.asarray(image), pixels)


def test_a_bare_report_has_no_empty_sections():
    words = _Page(render_report(ReportData("Title"))).words
    for heading in (
        "Results",
        "Figures",
        "Model",
        "Provenance",
        "Command",
        "Warnings",
    ):
        assert heading not in words


def test_writes_a_folder_or_a_file(tmp_path):
    assert (
        write_report(tmp_path / "new" / "folder", _full_report())
        == tmp_path / "new" / "folder" / "report.html"
    )
    named = write_report(tmp_path / "x.html", _full_report())
    assert named.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == ["report.html", "x.html"]


def test_a_bad_figure_leaves_the_old_report(tmp_path):
    path = write_report(tmp_path / "x.html", _full_report())
    before = path.read_bytes()
    for image in (np.zeros((3, 3)), np.zeros((3, 3, 4), np.uint8), "x.png"):
        with pytest.raises(InputError, match="expected a"):
            write_report(path, _full_report(figures=[Figure("bad", "", image)]))
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["x.html"]


def test_a_folder_that_cannot_be_made_is_an_os_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="report.html"):
        write_report(tmp_path / "file" / "below", _full_report())


def test_ragged_tables_are_refused():
    with pytest.raises(InputError, match="2 cells"):
        Table("t", ["a", "b"], [["x"]])


def test_columns_of_numbers_are_flush_right():
    table = Table("t", ["name", "n", "mixed", "nothing"], [["a", 1, 2.0, None], ["b", None, "x", None]])
    assert table.numeric == [False, True, False, False]
    assert Table("t", ["a", "b"], []).numeric == [False, False]


@pytest.mark.parametrize(
    ("value", "cell", "fact"),
    [
        (21.73456, "21.73", "21.73456"),
        (-0.0123456, "−0.01235", "−0.0123456"),
        (123456.7, "123457", "123456.7"),
        (5.0, "5.000", "5"),
        (0.0, "0", "0"),
        (1.5e-7, "1.500e-07", "1.5e-07"),
        (math.nan, "–", "–"),
        (None, "–", "–"),
        (math.inf, "∞", "∞"),
        (-3, "−3", "−3"),
        (np.float32(0.25), "0.2500", "0.25"),
        (np.int16(7), "7", "7"),
        (True, "yes", "yes"),
        ("text", "text", "text"),
    ],
)
def test_numbers_as_text(value, cell, fact):
    assert format_cell(value) == cell
    assert format_fact(value) == fact


def test_nested_facts():
    assert format_fact({"a": [1.0, None], "b": {"c": False}}) == "a: 1, –, b: c: no"
