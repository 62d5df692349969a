"""What a view classifier was measured to do, for its card's page: counts by kind of picture.

The counts are those of `Testing/Benchmarks/view_recognition.py`, under `quality["test"]`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from xrecon.assessment.figures import markdown_line

# Columns of the table: entry of the counts, and what it means.
ANSWERS = {
    "count": "pictures",
    "agree": "seen as what they are said to be",
    "warned": "told to be something else",
    "unusual": "told to be unfamiliar",
    "caught": "either",
    "blocked": "refused",
}


def views_text(test: Mapping[str, Any]) -> Iterator[str]:
    """Paragraphs of Markdown; nothing without counts."""
    rows = {
        kind: counts for kind, counts in test.items() if isinstance(counts, Mapping) and "count" in counts
    }
    if not rows:
        return
    yield f"On {', '.join(test['subjects'])}. {test['how']}"
    lines = [markdown_line(["", *ANSWERS.values()]), markdown_line(["---"] * (len(ANSWERS) + 1))]
    for kind, counts in rows.items():
        lines.append(markdown_line([kind, *(str(counts.get(name, "-")) for name in ANSWERS)]))
    yield "\n".join(lines)
