"""Paddle Lite: a Paddle artifact as `.nb` files for phones, and the Python predictor that proves them.

    header      what a .nb file says about itself, so that a bad one is refused before Lite sees it
    graph       the one rewriting that a graph gets before Lite's converter
    convert     the converter, in a process of its own
    manifest    ppghost.json and the golden files, for programs in C++ and Java
    artifact    the whole export
    predictor   Paddle Lite on this machine, in a process of its own

House: below the doors; never paddle, and Paddle Lite only in processes of its own.
"""

from ppghost.export.lite.artifact import export_lite
from ppghost.export.lite.header import NbHeader, read_nb_header
from ppghost.export.lite.manifest import MANIFEST_FILE, check_manifest
from ppghost.export.lite.predictor import LitePredictor

__all__ = [
    "MANIFEST_FILE",
    "LitePredictor",
    "NbHeader",
    "check_manifest",
    "export_lite",
    "read_nb_header",
]
