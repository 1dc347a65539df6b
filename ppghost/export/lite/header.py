"""What a `.nb` file of Paddle Lite says about itself: read before Lite is given the file.

Lite ends the process on a file that it cannot read, so what can be told from outside is told here. Source of
the layout: Paddle Lite, `lite/model_parser/model_parser.cc` (meta version 2). Imports only the rock.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from pathlib import Path

from ppghost.errors import ArtifactError

META_VERSION = 2
"""The only form of the file that Paddle Lite 2.8 and later write."""
OPT_VERSION = "v2.13-rc"
"""What the converter of `ppghost.environments.LITE` calls itself; a phone's library must be the same."""

_HEADER = struct.Struct("<H16sQ")
_VERSION_PLACE = slice(2, 18)
_VERSION = re.compile(rb"v?\d[0-9A-Za-z.+-]*")


@dataclass(frozen=True)
class NbHeader:
    """The head of a `.nb` file.

    Attributes:
        meta_version: form of the file.
        opt_version: version of the converter, "v2.13-rc".
        topology_bytes: length of the graph; the weights follow it.
    """

    meta_version: int
    opt_version: str
    topology_bytes: int


def read_nb_header(path: Path) -> NbHeader:
    """Return the header of a `.nb` file.

    Raises:
        ArtifactError: the file cannot be read, is empty, cut off, or no `.nb` file of a form that is known.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEADER.size)
            size = path.stat().st_size
    except OSError as error:
        raise ArtifactError(f"The model '{path}' cannot be read: {error.strerror or error}.") from error
    if not head:
        raise ArtifactError(f"'{path}' is empty. {_REMEDY}")
    meta = int.from_bytes(head[:2], "little")
    version = head[_VERSION_PLACE].split(b"\0")[0]
    if meta != META_VERSION and _VERSION.fullmatch(version):
        raise ArtifactError(
            f"'{path}' is a .nb file of form {meta}; Paddle Lite {OPT_VERSION} reads form {META_VERSION}. "
            f"{_REMEDY}"
        )
    if meta != META_VERSION or len(head) > _VERSION_PLACE.stop and not _VERSION.fullmatch(version):
        raise ArtifactError(f"'{path}' is no .nb file of Paddle Lite. {_REMEDY}")
    topology = _HEADER.unpack(head)[2] if len(head) == _HEADER.size else 0
    if not 0 < topology < size - _HEADER.size:
        raise ArtifactError(f"'{path}' was cut off: it has {size} bytes. {_REMEDY}")
    return NbHeader(meta, version.decode(), topology)


def check_opt_version(header: NbHeader, path: Path, engine_version: str = OPT_VERSION) -> None:
    """Make sure that a library of Paddle Lite reads a file.

    Raises:
        ArtifactError: another version converted it.
    """
    if header.opt_version != engine_version:
        raise ArtifactError(
            f"'{path}' was converted by Paddle Lite {header.opt_version}, and {engine_version} is to run it. "
            f"The two must be equal. {_REMEDY}"
        )


def clear_junk(path: Path) -> None:
    """Zero what the converter leaves behind its version: memory of its process, other in each run.

    Without it the same network gives files with different checksums.

    Raises:
        ArtifactError: the file is no `.nb` file.
        OSError: it cannot be written.
    """
    version = read_nb_header(path).opt_version.encode()
    with path.open("r+b") as file:
        file.seek(_VERSION_PLACE.start)
        file.write(version.ljust(_VERSION_PLACE.stop - _VERSION_PLACE.start, b"\0"))


_REMEDY = "Export the network again with: ppghost export --target lite"
