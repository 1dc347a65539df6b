"""Golden files for the Java core: what Python computes, written at test time, compared on the JVM."""

from __future__ import annotations

import hashlib
import io
import json
import statistics
import struct
import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

import numpy as np
from PIL import Image, ImageOps

from ppghost.vision import Labels, Pipeline, softmax, top_k

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
OPT_VERSION = "v2.13-rc"
NAMES = ["ant", "bee", "cat, tabby cat", "dog", "elk", "fox", "山羊"]
SIDE = 32


def write_golden(folder: Path, jpegs: Sequence[Path]) -> None:
    """Write every golden file of the Java tests into `folder`; `jpegs` are real pictures."""
    rng = np.random.default_rng(7)
    model = write_model(folder / "model", rng)
    manifest: dict[str, Any] = {
        "pictures": [_picture(folder, path, number) for number, path in enumerate(jpegs)]
        + [
            _drawn(folder, shape, rng) for shape in ((480, 640), (33, 500), (224, 224), (256, 300), (2000, 7))
        ],
        "scores": _scores(folder, rng),
        "labels": _labels(folder),
        "bad_labels": _bad_labels(folder),
        "orientations": [_orientation(folder, number, rng) for number in range(1, 9)],
        "stats": [_stats(rng.integers(1, 10**8, count).tolist()) for count in (1, 2, 9, 10, 11, 30, 100)],
        "libraries": _libraries(),
        "json": {
            "text": '山羊 "\\/\b\f\n\r\t\x01 🐑',
            "long": 2**63 - 1,
            "double": -1.5e-7,
            "null": None,
            "flags": [True, False],
            "nested": [[], {}, [1, [2.5]]],
        },
        "bad_manifests": BAD_MANIFESTS,
        "good_zips": _good_zips(folder, model),
        "bad_zips": _bad_zips(folder, model),
        "device": [
            ["manufacturer", "Xiaomi"],
            ["model", "Mi 9"],
            ["soc", "SM8150"],
            ["os", "Android 11 (API 30)"],
            ["os_build", None],
            ["abi", "arm64-v8a"],
            ["cpu_count", 2],
            ["page_size_bytes", 4096],
        ],
    }
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


def _picture(folder: Path, path: Path, number: int) -> dict[str, Any]:
    """A real JPEG decoded by Python, and the tensor that ppghost.vision makes of it."""
    pixels = Pipeline.from_list([{"DecodeImage": None}])(path.read_bytes())
    return _tensor_case(folder, f"picture{number}", pixels, 256, 224)


def _drawn(folder: Path, shape: tuple[int, int], rng: np.random.Generator) -> dict[str, Any]:
    """Noise of an awkward shape: thin strips, and the very size that the network wants."""
    pixels = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
    crop = 224 if min(shape) > 7 else 7
    return _tensor_case(folder, f"noise{shape[0]}x{shape[1]}", pixels, 256 if crop == 224 else 9, crop)


def _tensor_case(folder: Path, name: str, pixels: np.ndarray, short: int, crop: int) -> dict[str, Any]:
    pipeline = Pipeline.from_list(
        [
            {"ResizeImage": {"resize_short": short}},
            {"CropImage": {"size": crop}},
            {"NormalizeImage": {"scale": 1 / 255, "mean": MEAN, "std": STD, "order": ""}},
            {"ToCHWImage": None},
        ]
    )
    tensor = np.ascontiguousarray(pipeline.to_chw(pixels), "<f4")
    (folder / f"{name}.rgb").write_bytes(np.ascontiguousarray(pixels).tobytes())
    (folder / f"{name}.f32").write_bytes(tensor.tobytes())
    height, width = pixels.shape[:2]
    facts = {"rgb": f"{name}.rgb", "width": width, "height": height, "tensor": f"{name}.f32"}
    return {**facts, "resize_short": short, "crop": crop, "scale": 1 / 255, "mean": MEAN, "std": STD}


