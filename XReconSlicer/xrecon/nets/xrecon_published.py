"""Names of the published X-Recon parameters, so that owners of published weights can use them.

The published state dict calls the frontal branch `view1Model` and the lateral one `view2Model`,
counts decoder levels from 4 (coarsest) to -1 (full size), where we count scales from 5 to 0, and
also holds running statistics of instance normalisations that no correct inference reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch

from xrecon.nets.xrecon_blocks import DENSE_LAYERS
from xrecon.nets.xrecon_generator import COARSEST, XReconGenerator
from xrecon.volume import InputError

BUFFERS = ("running_mean", "running_var", "num_batches_tracked")
LISTED = 10  # names shown of each kind when a state dict does not fit
_VIEWS = {"frontal": "view1Model", "lateral": "view2Model"}


def published_names() -> dict[str, str]:
    """Our parameter name -> published name, for the full network with its unused layers."""
    return {f"{ours}.{kind}": f"{theirs}.{kind}" for ours, theirs in _layers() for kind in ("weight", "bias")}


def load_published_state(generator: XReconGenerator, state: Mapping[str, torch.Tensor]) -> None:
    """Copy a published state dict into `generator`.

    Ignored: running statistics, and the never used layers when the generator was made without
    `dead_branches`. Everything else must be there with the right shape and nothing may be left
    over; else InputError lists what is missing, unknown and of another shape, and the generator
    stays as it was.
    """
    names = published_names()
    own = generator.state_dict()
    given = {name: value for name, value in state.items() if name.rsplit(".", 1)[-1] not in BUFFERS}
    wanted = {names[ours]: ours for ours in own}
    unused = {theirs for ours, theirs in names.items() if ours.startswith("unused.")}
    missing = [theirs for theirs in wanted if theirs not in given]
    unknown = [theirs for theirs in given if theirs not in wanted and theirs not in unused]
    misshapen = [
        f"{theirs} {tuple(given[theirs].shape)} instead of {tuple(own[ours].shape)}"
        for theirs, ours in wanted.items()
        if theirs in given and given[theirs].shape != own[ours].shape
    ]
    if missing or unknown or misshapen:
        raise InputError(
            f"expected the published X-Recon state for side {generator.side}; {_listed('missing', missing)}; "
            f"{_listed('unknown', unknown)}; {_listed('of another shape', misshapen)}"
        )
    generator.load_state_dict({ours: given[theirs] for theirs, ours in wanted.items()})


def _listed(what: str, names: list[str]) -> str:
    more = ", ..." if len(names) > LISTED else ""
    return f"{len(names)} {what} [{', '.join(names[:LISTED])}{more}]"


def _layers() -> Iterator[tuple[str, str]]:
    """(our layer, published layer), in the order the data flows."""
    for ours, theirs in _VIEWS.items():
        yield from ((f"{ours}.{a}", f"{theirs}.{b}") for a, b in _branch_layers())
        yield f"unused.{ours}.0.conv", f"{theirs}.decoder_layer-1.0"
        yield f"unused.{ours}.1", f"{theirs}.decoder_layer.0"
    yield from _rise_layers("fuse_rises")
    for scale in range(COARSEST):
        yield f"heads.{scale}", f"tohu_layer{scale - 1}.0"
    yield "unused.main.0.conv", "decoder_layer-1.0"
    yield "unused.main.1.conv", "decoder_layer-1.3"


def _branch_layers() -> Iterator[tuple[str, str]]:
    yield "encoder.stem", "encoder_layer.1"
    for stage, layers in enumerate(DENSE_LAYERS):
        ours, theirs = f"encoder.stages.{stage}", f"encoder_layer{stage}"
        yield f"{ours}.down", f"{theirs}.2"
        for layer in range(layers):
            yield f"{ours}.layers.{layer}.squeeze", f"{theirs}.3.conv_block.{layer}.conv1"
            yield f"{ours}.layers.{layer}.grow", f"{theirs}.3.conv_block.{layer}.conv2"
        if stage < len(DENSE_LAYERS) - 1:
            yield f"{ours}.compress", f"{theirs}.6"
    yield "bridge.linear", "base_link.0"
    for scale in range(COARSEST):
        yield f"lifts.{scale}.reduce", f"linker_layer{scale}.0.compress_block.0"
        yield f"lifts.{scale}.spread.conv", f"linker_layer{scale}.0.conv_block.0"
        yield f"merges.{scale}.conv", f"decoder_compress_layer{scale - 1}.0"
    yield from _rise_layers("rises")


def _rise_layers(ours: str) -> Iterator[tuple[str, str]]:
    """Refinements and up-sampling from scale + 1 to scale; their level has the number of ours."""
    for scale in range(COARSEST):
        if scale + 1 == COARSEST:
            yield f"{ours}.{scale}.0.conv", f"decoder_layer{scale}.0.block.block.0"
            continue
        yield f"{ours}.{scale}.0.conv", f"decoder_layer{scale}.0"
        yield f"{ours}.{scale}.1.conv", f"decoder_layer{scale}.3"
        yield f"{ours}.{scale}.2.conv", f"decoder_layer{scale}.6.block.block.0"
