"""The pictures, options and overrides of a request, checked before any picture is decoded or model loaded."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Mapping, Sequence

import PIL.Image

from ...catalogue import Kind, Store, known_model, known_models, refuse_path
from ...errors import InputError, OptionError
from ...images import files as image_files
from ...images.files import Picture
from ...images.opening import FORMATS
from ...options.per_face import Overrides, check_overrides
from ...options.spec import Scope
from ...options.table import SPECS, Options, specs_in
from ...wording import did_you_mean, shown, with_article
from .. import clients, data_url
from .guard import Limits, RefusedError
from .models import fault_of

_ADDRESS = re.compile(r"(?:https?|ftp|file|s3)://", re.ASCII | re.IGNORECASE)
_FILE_NAMES = ("model", "upscaler")  # options whose value may name a file


def from_base64(text: str, name: str) -> bytes:
    """The bytes that base64 text stands for, with or without a data URL's head. Raises InputError."""
    if _ADDRESS.match(text.strip()[:16]):
        raise InputError(f"{name}: is an address; nothing is fetched, send the picture itself as base64.")
    return data_url.decode(text, name)


def read_pictures(files: Sequence[bytes], names: Sequence[str], limits: Limits) -> list[Picture]:
    """Decode picture files. Their sizes are read from their headers and checked before any pixel is decoded.

    files: the bytes of each. names: what messages call them.

    Raises:
        InputError: not a picture, damaged.
        RefusedError: too many, or too many pixels (413).
        HungUpError: the client has hung up.
    """
    if len(files) > limits.pictures:
        raise RefusedError(413, f"{len(files)} pictures are too many for one request; send at most {limits.pictures}.")
    total = 0.0
    for data, name in zip(files, names, strict=True):
        megapixels = _megapixels(data, name)
        total += megapixels
        if megapixels > limits.megapixels:
            most = f"at most {limits.megapixels:g} are accepted"
            raise RefusedError(413, f"{name}: has {megapixels:.1f} megapixels, {most}; make it smaller.")
        if total > limits.total_megapixels:
            most = f"{limits.total_megapixels:g} megapixels"
            raise RefusedError(413, f"The pictures have more than {most} together; send fewer in one request.")
    pictures = []
    for data, name in zip(files, names, strict=True):
        clients.current().check()
        pictures.append(image_files.from_bytes(data, name))
    return pictures


def _megapixels(data: bytes, name: str) -> float:
    """From the file's header alone; 0 where it cannot be opened, since decoding it will say what is wrong."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)
        try:
            with PIL.Image.open(io.BytesIO(data), formats=FORMATS) as image:
                width, height = image.size
        except PIL.Image.DecompressionBombError as error:
            raise RefusedError(413, f"{name}: has too many pixels; make it smaller first.") from error
        except Exception:  # Pillow's readers raise many kinds of it
            return 0.0
    return width * height / 1e6


def read_options(values: Mapping[str, object] | None, scope: Scope, store: Store) -> Options:
    """The options of a request: only those offered in `scope`, and no paths.

    Raises:
        OptionError: an unknown name, or a value that is not allowed.
        RefusedError: the model is not known (404) or not installed (409).
    """
    offered = [spec.name for spec in specs_in(scope)]
    for name in values or {}:
        if name not in offered:
            near = did_you_mean(str(name), offered)
            raise OptionError(f"There is no option {shown(name)}.{near} The options are {', '.join(offered)}.")
    options = Options.from_mapping(values or {})
    for name in _FILE_NAMES:
        check_model(getattr(options, name), store, name)
    return options


def read_overrides(given: object, pictures: int, single: bool, store: Store) -> list[Overrides] | None:
    """One checked plan for each picture, None where there is none at all. Raises OptionError, RefusedError.

    single: the request has `image`, so that its plan need not be in a list.
    """
    if given is None:
        return None
    if isinstance(given, Mapping):
        if not single and given:
            raise OptionError("overrides: give a list with one object, or null, for each picture of `images`.")
        plans: Sequence[object] = [given] * pictures
    elif isinstance(given, Sequence) and not isinstance(given, str):
        plans = given
    else:
        raise OptionError('overrides: give an object such as {"2": {"visibility": 0.5}}, or a list of them.')
    if len(plans) != pictures:
        raise OptionError(f"overrides: {len(plans)} were given for {pictures} pictures; give one, or null, for each.")
    checked = [check_overrides({} if plan is None else plan) for plan in plans]
    for name in {str(changes["model"]) for plan in checked for changes in plan.values() if "model" in changes}:
        check_model(name, store, "model")
    return checked


def check_model(name: str, store: Store, option: str = "model") -> None:
    """Check that a name is the id of an installed model or the bare name of a file in the model folders.

    Raises OptionError for a path (see `refuse_path`); RefusedError for an unknown name (404), and for a model that is
    not installed, or whose file is damaged or unreadable (409).
    """
    if name == SPECS[option].default:
        return
    refuse_path(name, option)
    kind: Kind = "restorer" if option == "model" else "upscaler"
    inventory = store.scan()
    installed = inventory.installed(kind)
    entry = known_model(name)
    if name in installed or (entry is not None and entry.id in installed):
        return
    if entry is not None:
        if entry.kind != kind:
            raise RefusedError(422, f"{option}: {entry.id} is {with_article(entry.kind)}, not {with_article(kind)}.")
        how = f"POST models/{entry.id}/download gets it, once its licence is accepted"
        misfit = inventory.misfits(kind).get(entry.id)
        if misfit is not None:
            raise RefusedError(409, f"{option}: {entry.id}: {fault_of(misfit)} First move that file away; then {how}.")
        raise RefusedError(409, " ".join([f"{option}: {entry.id} is not installed; {how}.", *inventory.closed]))
    files = [file.path for file in inventory.files]
    if any(name in (path.name, path.stem) for path in files):
        return
    ids = list(dict.fromkeys([*installed, *(path.name for path in files)]))
    near = did_you_mean(name, [*(entry.id for entry in known_models(kind)), *ids])
    told = f"{option}: {shown(name)} is not known.{near} Installed: {', '.join(ids) or 'none'}."
    raise RefusedError(404, " ".join([told, *inventory.closed]))


def file_name(name: str | None, number: int) -> str:
    """What messages call an uploaded file: its bare name, printable characters only, or "image {number}"."""
    bare = re.split(r"[/\\]", name or "")[-1]
    return "".join(sign for sign in bare if sign.isprintable())[:80] or f"image {number}"
