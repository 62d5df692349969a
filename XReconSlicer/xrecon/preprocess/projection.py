"""CT to projection source: table out, air outside the body, tissue completed beyond the field of view."""

from __future__ import annotations

from xrecon.preprocess.ct import body_mask, remove_table
from xrecon.preprocess.truncation import complete as complete_body
from xrecon.preprocess.truncation import find_truncation
from xrecon.volume import Volume

# Of the body's outline; less than that changes no projection that one could see.
WORTH_TELLING = 0.002


def prepare_for_projection(
    volume: Volume, *, table: bool = True, complete: bool = True
) -> tuple[Volume, list[str]]:
    """The CT as it is to be projected, and warnings for the user, one sentence each.

    table: remove what is not the patient. complete: continue the body where the field of view cuts
    it (see `truncation`); a cut body is told of either way. The grid may grow.
    Raises InputError as `remove_table` does.
    """
    body = body_mask(volume.require_hounsfield())
    truncation = find_truncation(volume, body)
    prepared = remove_table(volume, body) if table else volume
    warnings = []
    if truncation.fraction >= WORTH_TELLING:
        cut = (
            f"the field of view cuts the body in {truncation.slices} of {volume.shape[0]} slices "
            f"({100 * truncation.fraction:.1f} % of its outline)"
        )
        if complete:
            prepared = complete_body(prepared, truncation)
            warnings.append(f"{cut}: {prepared.meta['completed']} of tissue were added beyond it, as a guess")
            if truncation.slices_without_skin:
                warnings.append(
                    f"{truncation.slices_without_skin} slices are cut all around and were not continued: "
                    "projections lack tissue there"
                )
        else:
            warnings.append(f"{cut}: projections lack the tissue beyond it")
    return prepared, warnings
