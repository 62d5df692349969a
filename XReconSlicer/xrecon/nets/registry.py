"""Networks by name, and model folders: card.json + weights.safetensors.

The card is the contract of a set of weights: what goes in, what comes out, in which units, made
from which data, how good it measurably is, under which licence. Weights are read only after
their sha256 has been compared with the card's, and only as safetensors, which cannot run code.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import secrets
import tempfile
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from xrecon.nets.card import ModelCard
from xrecon.volume import InputError

if TYPE_CHECKING:
    from torch import nn

MODELS_FOLDER = Path(__file__).resolve().parent.parent / "models"
COSTS = Path(__file__).with_name("costs.json")
CARD_NAME, WEIGHTS_NAME = "card.json", "weights.safetensors"
# Writing a card takes milliseconds.
LOCK_SECONDS = 60.0

# Which file registers which name: files are imported when their model is asked for, so that
# listing models loads no torch.
_HOMES = {
    "x-recon": "xrecon.nets.xrecon_model",
    "x-recon-discriminator": "xrecon.nets.xrecon_model",
    "lifting": "xrecon.nets.lifting",
    "any-view": "xrecon.nets.any_view",
    "pixel-inr": "xrecon.nets.pixel_inr",
    "lungs-unet": "xrecon.nets.lungs_unet",
    "bx2s-net": "xrecon.nets.bx2s",
    "e2e": "xrecon.nets.e2e",
    "ear": "xrecon.nets.ear",
    "mulsisnet": "xrecon.nets.mulsisnet",
    "psr": "xrecon.nets.psr",
    "sit": "xrecon.nets.sit",
    "unet3d": "xrecon.nets.unet3d",
    "view-classifier": "xrecon.nets.view_classifier",
    "x-ctrsnet": "xrecon.nets.xctrsnet",
    "x2ct-cnn": "xrecon.nets.x2ct",
    "x2ct-gan": "xrecon.nets.x2ct",
}
_FACTORIES: dict[str, Callable[..., nn.Module]] = {}


def register_model(name: str) -> Callable[[Callable[..., nn.Module]], Callable[..., nn.Module]]:
    """Class decorator that makes a network available under `name`."""

    def register(factory: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
        if name in _FACTORIES and _FACTORIES[name] is not factory:
            raise ValueError(f"two networks are registered as {name!r}")
        _FACTORIES[name] = factory
        return factory

    return register


def list_models() -> list[str]:
    """Names of all architectures, sorted."""
    return sorted(_HOMES | _FACTORIES)


def stored_costs() -> dict[str, dict[str, Any]]:
    """What each architecture costs with its default options, by name, as `nets.cost` counted it: counting
    takes a minute, reading this no time. `xrecon models --costs` counts anew; a test compares."""
    return json.loads(COSTS.read_text(encoding="utf-8"))


def create_model(name: str, **options: Any) -> nn.Module:
    """A network with fresh weights. Raises InputError for an unknown name or option."""
    if name not in _FACTORIES and name in _HOMES:
        importlib.import_module(_HOMES[name])
    if name not in _FACTORIES:
        raise InputError(f"expected one of the models {list_models()}, got {name!r}")
    try:
        return _FACTORIES[name](**options)
    except TypeError as error:
        raise InputError(f"the model {name!r} does not take these options: {error}") from error


def bundled_models() -> list[str]:
    """Names of the model folders that come with XRecon, sorted."""
    if not MODELS_FOLDER.is_dir():
        return []
    return sorted(p.parent.name for p in MODELS_FOLDER.glob(f"*/{CARD_NAME}"))


def model_folder(model: str | Path) -> Path:
    """The folder of a bundled model's name, a model folder, or a card file.

    Raises InputError naming the bundled models when there is no such folder.
    """
    path = Path(model)
    if path.name == CARD_NAME:
        path = path.parent
    for folder in (path, MODELS_FOLDER / str(model)):
        if (folder / CARD_NAME).is_file():
            return folder
    raise InputError(
        f"expected a model folder with a {CARD_NAME} or one of the bundled models {bundled_models()}, "
        f"got {model}"
    )


def load_card(model: str | Path) -> ModelCard:
    """The card of a bundled model's name or of a model folder.

    Raises InputError when there is none or it does not say what a card must say.
    """
    path = model_folder(model) / CARD_NAME
    try:
        return ModelCard.model_validate_json(path.read_text(encoding="utf-8"))
    except (ValidationError, UnicodeDecodeError) as error:
        raise InputError(f"the model card {path} cannot be used: {error}") from error


def load_model(model: str | Path, device: str = "cpu") -> tuple[nn.Module, ModelCard]:
    """The network of a bundled model or model folder with its weights, in eval mode, and its card.

    Raises InputError when the weights are missing, their sha256 is not the card's, or they do not
    fit the architecture.
    """
    import torch
    from safetensors.torch import load

    folder, card = model_folder(model), load_card(model)
    path = folder / WEIGHTS_NAME
    if not path.is_file():
        raise InputError(f"expected the weights {path} beside the card, found none")
    data = path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    if digest != card.sha256:
        raise InputError(
            f"expected weights with sha256 {card.sha256} as the card of {card.name} says, "
            f"got {digest}: the file {path} is damaged or was exchanged"
        )
    network = create_model(card.architecture, **card.options)
    try:
        state = load(data)
        network.load_state_dict({k: v.to(torch.float32) for k, v in state.items()})
    except Exception as error:  # safetensors and torch raise unrelated types here
        raise InputError(f"the weights {path} do not fit {card.architecture}: {error}") from error
    return network.to(device).eval(), card


def save_model(folder: str | Path, network: nn.Module, card: ModelCard, half: bool = True) -> ModelCard:
    """Writes card and weights into `folder`, each atomically; returns the card with its sha256.

    half: store floating-point weights in 16 bits.
    """
    import torch
    from safetensors.torch import save

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    state = {
        name: (value.half() if half and value.dtype == torch.float32 else value).detach().cpu().contiguous()
        for name, value in network.state_dict().items()
    }
    data = save(state, metadata={"format": "pt"})
    with _writing(folder):
        _replace(folder / WEIGHTS_NAME, data)
        return _write_card(folder, card.model_copy(update={"sha256": hashlib.sha256(data).hexdigest()}))


def record_quality(model: str | Path, name: str, figures: Any) -> ModelCard:
    """Adds measured figures to a model's card under `name`; see `record_qualities`."""
    return record_qualities(model, {name: figures})