def _scores(folder: Path, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Outputs and Python's best classes, with ties and with fewer classes than asked for."""
    outputs = {
        "logits": rng.normal(0, 4, 1000).astype(np.float32),
        "negative": (rng.normal(0, 1, 1000) - 90).astype(np.float32),
        "ties": np.array([1, 3, 3, 2, 3], np.float32),
        "two": np.array([-1, 2], np.float32),
        "equal": np.zeros(7, np.float32),
    }
    cases = []
    for name, output in outputs.items():
        for has_softmax in (False, True):
            values = softmax(output) if has_softmax else output
            best = top_k(values[None] if has_softmax else softmax(values)[None], 5)[0]
            file = f"{name}-{'prob' if has_softmax else 'logits'}.f32"
            (folder / file).write_bytes(values.astype("<f4").tobytes())
            ids, scores = [one.class_id for one in best], [one.score for one in best]
            cases.append({"output": file, "softmax": has_softmax, "k": 5, "ids": ids, "scores": scores})
    return cases


def _labels(folder: Path) -> list[dict[str, Any]]:
    texts = {
        "plain.txt": b"0 ant\n1 bee, honey bee\n2 cat\n",
        "windows.txt": "\ufeff0 ant\r\n1 bee\r\n\r\n2  cat  \r\n".encode(),
        "gbk.txt": "0 山羊\n1 蜜蜂\n".encode("gbk"),
        "shuffled.txt": b"2 cat\n0 ant\n1 bee",
        "nameless.txt": "0\n1 \n2 \u3000山羊\u3000\n".encode(),
    }
    cases = []
    for name, data in texts.items():
        (folder / name).write_bytes(data)
        labels = Labels.read(folder / name)
        cases.append({"file": name, "names": [labels.name_of(number) for number in range(len(labels))]})
    return cases


def _bad_labels(folder: Path) -> list[dict[str, Any]]:
    texts = {
        "few.txt": (b"0 ant\n1 bee\n", 3, "LABEL_COUNT"),
        "many.txt": (b"0 ant\n1 bee\n2 cat\n", 2, "LABEL_COUNT"),
        "gap.txt": (b"0 ant\n2 cat\n", 2, "LABEL_COUNT"),
        "none.txt": (b"", 2, "LABEL_COUNT"),
        "names.txt": (b"ant\nbee\n", 2, "BAD_LABELS"),
        "twice.txt": (b"0 ant\n0 bee\n", 2, "BAD_LABELS"),
        "negative.txt": (b"-1 ant\n0 bee\n", 2, "BAD_LABELS"),
        "binary.txt": (bytes(range(128, 256)), 2, "LABEL_ENCODING"),
    }
    for name, (data, _, _) in texts.items():
        (folder / name).write_bytes(data)
    return [{"file": name, "count": count, "code": code} for name, (_, count, code) in texts.items()]


def _orientation(folder: Path, number: int, rng: np.random.Generator) -> dict[str, Any]:
    """A JPEG file with an EXIF orientation, big or little endian, and how Pillow turns its pixels."""
    image = Image.fromarray(rng.integers(0, 256, (4, 6, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif.endian = "<" if number % 2 else ">"
    exif[0x010E], exif[0x0112] = "a picture", number
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", exif=exif)
    stored = Image.open(io.BytesIO(buffer.getvalue()))
    upright = ImageOps.exif_transpose(stored)
    (folder / f"exif{number}.jpg").write_bytes(buffer.getvalue())
    (folder / f"stored{number}.rgb").write_bytes(np.asarray(stored).tobytes())
    (folder / f"upright{number}.rgb").write_bytes(np.ascontiguousarray(np.asarray(upright)).tobytes())
    names = {"stored": f"stored{number}.rgb", "upright": f"upright{number}.rgb"}
    return {"jpeg": f"exif{number}.jpg", "orientation": number, **names}


def _stats(times: list[int]) -> dict[str, Any]:
    ranked = sorted(times)
    return {
        "times": times,
        "median": statistics.median(times),
        "average": statistics.fmean(times),
        "p90": ranked[-(-len(times) * 9 // 10) - 1],
        "min": ranked[0],
        "max": ranked[-1],
    }


def load_alignment(data: bytes) -> int:
    """Return the smallest alignment of the LOAD segments of a 64-bit little endian ELF file."""
    offset, size, count = *struct.unpack_from("<Q", data, 32), *struct.unpack_from("<HH", data, 54)
    headers = [struct.unpack_from("<IIQQQQQQ", data, offset + index * size) for index in range(count)]
    return min(header[7] for header in headers if header[0] == 1)


def _libraries() -> list[dict[str, Any]]:
    """Shared libraries of this machine, as far as there are any in the form that Android uses."""
    found = sorted(Path("/lib").glob("*-linux-gnu/libc.so.6")) + sorted(
        Path("/lib").glob("*-linux-gnu/libm.so.6")
    )
    datas = {str(path.resolve()): path.read_bytes() for path in found}
    return [
        {"path": path, "alignment": load_alignment(data)}
        for path, data in datas.items()
        if data[4:6] == b"\2\1"
    ]


def nb_bytes(
    rng: np.random.Generator, layout: int = 2, version: str = OPT_VERSION, size: int = 1000
) -> bytes:
    """Return a file with the header of a Paddle Lite model and noise behind it."""
    header = struct.pack("<H16sQ", layout, version.encode() + b"\0#H\xb6\xff", 60)
    return header + rng.bytes(size - len(header))


def write_model(folder: Path, rng: np.random.Generator) -> Path:
    """Write a model folder as `ppghost export --target lite` does; behind its .nb headers is noise."""
    folder.mkdir(parents=True)
    labels = "".join(f"{number} {name}\n" for number, name in enumerate(NAMES)).encode()
    files = {
        "labels.txt": labels,
        "golden_input.bin": rng.normal(size=3 * SIDE * SIDE).astype("<f4").tobytes(),
        "golden_output.bin": softmax(rng.normal(size=len(NAMES)).astype("<f4")).tobytes(),
        "golden_picture.png": b"not read by the phone",
        "inference.armv8.fp32.nb": nb_bytes(rng),
        "inference.x86.fp32.nb": nb_bytes(rng),
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    manifest = {
        "format": 1,
        "name": "GhostNet_x0_5",
        "version": "5eb3ae0c0fad",
        "graph": "stock",
        "class_num": len(NAMES),
        "topk": 5,
        "input": {"name": "x", "shape": [1, 3, SIDE, SIDE]},
        "output": {"name": "softmax_0.tmp_0", "softmax": True},
        "preprocess": {
            "resize_short": SIDE,
            "crop": SIDE,
            "interpolation": "bilinear",
            "channel_order": "RGB",
            "scale": 1 / 255,
            "mean": MEAN,
            "std": STD,
        },
        "labels": "labels.txt",
        "labels_sha256": digests["labels.txt"],
        "golden": {
            "input": "golden_input.bin",
            "output": "golden_output.bin",
            "picture": "golden_picture.png",
            "input_sha256": digests["golden_input.bin"],
            "output_sha256": digests["golden_output.bin"],
            "picture_sha256": digests["golden_picture.png"],
        },
        "models": [
            {
                "file": f"inference.{arch}.fp32.nb",
                "arch": arch,
                "precision": "fp32",
                "size_bytes": len(files[f"inference.{arch}.fp32.nb"]),
                "sha256": digests[f"inference.{arch}.fp32.nb"],
                "meta_version": 2,
                "opt_version": OPT_VERSION,
                "rtol": 1e-4,
            }
            for arch in ("armv8", "x86")
        ],
    }
    (folder / "ppghost.json").write_text(json.dumps(manifest, indent=2), encoding="utf-8")
    return folder


# What is replaced in a good manifest, and by what.
BAD_MANIFESTS = [
    ['"format": 1', '"format": 2'],
    ['"class_num": 7', '"class_num": 0'],
    ['"class_num": 7', '"class_num": "7"'],
    ['"class_num": 7', '"class_num": 7.5'],
    ['"softmax": true', '"softmax": "true"'],
    ['"bilinear"', '"bicubic"'],
    ['"channel_order": "RGB"', '"channel_order": "GRB"'],
    [f'"crop": {SIDE}', f'"crop": {SIDE + 1}'],
    ["0.229", "0"],
    ["0.456,", ""],
    ['"labels.txt"', '"../labels.txt"'],
    ['"labels.txt"', '"/etc/passwd"'],
    ['"golden_input.bin"', '"a/b"'],
    ['"inference.armv8.fp32.nb"', '".."'],
    ['"inference.armv8.fp32.nb"', '"a\\\\b"'],
    ['"meta_version": 2', '"meta_version": 3'],
    ['"size_bytes": 1000', '"size_bytes": -1'],
    ['"sha256": "', '"sha256": "Z'],
]


def zip_bytes(entries: Sequence[tuple[str, bytes]], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Return a zip archive with exactly these names, whatever they are."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a name that comes twice is meant
        for name, data in entries:
            info = zipfile.ZipInfo("x")
            info.filename = name
            info.compress_type = method
            archive.writestr(info, data)
    return buffer.getvalue()


def _entries(model: Path, prefix: str = "", leave_out: Optional[str] = None) -> list[tuple[str, bytes]]:
    files = sorted(path for path in model.iterdir() if path.name != leave_out)
    return [(prefix + path.name, path.read_bytes()) for path in files]


def _good_zips(folder: Path, model: Path) -> list[str]:
    litter = [("__MACOSX/._ppghost.json", b"?"), ("model/.DS_Store", b"?"), ("model/", b"")]
    archives = {
        "model.zip": zip_bytes(_entries(model)),
        "stored.zip": zip_bytes(_entries(model), zipfile.ZIP_STORED),
        "folder.zip": zip_bytes([*litter, *_entries(model, "model/")]),
        "deep.zip": zip_bytes(_entries(model, "a/b/模型/")),
    }
    for name, data in archives.items():
        (folder / name).write_bytes(data)
    return list(archives)


def _bad_zips(folder: Path, model: Path) -> list[dict[str, str]]:
    good = zip_bytes(_entries(model))
    damaged = bytearray(good)
    damaged[200:260] = bytes(60)
    nb = "inference.armv8.fp32.nb"
    archives = {
        "up.zip": (zip_bytes([*_entries(model), ("../evil.txt", b"x")]), "ZIP_ESCAPE"),
        "deep_up.zip": (zip_bytes([("a/../../evil.txt", b"x"), *_entries(model)]), "ZIP_ESCAPE"),
        "absolute.zip": (zip_bytes([("/tmp/evil.txt", b"x"), *_entries(model)]), "ZIP_ESCAPE"),
        "backslash.zip": (zip_bytes([("..\\evil.txt", b"x"), *_entries(model)]), "ZIP_ESCAPE"),
        "drive.zip": (zip_bytes([("c:evil.txt", b"x"), *_entries(model)]), "ZIP_ESCAPE"),
        "twice.zip": (zip_bytes([*_entries(model), ("labels.txt", b"0 other\n")]), "BAD_ZIP"),
        "many.zip": (zip_bytes([(f"{number}.txt", b"") for number in range(300)]), "ZIP_TOO_LARGE"),
        "bomb.zip": (zip_bytes([("bomb", bytes(20 << 20))]), "ZIP_TOO_LARGE"),
        "cut.zip": (good[: len(good) // 2], "BAD_ZIP"),
        "damaged.zip": (bytes(damaged), "BAD_ZIP"),
        "text.zip": (b"this is no archive at all, only a text", "BAD_ZIP"),
        "empty.zip": (b"", "BAD_ZIP"),
        "nothing.zip": (zip_bytes([]), "BAD_ZIP"),
        "no_manifest.zip": (zip_bytes(_entries(model, leave_out="ppghost.json")), "NO_MANIFEST"),
        "no_model.zip": (zip_bytes(_entries(model, leave_out=nb)), "MISSING_FILE"),
        "manifest_only.zip": (zip_bytes([("ppghost.json", b"{}")]), "BAD_MANIFEST"),
    }
    for name, (data, _) in archives.items():
        (folder / name).write_bytes(data)
    return [{"file": name, "code": code} for name, (_, code) in archives.items()]
