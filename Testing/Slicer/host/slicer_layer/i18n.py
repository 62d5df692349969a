"""`slicer.i18n`: translation functions that return the text they are given.

They insist on a plain `str`, because Slicer's translation tools find only texts that stand in the source.
"""

from __future__ import annotations


def tr(text: str) -> str:
    """Text in the user's language; use as `_`."""
    return translate("", text)


def translate(context: str, text: str) -> str:
    """Text of a translation context in the user's language."""
    if not isinstance(context, str) or not isinstance(text, str):
        raise TypeError(f"translation needs two texts, not {context!r} and {text!r}")
    return text
