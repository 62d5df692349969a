"""X-Recon's generator and discriminator once more, composed independently and plainly.

Written as a plain list of operations on a flat dict in the published parameter naming, from the
layer table of the specification; shares no code with `xrecon.nets`, computes the branches that the
published network never uses, and takes instance normalisation literally. Test oracle only.
"""

from __future__ import annotations

import math
import zlib

import torch
from torch.nn import functional as F

State = dict[str, torch.Tensor]

# What each table row says, at 64 base channels.
STAGE_LAYERS = [4, 8, 16, 8, 4]
SKIP_WIDTHS = [16, 16, 32, 64, 128]
VIEW_ORDERS = {"view1Model": (1, 0, 2), "view2Model": (2, 0, 1)}  # which CT axis each view axis is


# -- shapes and weights ------------------------------------------------------------------------
def generator_shapes(side: int, base: int = 64) -> dict[str, tuple[int, ...]]:
    """Published parameter names and shapes, unused layers included."""
    growth = base // 2
    widths = [w * base // 64 for w in SKIP_WIDTHS] + [4 * base]
    shapes: dict[str, tuple[int, ...]] = {}

    def add(name: str, outputs: int, *rest: int, transposed: bool = False) -> None:
        shapes[f"{name}.weight"] = (rest[0], outputs, *rest[1:]) if transposed else (outputs, *rest)
        shapes[f"{name}.bias"] = (outputs,)

    def decoder(prefix: str, inputs_factor: int) -> None:
        add(f"{prefix}decoder_layer4.0.block.block.0", widths[4], widths[5], 3, 3, 3, transposed=True)
        for level in (3, 2, 1, 0):
            wide, narrow = widths[level + 1], widths[level]
            add(f"{prefix}decoder_layer{level}.0", wide, inputs_factor * wide, 3, 3, 3)
            add(f"{prefix}decoder_layer{level}.3", wide, wide, 3, 3, 3)
            add(f"{prefix}decoder_layer{level}.6.block.block.0", narrow, wide, 3, 3, 3, transposed=True)
        add(f"{prefix}decoder_layer-1.0", widths[0], inputs_factor * widths[0], 3, 3, 3)

    for view in VIEW_ORDERS:
        add(f"{view}.encoder_layer.1", base, 1, 7, 7)
        channels = base
        for stage, layers in enumerate(STAGE_LAYERS):
            width = widths[stage]
            add(f"{view}.linker_layer{stage}.0.compress_block.0", width, channels, 1, 1)
            add(f"{view}.linker_layer{stage}.0.conv_block.0", width, width, 3, 3, 3)
            add(f"{view}.encoder_layer{stage}.2", channels, channels, 3, 3)
            for layer in range(layers):
                dense = f"{view}.encoder_layer{stage}.3.conv_block.{layer}"
                add(f"{dense}.conv1", 4 * growth, channels, 1, 1)
                add(f"{dense}.conv2", growth, 4 * growth, 3, 3)
                channels += growth
            if stage < 4:
                add(f"{view}.encoder_layer{stage}.6", channels // 2, channels, 1, 1)
                channels //= 2
        add(f"{view}.base_link.0", (side // 32) ** 3 * widths[5], channels)
        for level in (3, 2, 1, 0, -1):
            width = widths[level + 1]
            add(f"{view}.decoder_compress_layer{level}.0", width, 2 * width, 3, 3, 3)
        decoder(f"{view}.", 1)
        add(f"{view}.decoder_layer.0", 1, widths[0], 7, 7, 7)
    decoder("", 2)
    add("decoder_layer-1.3", widths[0], widths[0], 3, 3, 3)
    for level in (3, 2, 1, 0, -1):
        add(f"tohu_layer{level}.0", 1, 2 * widths[level + 1], 1, 1, 1)
    return shapes


def discriminator_shapes(base: int = 64, channels: int = 6) -> dict[str, tuple[int, ...]]:
    """Layers "0" to "4"; the three in the middle have no bias."""
    widths = [channels, base, 2 * base, 4 * base, 8 * base, 1]
    shapes = {f"{i}.weight": (widths[i + 1], widths[i], 4, 4, 4) for i in range(5)}
    return {**shapes, "0.bias": (base,), "4.bias": (1,)}


def hashed(shapes: dict[str, tuple[int, ...]], seed: int = 0) -> State:
    """Weights that depend on name and seed only: N(0, 2 / fan_in), biases N(0, 0.05^2), float64."""
    state = {}
    for name, shape in shapes.items():
        generator = torch.Generator().manual_seed(zlib.crc32(f"{seed}:{name}".encode()))
        values = torch.randn(shape, generator=generator, dtype=torch.float64)
        if name.endswith(".bias"):
            deviation = 0.05
        elif "block.block" in name:  # transposed: its first dimension holds the inputs
            deviation = math.sqrt(2.0 / (shape[0] * math.prod(shape[2:])))
        else:
            deviation = math.sqrt(2.0 / math.prod(shape[1:]))
        state[name] = deviation * values
    return state


def hashed_images(shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    """Uniform numbers 0..1, float64, that depend on the seed only."""
    generator = torch.Generator().manual_seed(zlib.crc32(f"{seed}:input".encode()))
    return torch.rand(shape, generator=generator, dtype=torch.float64)


# -- operations --------------------------------------------------------------------------------
def norm(x: torch.Tensor) -> torch.Tensor:
    axes = tuple(range(2, x.ndim))
    centred = x - x.mean(dim=axes, keepdim=True)
    return centred / torch.sqrt((centred**2).mean(dim=axes, keepdim=True) + 1e-5)


def conv(state: State, name: str, x: torch.Tensor, **options: object) -> torch.Tensor:
    operation = F.conv2d if x.ndim == 4 else F.conv3d
    return operation(x, state[f"{name}.weight"], state.get(f"{name}.bias"), **options)


def c3(state: State, name: str, x: torch.Tensor) -> torch.Tensor:
    return torch.relu(norm(conv(state, name, x, padding=1)))


def up(state: State, name: str, x: torch.Tensor) -> torch.Tensor:
    weight, bias = state[f"{name}.block.block.0.weight"], state[f"{name}.block.block.0.bias"]
    return torch.relu(norm(F.conv_transpose3d(x, weight, bias, stride=2, padding=1, output_padding=1)))


def leaky(x: torch.Tensor, slope: float = 0.01) -> torch.Tensor:
    return torch.where(x > 0, x, slope * x)


# -- the generator, table row by table row -----------------------------------------------------
def encode(state: State, view: str, image: torch.Tensor) -> tuple[torch.Tensor, dict[int, torch.Tensor]]:
    """The bridge's volume and the lifted skips by j = 0..4, in the view's axis order."""
    x = F.pad(image, (3, 3, 3, 3), mode="reflect")
    x = torch.relu(norm(conv(state, f"{view}.encoder_layer.1", x)))
    skips = {}
    for stage, layers in enumerate(STAGE_LAYERS):
        link = f"{view}.linker_layer{stage}.0"
        flat = torch.relu(norm(conv(state, f"{link}.compress_block.0", x)))
        side = flat.shape[-1]
        repeated = torch.stack([flat] * side, dim=2)
        skips[stage] = c3(state, f"{link}.conv_block.0", repeated)
        x = conv(state, f"{view}.encoder_layer{stage}.2", torch.relu(norm(x)), stride=2, padding=1)
        for layer in range(layers):
            dense = f"{view}.encoder_layer{stage}.3.conv_block.{layer}"
            new = conv(state, f"{dense}.conv1", torch.relu(norm(x)))
            new = conv(state, f"{dense}.conv2", torch.relu(norm(new)), padding=1)
            x = torch.cat([x, new], dim=1)
        if stage < 4:
            x = conv(state, f"{view}.encoder_layer{stage}.6", torch.relu(norm(x)))
    code = x.mean(dim=(2, 3))
    link = torch.relu(code @ state[f"{view}.base_link.0.weight"].T + state[f"{view}.base_link.0.bias"])
    channels = state[f"{view}.decoder_layer4.0.block.block.0.weight"].shape[0]
    side = image.shape[-1] // 32
    return link.reshape(len(image), channels, side, side, side), skips


def to_ct(view: str, x: torch.Tensor) -> torch.Tensor:
    """View order -> CT order: view axis i becomes CT axis order[i]."""
    return torch.movedim(x, (2, 3, 4), tuple(2 + axis for axis in VIEW_ORDERS[view]))


def from_ct(view: str, x: torch.Tensor) -> torch.Tensor:
    return torch.movedim(x, tuple(2 + axis for axis in VIEW_ORDERS[view]), (2, 3, 4))


def generator(state: State, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(b, 2, S, S) -> auxiliary volume of view 1, of view 2, and the fused volume; no dropout."""
    views = list(VIEW_ORDERS)
    branch, skips = {}, {}
    for i, view in enumerate(views):
        branch[view], skips[view] = encode(state, view, images[:, i : i + 1])
    mean = sum(to_ct(view, branch[view]) for view in views) / 2
    main = up(state, "decoder_layer4.0", mean)
    for view in views:
        branch[view] = up(state, f"{view}.decoder_layer4.0", from_ct(view, mean))
    rendered = None
    for level in (3, 2, 1, 0, -1):
        for view in views:
            joint = torch.cat([branch[view], skips[view][level + 1]], dim=1)
            branch[view] = c3(state, f"{view}.decoder_compress_layer{level}.0", joint)
        mean = sum(to_ct(view, branch[view]) for view in views) / 2
        main = torch.cat([mean, main], dim=1)
        head = leaky(conv(state, f"tohu_layer{level}.0", main))
        if rendered is None:
            rendered = head / 2
        else:
            larger = F.interpolate(rendered, scale_factor=2, mode="trilinear", align_corners=False)
            rendered = (larger + head) / 2
        main = c3(state, f"decoder_layer{level}.3", c3(state, f"decoder_layer{level}.0", main))
        for view in views:
            branch[view] = c3(state, f"{view}.decoder_layer{level}.0", from_ct(view, mean))
        if level >= 0:
            main = up(state, f"decoder_layer{level}.6", main)
            for view in views:
                refined = c3(state, f"{view}.decoder_layer{level}.3", branch[view])
                branch[view] = up(state, f"{view}.decoder_layer{level}.6", refined)
    auxiliary = [leaky(conv(state, f"{view}.decoder_layer.0", branch[view], padding=3)) for view in views]
    return auxiliary[0], auxiliary[1], leaky(rendered)


# -- the discriminator -------------------------------------------------------------------------
def discriminator(state: State, volume: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """Volume (b, 1, S, S, S), images (b, 2, S, S) -> scores; coordinates when layer 0 has 6 inputs."""
    side = volume.shape[-1]
    channels = [
        torch.stack([images[:, 0]] * side, dim=2),  # (D, W) along H
        torch.stack([images[:, 1]] * side, dim=3),  # (D, H) along W
        volume[:, 0],
    ]
    if state["0.weight"].shape[1] == 6:
        steps = 2 * torch.arange(side, dtype=volume.dtype) / (side - 1) - 1
        for axis in range(3):
            shape = [side if i == axis else 1 for i in range(3)]
            channels.append(torch.ones_like(volume[:, 0]) * steps.reshape(shape))
    x = leaky(conv(state, "0", torch.stack(channels, dim=1), stride=2, padding=2), 0.2)
    for layer, stride in (("1", 2), ("2", 2), ("3", 1)):
        x = leaky(norm(conv(state, layer, x, stride=stride, padding=2)), 0.2)
    return conv(state, "4", x, padding=2)