def record_qualities(model: str | Path, figures: Mapping[str, Any]) -> ModelCard:
    """Adds entries of measured figures to a model's card, in place of earlier ones of their names, at once.

    Processes that do so at once wait for each other: none loses what another wrote.
    Raises InputError as `load_card`, OSError when the card cannot be written or another process holds it
    for `LOCK_SECONDS`.
    """
    folder = model_folder(model)
    with _writing(folder):
        card = load_card(folder)
        return _write_card(folder, card.model_copy(update={"quality": {**card.quality, **figures}}))


def _writing(folder: Path) -> AbstractContextManager[object]:
    """For changing a card. The lock lies elsewhere: model folders are given to others."""
    from filelock import FileLock

    place = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
    user = os.getuid() if hasattr(os, "getuid") else "user"  # the folder is everybody's but on Windows
    path = Path(tempfile.gettempdir()) / f"xrecon-card-{user}-{place}.lock"
    return FileLock(path, timeout=LOCK_SECONDS)


def _write_card(folder: Path, card: ModelCard) -> ModelCard:
    text = json.dumps(card.model_dump(mode="json"), indent=2) + "\n"
    _replace(folder / CARD_NAME, text.encode())
    return ModelCard.model_validate_json(text)  # as any reader will see it


def _replace(path: Path, data: bytes) -> None:
    # nets lies beside io in the import order, so the two lines of an atomic write stand here too
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
