"""Weight files: fetch published ones, read any, load them into a network.

How far a file can be trusted. PaddleClas publishes no checksum of its weight files, so none can stand on the
cards. A download is therefore checked by what is known (length as announced, format, every key and shape of
the card); its SHA-256 is written beside it, and from then on a file that differs is refused, be it the cached
one or a later download: the first download is trusted, changes are noticed. Where a card does carry a
checksum, that one counts. Reading never executes anything: a weight file is a pickle, and this reader admits
NumPy arrays and plain containers only.

House: may import paddle; never train, export or plugin.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional, Union
from urllib.parse import unquote, urlsplit

import numpy as np
import paddle
from numpy.typing import NDArray
from paddle import nn

from ppghost.cache import cache_dir
from ppghost.errors import WeightsError, suggest
from ppghost.files import replaced_file, sha256_of
from ppghost.unpickle import ArrayUnpickler, ForbiddenPickleError
from ppghost.zoo.card import CARDS, Card, WeightsTag
from ppghost.zoo.download import DownloadError, Patience, Progress, download
from ppghost.zoo.keymaps import KEYMAPS, foreign_origin

logger = logging.getLogger(__name__)

State = dict[str, NDArray[Any]]

_SUFFIX = ".pdparams"
_SCHEMES = ("http://", "https://", "file://")
_BYTES_PER_NUMBER = 4
_PICKLE_MARK = b"\x80"
# Written by paddle.save beside the arrays; says which internal names the parameters had.
_NAME_TABLE = "StructuredToParameterName@@"


@dataclass(frozen=True)
class LoadReport:
    """What `load_weights` did.

    Attributes:
        loaded: keys that were loaded.
        skipped: keys of the classifier that kept their initial values since the file is for other classes.
        missing: keys of the network that the file lacks (empty unless `strict` is off).
        unexpected: keys of the file that the network lacks (likewise).
        mismatched: "key: shape in the file, shape in the network" (likewise).
    """

    loaded: tuple[str, ...]
    skipped: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    mismatched: tuple[str, ...] = ()

    @property
    def problems(self) -> str:
        """What does not fit, in words; empty where everything fits."""
        lists = {"missing": self.missing, "unexpected": self.unexpected, "of another shape": self.mismatched}
        return "; ".join(f"{len(keys)} {word}: {_shortened(keys)}" for word, keys in lists.items() if keys)

    def __str__(self) -> str:
        parts = [f"{len(self.loaded)} arrays loaded"]
        if self.skipped:
            parts.append(
                f"{', '.join(self.skipped)} not loaded: the file is for another number of classes, "
                "the classifier starts from its initial values"
            )
        return "; ".join([*parts, self.problems] if self.problems else parts)


def fetch_weights(
    card: Card,
    tag: Optional[str] = None,
    *,
    progress: Optional[Progress] = None,
    patience: Optional[Patience] = None,
) -> Path:
    """Return the path of a model's published weight file, downloading it where the cache lacks it.

    The cache is the folder `weights` in `ppghost.cache.cache_dir()`. `PPGHOST_MIRROR` is either an address
    that replaces scheme and host (`https://mirror.example`, `file:///mnt/mirror`) or a plain folder; a folder
    may hold the files directly or in the tree of the published addresses.

    Args:
        card: the model.
        tag: which of its weights; None for the first.
        progress: called with bytes so far and bytes in all (None where unknown).
        patience: time-out and number of tries.

    Raises:
        WeightsError: no such tag; not reachable (the message says where to put the file by hand); not a
            weight file of this model; or not the file that was trusted before.
        OutputError: the cache cannot be written.
    """
    weights = card.get_weights(tag)
    destination = cache_dir() / "weights" / weights.file_name
    if destination.is_file():
        try:
            check_weights_file(destination, card, weights)
        except OSError as error:
            raise WeightsError(f"Cannot read {destination}: {error.strerror or error}.") from error
        return destination
    url = _mirrored(weights.url)
    logger.info("Fetching %s from %s to %s", card.name, url, destination)
    try:
        download(
            url,
            destination,
            check=lambda part: check_weights_file(part, card, weights, final=destination),
            progress=progress,
            patience=patience,
        )
    except DownloadError as error:
        raise WeightsError(
            f"Cannot download {url}: {error}. Without a connection, get the file on another machine and put "
            f"it at {destination}; or set PPGHOST_MIRROR to an address or folder that has it; or give the "
            f"path of a file as 'pretrained'."
        ) from error
    _pin(destination)
    return destination


def fetch_url(url: str, *, progress: Optional[Progress] = None, patience: Optional[Patience] = None) -> Path:
    """Return the path of the weight file at any address, downloading it where the cache lacks it.

    The mirror is not consulted; files of equal name from different addresses do not meet in the cache.

    Args:
        url: the address; `https://host/w.pdparams#sha256=HEX` has the file checked, as pip writes it. What
            has another sum is not kept; a file that is in the cache is checked each time.
        progress: called with bytes so far and bytes in all (None where unknown).
        patience: time-out and number of tries.

    Raises:
        WeightsError: not reachable, not a weight file, or not the one with that sum.
        OutputError: the cache cannot be written.
    """
    url, sha256 = _split_checksum(url)

    def check(part: Path) -> None:
        _check_asked_sha256(part, sha256)
        _check_readable(part)

    folder = hashlib.sha256(url.encode()).hexdigest()[:16]
    try:
        name = unquote(urlsplit(url).path).rsplit("/", 1)[-1] or "weights"
    except ValueError as error:
        raise WeightsError(f"'{url}' is no address ({error}). Accepted: https://host/path.") from error
    destination = cache_dir() / "weights" / folder / name
    if not destination.is_file():
        logger.info("Fetching %s to %s", url, destination)
    else:
        _check_asked_sha256(destination, sha256)
    try:
        return download(url, destination, check=check, progress=progress, patience=patience)
    except DownloadError as error:
        raise WeightsError(
            f"Cannot download {url}: {error}. Without a connection, put the file at {destination}, or give "
            "the path of a file as 'pretrained'."
        ) from error


def check_weights_file(path: Path, card: Card, weights: WeightsTag, *, final: Optional[Path] = None) -> None:
    """Check that the file at `path` can be what a card says it is.

    Args:
        path: the file, possibly still in collection.
        card: the model that it should hold.
        weights: which of its weights.
        final: where the file will stand; its trusted checksum stands beside that. None means `path`.

    Raises:
        WeightsError: checksum, length, format, or the number of values differ.
    """
    least_bytes = card.params_with_statistics * _BYTES_PER_NUMBER
    size_bytes = path.stat().st_size
    if weights.size_bytes not in (None, size_bytes):
        raise WeightsError(_bad_file(path, f"{size_bytes} bytes, {weights.size_bytes} are published"))
    _check_format(path)
    if size_bytes < least_bytes:
        raise WeightsError(_bad_file(path, f"{size_bytes} bytes, {card.name} needs at least {least_bytes}"))
    _check_sha256(path, weights, final or path)
    state = read_weights(path)
    if sum(array.size for array in state.values()) != card.params_with_statistics:
        raise WeightsError(_bad_file(path, f"not the weights of {card.name}. {_hint(state)}"))


def read_weights(path: Union[str, os.PathLike[str]]) -> State:
    """Read a `.pdparams` file: a mapping from state-dict key to array.

    Nothing in the file is executed: a pickle that asks for anything but arrays and containers is refused.

    Args:
        path: the file; ".pdparams" may be left out, as in PaddleClas.

    Raises:
        WeightsError: no such file, unreadable, truncated, not a weight file, or one that asks for code.
    """
    file = _existing(Path(path).expanduser())
    try:
        _check_format(file)
        with file.open("rb") as stream:
            content = ArrayUnpickler(stream, encoding="latin1").load()
    except OSError as error:
        raise WeightsError(f"Cannot read {file}: {error.strerror or error}.") from error
    except ForbiddenPickleError as error:
        raise WeightsError(
            f"{file} asks for {error}, which no weight file needs; it was not executed. If you trust the "
            "file, read it yourself and pass the arrays as a mapping."
        ) from error
    except WeightsError:
        raise
    except Exception as error:  # noqa: BLE001 - a damaged pickle may raise anything at all
        raise WeightsError(
            _bad_file(file, f"damaged or cut off ({type(error).__name__}: {error})")
        ) from error
    if not isinstance(content, Mapping):
        raise WeightsError(_bad_file(file, f"holds a {type(content).__name__}, not a mapping of arrays"))
    return {key: _as_array(file, key, value) for key, value in content.items() if key != _NAME_TABLE}


def local_weights(source: Union[str, os.PathLike[str]]) -> Union[str, os.PathLike[str]]:
    """Return a path as it is, and where the weights at an address are once they are fetched.

    Raises as `fetch_url`.
    """
    return fetch_url(source) if isinstance(source, str) and _is_url(source) else source


def load_weights(
    net: nn.Layer,
    source: Union[str, os.PathLike[str], Mapping[str, NDArray[Any]]],
    *,
    classifier: Optional[str] = None,
    keymap: str = "paddleclas",
    strict: bool = True,
) -> LoadReport:
    """Load weights into a network, in place, and say what was loaded.

    Nothing is loaded unless everything fits: after an error the network is as it was.

    Args:
        net: any network.
        source: a file (".pdparams" may be left out) or a mapping from key to array.
        classifier: prefix of the keys that may be of another number of classes, "fc_1"; they then keep
            their initial values and are reported as skipped. None: they must fit like all others.
        keymap: name of the naming scheme of the source, see `ppghost.zoo.keymaps`.
        strict: refuse missing, unexpected and mismatched keys; otherwise load what fits and report the rest.

    Raises:
        WeightsError: the file cannot be read, or does not fit; the message names the model that it fits.
    """
    state = dict(source) if isinstance(source, Mapping) else read_weights(source)
    origin = "Given weights" if isinstance(source, Mapping) else os.fspath(source)
    if keymap not in KEYMAPS:
        raise WeightsError(f"Unknown key map '{keymap}'. {suggest(keymap, KEYMAPS)}")
    state = KEYMAPS[keymap](state)
    own = net.state_dict()
    shapes = {key: tuple(tensor.shape) for key, tensor in own.items()}
    misfits = {key for key in state if key in shapes and not _has_form(state[key], shapes[key])}
    skipped = _classifier_of_other_classes(misfits, shapes, classifier)
    misfits -= skipped
    report = LoadReport(
        loaded=tuple(key for key in shapes if key in state and key not in misfits | skipped),
        skipped=tuple(sorted(skipped)),
        missing=tuple(key for key in shapes if key not in state),
        unexpected=tuple(key for key in state if key not in shapes),
        mismatched=tuple(_describe_misfit(key, state[key], shapes[key]) for key in sorted(misfits)),
    )
    if report.problems and (strict or not report.loaded):
        raise WeightsError(f"{origin}: the weights do not fit. {report.problems}. {_hint(state)}".rstrip())
    for key in report.loaded:
        own[key].set_value(paddle.to_tensor(state[key], dtype=own[key].dtype))
    logger.info("%s: %s", origin, report)
    return report


def _is_url(text: str) -> bool:
    """Say whether `text` is an address that `fetch_url` takes."""
    return text.startswith(_SCHEMES)


def _split_checksum(url: str) -> tuple[str, Optional[str]]:
    """Return the address without its fragment, and the SHA-256 that the fragment asks for."""
    address, mark, fragment = url.partition("#")
    if not mark:
        return url, None
    name, _, digits = fragment.partition("=")
    if name != "sha256" or not re.fullmatch(r"[0-9a-fA-F]{64}", digits):
        raise WeightsError(
            f"'{url}' ends in '#{fragment}'. Accepted behind an address: #sha256= and 64 hexadecimal digits, "
            "as `sha256sum` prints them."
        )
    return address, digits.lower()


def _check_asked_sha256(path: Path, sha256: Optional[str]) -> None:
    actual = sha256_of(path) if sha256 else None
    if actual != sha256:
        raise WeightsError(_bad_file(path, f"SHA-256 is {actual}, but #sha256={sha256} is asked for"))


def _existing(path: Path) -> Path:
    for candidate in (path, path.with_name(path.name + _SUFFIX)):
        if os.path.isfile(candidate):
            return candidate
    raise WeightsError(
        f"No weight file at {path} or {path}{_SUFFIX}. Give the path of a .pdparams file, "
        "with or without its ending."
    )


def _check_readable(path: Path) -> None:
    read_weights(path)


def _check_format(path: Path) -> None:
    with path.open("rb") as stream:
        head = stream.read(256)
    if head.startswith(_PICKLE_MARK):
        return
    if not head:
        raise WeightsError(_bad_file(path, "empty"))
    if head.lstrip()[:1] == b"<":
        raise WeightsError(_bad_file(path, "a web page, perhaps the log-in page of your network or an error"))
    if head.startswith(b"PK"):
        raise WeightsError(_bad_file(path, "a zip archive, perhaps a PyTorch file: load it there first"))
    raise WeightsError(_bad_file(path, f"not a Paddle weight file (it begins with {head[:8]!r})"))


def _check_sha256(path: Path, weights: WeightsTag, final: Path) -> None:
    actual = sha256_of(path)
    if weights.sha256 is not None:
        if actual != weights.sha256:
            raise WeightsError(_bad_file(path, f"SHA-256 is {actual}, published is {weights.sha256}"))
        return
    pin = _pin_file(final)
    trusted = pin.read_text(encoding="ascii").split()[:1] if pin.is_file() else []
    if trusted and trusted[0] != actual:
        raise WeightsError(
            _bad_file(path, f"SHA-256 is {actual}, but at the first download it was {trusted[0]}")
            + f" If the publisher has replaced it and you trust the new one, delete {pin} too."
        )


def _pin(path: Path) -> None:
    """Write the checksum of a trusted file beside it, in the format of sha256sum, unless it stands there."""
    actual = sha256_of(path)
    logger.info("%s has SHA-256 %s", path, actual)
    if not _pin_file(path).is_file():
        with replaced_file(_pin_file(path)) as fresh:
            fresh.write_text(f"{actual}  {path.name}\n", encoding="ascii")


def _pin_file(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def _bad_file(path: Path, finding: str) -> str:
    if path.suffix == ".part":
        return f"What was downloaded is no good and was thrown away: {finding}."
    return (
        f"{path} is no good: {finding}. Delete it if it was downloaded, so that it comes again, or give "
        "another file."
    )


def _mirrored(url: str) -> str:
    mirror = os.environ.get("PPGHOST_MIRROR", "").rstrip("/")
    if not mirror:
        return url
    tree_path = urlsplit(url).path
    if _is_url(mirror):
        return mirror + tree_path
    folder = Path(mirror).expanduser().resolve()
    in_tree = folder / tree_path.lstrip("/")
    return (in_tree if in_tree.is_file() else folder / in_tree.name).as_uri()


def _as_array(file: Path, key: Any, value: Any) -> NDArray[Any]:
    # paddle.save writes a tensor outside of a state dict as (internal name, array).
    array = value[1] if isinstance(value, tuple) and len(value) == 2 else value
    if not isinstance(key, str) or not isinstance(array, (np.ndarray, np.generic)):
        raise WeightsError(
            _bad_file(file, f"entry {key!r} is a {type(value).__name__}, not an array; is it a .pdopt file?")
        )
    return np.asarray(array)


def _has_form(array: NDArray[Any], shape: tuple[int, ...]) -> bool:
    # Integers are refused: bfloat16 comes as uint16 bit patterns, which are no values.
    return array.shape == shape and array.dtype.kind == "f"


def _describe_misfit(key: str, array: NDArray[Any], shape: tuple[int, ...]) -> str:
    return f"{key}: {array.dtype} {list(array.shape)} in the file, float {list(shape)} in the network"


def _shortened(names: tuple[str, ...], most: int = 2) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _classifier_of_other_classes(
    misfits: set[str], shapes: Mapping[str, tuple[int, ...]], classifier: Optional[str]
) -> set[str]:
    """Return all keys of the classifier if any of them is of another shape than in the file."""
    if classifier is None:
        return set()
    keys = {key for key in shapes if key.startswith(f"{classifier}.")}
    return keys if keys & misfits else set()


def _is_of(state: Mapping[str, NDArray[Any]], card: Card) -> bool:
    """Say whether the weights are those of `card` for any number of classes, judged by their count."""
    classifier = f"{card.classifier}."
    matrix = state.get(f"{classifier}weight")
    if matrix is None or matrix.ndim != 2:
        return False
    body = sum(array.size for key, array in state.items() if not key.startswith(classifier))
    return body == card.params_with_statistics - (matrix.shape[0] + 1) * card.class_num


def _hint(state: Mapping[str, NDArray[Any]]) -> str:
    """Return a sentence on what the weights probably are, or nothing."""
    foreign = foreign_origin(state)
    if foreign:
        return foreign
    cards = [card for card in CARDS.values() if _is_of(state, card)]
    if not cards:
        return ""
    class_num = state[f"{cards[0].classifier}.weight"].shape[1]
    return f"These look like weights of {' or '.join(card.name for card in cards)} for {class_num} classes."
