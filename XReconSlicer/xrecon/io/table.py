"""Tables that users write: CSV files, perhaps saved by a spreadsheet."""

from __future__ import annotations

import csv
from pathlib import Path

from xrecon.volume import InputError


def read_rows(path: str | Path) -> list[dict[str, str]]:
    """The rows of a CSV file under its header, values by column; empty lines are left out.

    The file is UTF-8, with or without a byte order mark. Raises InputError, naming the file, for another
    encoding or for what is no CSV.
    """
    try:
        # spreadsheets put a byte order mark before the first column's name
        with Path(path).open(newline="", encoding="utf-8-sig") as stream:
            return list(csv.DictReader(stream))
    except UnicodeDecodeError as error:
        raise InputError(f"expected {path} in UTF-8, got another encoding: {error}") from error
    except csv.Error as error:
        raise InputError(f"expected a CSV file in {path}: {error}") from error
