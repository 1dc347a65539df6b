"""Quantisation: ranges, steps and levels against NumPy, the shipped folder, its rule, and what is refused."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_onnx import message, node, tensor, value_info

from ppghost.artifact import Artifact, Facts, Golden, ModelFile, read_artifact, write_artifact
from ppghost.cli import main
from ppghost.cli.commands import build_parser
from ppghost.cli.quantization_report import words_of
from ppghost.environments import ONNX_QUANTIZER, ONNXRUNTIME, is_made
from ppghost.errors import ArtifactError, ConfigError, DataError, VerificationError
from ppghost.export.inside import clipping
from ppghost.export.quantize import (
    Candidate,
    QuantizeOptions,
    check_source,
    prepare_rows,
    quantise,
    ship,
)
from ppghost.export.target import load_target
from ppghost.export.verify import compare_int8, verify_folder
from ppghost.predict import Classifier
from ppghost.vision import Pipeline

SIDE, CLASSES = 12, 10
needs_quantizer = pytest.mark.skipif(
    not is_made(ONNX_QUANTIZER)
    or not (is_made(ONNXRUNTIME) or importlib.util.find_spec("onnxruntime") is not None),
    reason="The quantiser is not here. To get it: python -c 'from ppghost import environments as e; "
    "e.ensure_environment(e.ONNX_QUANTIZER); e.ensure_environment(e.ONNXRUNTIME)'",
)


def weights() -> dict[str, np.ndarray]:
    rng = np.random.RandomState(3)
    shapes = {"w0": (8, 3, 3, 3), "w1": (64, 8, 3, 3), "w2": (64, 64, 1, 1), "w3": (64, CLASSES)}
    found = {name: rng.randn(*shape).astype(np.float32) * 0.2 for name, shape in shapes.items()}
    biases = {"b0": 8, "b1": 64, "b2": 64, "b3": CLASSES}
    return found | {name: rng.randn(size).astype(np.float32) * 0.1 for name, size in biases.items()}


def toy_onnx() -> bytes:
    """Return three convs, a global average and a linear layer, which gives logits."""
    graph = message(
        (1, node("Conv", ["x", "w0", "b0"], "c0")),
        (1, node("Relu", ["c0"], "r0")),
        (1, node("Conv", ["r0", "w1", "b1"], "c1")),
        (1, node("Relu", ["c1"], "r1")),
        (1, node("Conv", ["r1", "w2", "b2"], "c2")),
        (1, node("GlobalAveragePool", ["c2"], "p")),
        (1, node("Flatten", ["p"], "f")),
        (1, node("Gemm", ["f", "w3", "b3"], "logits")),
        (2, "toy"),
        *((5, tensor(name, value)) for name, value in weights().items()),
        (11, value_info("x", ["batch", 3, SIDE, SIDE])),
        (12, value_info("logits", ["batch", CLASSES])),
    )
    return message((1, 6), (2, "by hand"), (7, graph), (8, message((1, ""), (2, 11))))


def conv(images: np.ndarray, kernels: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Return a convolution without padding, in float64."""
    size = kernels.shape[2]
    windows = np.lib.stride_tricks.sliding_window_view(images.astype(np.float64), (size, size), (2, 3))
    return np.einsum("nchwij,ocij->nohw", windows, kernels) + bias[:, None, None]


def values_of(images: np.ndarray) -> dict[str, np.ndarray]:
    """Return every value of the toy."""
    w = weights()
    r0 = np.maximum(conv(images, w["w0"], w["b0"]), 0)
    r1 = np.maximum(conv(r0, w["w1"], w["b1"]), 0)
    c2 = conv(r1, w["w2"], w["b2"])
    return {"r0": r0, "r1": r1, "c2": c2, "logits": c2.mean((2, 3)) @ w["w3"] + w["b3"]}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    folder = tmp_path_factory.mktemp("toy") / "onnx"
    folder.mkdir()
    (folder / "inference.onnx").write_bytes(toy_onnx())
    facts = Facts(
        schema=1,
        target="onnx",
        name="Toy",
        version="0" * 12,
        input_shape=(3, SIDE, SIDE),
        class_num=CLASSES,
        output="logits",
        models=(ModelFile("onnx", "inference.onnx", None, "x", "logits"),),
        tools={},
    )
    ops = [
        {"ResizeImage": {"size": [SIDE, SIDE]}},
        {"NormalizeImage": {"scale": 1 / 255, "order": ""}},
        {"ToCHWImage": None},
    ]
    pipeline = Pipeline.from_list([{"DecodeImage": {}}, *ops])
    rng = np.random.RandomState(5)
    picture = cv2.imencode(".png", rng.randint(0, 256, (SIDE, SIDE, 3), np.uint8))[1].tobytes()
    rows, row = rng.randn(2, 3, SIDE, SIDE).astype(np.float32), pipeline.to_chw(picture)
    logits, of_row = (values_of(each)["logits"].astype(np.float32) for each in (rows, row[np.newaxis]))
    golden = Golden(rows, logits, picture, row, of_row[0])
    return write_artifact(Artifact(folder, facts, pipeline), golden)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.RandomState(9)
    names = [f"{number:02d}.png" for number in range(12)]
    for name in names:
        cv2.imwrite(str(folder / name), rng.randint(0, 256, (20, 16, 3)).astype(np.uint8))
    lines = [f"{name} {number % CLASSES}\n" for number, name in enumerate(names)]
    (folder / "list.txt").write_text("".join(lines), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def made(source: Artifact, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder with `int8`, `report` and the figures of all four calibrations."""
    folder = tmp_path_factory.mktemp("made")
    words = ["--data", str(photos), "--eval-data", str(photos / "list.txt"), "--batch-size", "4"]
    words += ["--batch-num", "3", "--sensitivity", "4", "--report", str(folder / "report")]
    assert main(["quantize", "--artifact", str(source.folder), *words, "--output", str(folder / "int8")]) == 0
    return folder


@pytest.fixture(scope="module")
def rows(source: Artifact, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rows") / "rows.npy"
    prepare_rows(source, sorted(photos.glob("*.png")), 12, path, seed=1)
    return path


def in_quantizer(program: str, *words: str) -> Any:
    """Return what a program of the quantiser's environment prints as JSON."""
    python = ONNX_QUANTIZER.folder / "bin" / "python"
    done = subprocess.run([str(python), "-c", program, *words], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def steps(
    source: Artifact, rows: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, np.ndarray]]:
    """Return the constants of the toy quantised by each method, the first conv and the classifier kept."""
    program = (
        "import json, onnx, sys; from onnx import numpy_helper as n; print(json.dumps({p: {t.name: "
        "n.to_array(t).tolist() for t in onnx.load(p).graph.initializer} for p in sys.argv[1:]}))"
    )
    folder = tmp_path_factory.mktemp("steps")
    options = QuantizeOptions(("minmax", "mse", "percentile"), 90.0, ("first", "classifier"), sensitivity=0)
    made = quantise(source, rows, folder, options)
    models = {str(each.model): each.method for each in made.candidates}
    found = in_quantizer(program, *models)
    return {models[path]: {name: np.array(v) for name, v in each.items()} for path, each in found.items()}


Steps = dict[str, dict[str, np.ndarray]]


@needs_quantizer
def test_min_max_steps_are_those_of_the_values(steps: Steps, rows: Path) -> None:
    values = values_of(np.load(rows))
    for name in ("r0", "r1", "c2"):
        low, high = min(values[name].min(), 0.0), max(values[name].max(), 0.0)
        scale = (high - low) / 255
        assert steps["minmax"][f"{name}.scale"] == pytest.approx(scale, rel=1e-5)
        assert steps["minmax"][f"{name}.zero"] == round(-low / scale)


@needs_quantizer
def test_weights_are_symmetric_with_a_scale_for_each_channel(steps: Steps) -> None:
    found, w1 = steps["minmax"], weights()["w1"]
    scale = np.abs(w1).max((1, 2, 3)) / 127
    np.testing.assert_allclose(found["w1.scale"], scale, rtol=1e-5)
    assert "w1.zero" not in found, "zero points of 0 need not be written"
    assert np.abs(found["w1.int8"] - np.rint(w1 / scale[:, None, None, None])).max() <= 1
    assert np.array_equal(found["w0"].astype(np.float32), weights()["w0"]), "the first conv stays as it is"


def weighted_counts(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return what the quantiser counts of a value that is never below 0, and the bins' edges."""
    end = values.max()
    bins = np.linspace(-end, end, 4097)
    return sum(np.histogram(one, bins)[0] / np.mean(one**2) for one in values), bins


@needs_quantizer
def test_percentile_steps_weigh_each_picture_by_its_own_values(steps: Steps, rows: Path) -> None:
    counts, edges = weighted_counts(values_of(np.load(rows))["r1"])
    above = 1 - np.cumsum(counts) / counts.sum()
    end = edges[1:][above <= 0.05][0]
    assert steps["percentile"]["r1.scale"] * 255 == pytest.approx(end, rel=2e-3)


@needs_quantizer
def test_least_squares_steps_weigh_each_picture_by_its_own_values(steps: Steps, rows: Path) -> None:
    counts, edges = weighted_counts(values_of(np.load(rows))["r1"])
    middles = (edges[:-1] + edges[1:]) / 2
    tried = clipping.SHARES * edges[-1]
    errors = []
    for high in tried:
        step = high / 255
        errors.append((counts * (middles - np.clip(np.rint(middles / step), 0, 255) * step) ** 2).sum())
    assert steps["mse"]["r1.zero"] == 0
    assert steps["mse"]["r1.scale"] == pytest.approx(tried[np.argmin(errors)] / 255, rel=1e-3)


WILD = """
import json, sys, types
package = types.ModuleType("inside"); package.__path__ = [sys.argv[1]]; sys.modules["inside"] = package
import numpy as np
from inside.ranges import Histograms, coarse, percentile_range
rng = np.random.RandomState(0)
rows = [rng.randn(500).astype(np.float32) for _ in range(99)] + [1000 * rng.randn(500).astype(np.float32)]
wild = Histograms({"v": (-4000.0, 4000.0)})
for row in rows:
    wild.collect({"v": [row[np.newaxis]]})
fine = coarse(wild.weighted["v"], wild.edges["v"])[1]
print(json.dumps([percentile_range(wild.weighted["v"], wild.edges["v"], 0.999), len(fine), float(fine[-1])]))
"""


@needs_quantizer
def test_one_wild_picture_of_a_hundred_does_not_make_the_range() -> None:
    inside = str(Path(clipping.__file__).parent)
    (low, high), edges, end = in_quantizer(WILD, inside)
    assert -12 < low < -2 < 2 < high < 12, "the others reach to about 4, and a bin is 2 wide"
    assert edges == 513
    assert end < 1000


FOLDED = """
import json, sys, types
package = types.ModuleType("inside"); package.__path__ = [sys.argv[1]]; sys.modules["inside"] = package
import numpy as np, onnx
from onnx import helper as h, numpy_helper as n
from inside.int8_graph import fold_batch_norms
from inside.int8_job import run
rng = np.random.RandomState(0)
positive = lambda *shape: np.abs(rng.randn(*shape)).astype(np.float32) + np.float32(0.1)
values = {"w": positive(5, 3, 3, 3), "b": positive(5), "w2": positive(4, 5, 1, 1)}
for end, size in (("", 5), ("2", 4)):
    values.update({name + end: positive(size) for name in "somv"})
nodes = [
    h.make_node("Conv", ["x", "w", "b"], ["c"]),
    h.make_node("BatchNormalization", ["c", "s", "o", "m", "v"], ["d"], epsilon=0.01),
    h.make_node("Conv", ["d", "w2"], ["e"]),
    h.make_node("BatchNormalization", ["e", "s2", "o2", "m2", "v2"], ["f"]),
    h.make_node("GlobalAveragePool", ["f"], ["g"]),
    h.make_node("Flatten", ["g"], ["y"]),
]
ends = [[h.make_tensor_value_info(k, 1, s)] for k, s in (("x", [2, 3, 6, 6]), ("y", [2, 4]))]
graph = h.make_graph(nodes, "toy", *ends, [n.from_array(value, name) for name, value in values.items()])
model = h.make_model(graph, opset_imports=[h.make_opsetid("", 13)], ir_version=8)
images = rng.randn(2, 3, 6, 6).astype(np.float32)
before = run(model, images, 1)
fold_batch_norms(model)
onnx.checker.check_model(model, full_check=True)
error = np.abs(run(model, images, 1) / before - 1).max()
print(json.dumps([[node.op_type for node in model.graph.node], float(error)]))
"""


@needs_quantizer
def test_batch_norms_are_folded_into_the_convs_before_them() -> None:
    kinds, error = in_quantizer(FOLDED, str(Path(clipping.__file__).parent))
    assert kinds == ["Conv", "Conv", "GlobalAveragePool", "Flatten"]
    assert error < 1e-4


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-50, 50), min_size=1, max_size=60), st.integers(2, 60))
def test_the_range_of_least_error_is_never_worse_than_the_whole_and_has_zero(
    numbers: list[float], bins: int
) -> None:
    end = max(np.abs(numbers).max(), 1e-3)
    counts, edges = np.histogram(numbers, bins, range=(-end, end))
    low, high = clipping.least_squares_range(counts, edges)
    middles = (edges[:-1] + edges[1:]) / 2
    used = np.flatnonzero(counts)
    whole = min(edges[used[0]], 0.0), max(edges[used[-1] + 1], 0.0)
    assert whole[0] <= low <= 0 <= high <= whole[1]
    best, wide = (clipping.squared_error(middles, counts, *ends) for ends in ((low, high), whole))
    assert best <= wide * (1 + 1e-9)


def test_nothing_counted_needs_no_range() -> None:
    assert clipping.least_squares_range(np.zeros(4), np.linspace(-1, 1, 5)) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("ends", "expected"),
    [((-1.0, 1.55), (0.01, 100)), ((0.0, 2.55), (0.01, 0)), ((1.0, 2.55), (0.01, 0)), ((0.0, 0.0), (1.0, 0))],
)
def test_scale_and_zero_point(ends: tuple[float, float], expected: tuple[float, int]) -> None:
    scale, zero = clipping.scale_and_zero_point(*ends)
    assert (scale, zero) == (pytest.approx(expected[0]), expected[1])


@needs_quantizer
def test_the_shipped_folder_answers_verifies_and_tells_what_it_is(made: Path, photos: Path) -> None:
    artifact = read_artifact(made / "int8")
    assert artifact.facts.precision == "int8"
    report = verify_folder(made / "int8")
    assert report.passed
    assert (report.atol, report.rtol) == (None, None)
    assert "cosine" in str(report.rule)
    with Classifier.from_artifact(made / "int8") as classifier:
        assert len(classifier.classify_one(photos / "00.png")) == 5


@needs_quantizer
def test_the_report_has_every_calibration_and_claims_what_was_measured(made: Path) -> None:
    report = json.loads((made / "report" / "report.json").read_text(encoding="utf-8"))
    assert set(report["int8"]) == {"minmax", "percentile", "kl", "mse"}
    for facts in (report["fp32"], *report["int8"].values()):
        assert facts["counted"] == 12
    best = max(report["int8"], key=lambda method: report["int8"][method]["cosine"])
    for facts in (report["fp32"], report["int8"][best]):
        assert facts["milliseconds"]["onnxruntime"] > 0
    assert report["shipped"] == best
    assert report["int8"][best]["cosine"] > 0.99
    lines = (made / "report" / "sensitivity.csv").read_text(encoding="utf-8").splitlines()
    assert [line.split(",")[0] for line in lines[1:]] == ["conv_0", "conv_2", "conv_4", "gemm_7"]
    assert [line.split(",")[3] for line in lines[1:]] == ["1", "0", "0", "1"]


@pytest.mark.parametrize(
    ("ratios", "said"),
    [
        ([1.9, 2.0, 2.2], "SLOWER than fp32 here: it takes 2.00"),
        ([0.4, 0.5, 0.6], "2.00 times as fast"),
        ([0.9, 1.01, 1.02], "as fast as fp32"),
        ([0.5, 0.8, 1.1], "as far as can be told"),
        ([0.99, 1.3, 2.0], "as far as can be told"),
    ],
)
def test_words_about_speed_follow_the_figures(ratios: list[float], said: str) -> None:
    quartiles, took = {"openvino": ratios}, {"openvino": 10 * ratios[1]}
    facts = {"bytes": 30, "share_of_fp32_bytes": 0.3, "milliseconds": took, "times_fp32_quartiles": quartiles}
    fp32 = {"bytes": 100, "milliseconds": {"openvino": 10.0}}
    layers = [{"layer": name, "cosine": cosine} for name, cosine in (("a", 0.9), ("b", 0.99), ("c", 0.98))]
    tree = {"shipped": "mse", "fp32": fp32, "int8": {"mse": facts}, "sensitivity": layers}
    words = words_of({**tree, "computes_in_float": ["a"]})
    assert said in words[0]
    assert "not measured" in words[2]
    assert words[-1].endswith("c (0.02), b (0.01).")


def test_the_draw_follows_the_seed_and_leaves_broken_pictures_out(
    source: Artifact, photos: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    pictures = [broken, *sorted(photos.glob("*.png"))]
    draws = [prepare_rows(source, pictures, 12, tmp_path / "rows.npy", seed=seed) for seed in (0, 0, 1)]
    assert draws[0] == draws[1]
    assert draws[0] != draws[2]
    assert broken not in draws[0]
    assert len(set(draws[0])) == 12
    with pytest.raises(DataError, match="13 pictures are asked for, and 12 of 13 can be used"):
        prepare_rows(source, pictures, 13, tmp_path / "rows.npy", seed=0)


def test_what_cannot_be_quantised_is_refused(
    source: Artifact, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(*words: str) -> str:
        given = ["--data", str(photos), "--output", str(tmp_path / "out"), *words]
        assert main(["quantize", "--artifact", str(source.folder), *given]) == 2
        return capsys.readouterr().err

    def written(name: str, text: str) -> str:
        (tmp_path / name).write_text(text, encoding="utf-8")
        return str(tmp_path / name)

    assert "--batch-num 12" in said("--batch-num", "99")
    many = written("many.txt", "00.png 10\n")
    assert "10 classes" in said("--eval-data", many, "--eval-root", str(photos))
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "There is no picture" in said("--data", str(empty))
    assert "no picture" in said("--data", written("none.txt", "\n"))
    assert "none_such.txt" in said("--data", str(tmp_path / "none_such.txt"))
    broken = written("broken.txt", "broken.png 0\n")
    written("broken.png", "no picture")
    assert "0 of 1 can be used. Give more pictures." in said("--data", broken, "--batch-num", "1")
    assert "three folders" in said("--report", str(tmp_path / "out"))
    assert "it is a file" in said("--output", broken)
    assert "holds files that no export wrote" in said("--output", str(photos))
    assert not (tmp_path / "out").exists()


def test_a_place_that_cannot_be_written_is_told_before_the_work(
    source: Artifact, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for option in ("--output", "--report"):
        places = {"--output": str(tmp_path / "out"), "--report": str(tmp_path / "report")}
        places[option] = "/proc/none/such"
        words = [word for pair in places.items() for word in pair]
        assert main(["quantize", "--artifact", str(source.folder), "--data", str(photos), *words]) == 2
        told = capsys.readouterr()
        assert "/proc/none" in told.err
        assert "Calibrating" not in told.out
    assert list(tmp_path.iterdir()) == []


@needs_quantizer
def test_ctrl_c_leaves_nothing_behind(source: Artifact, photos: Path, tmp_path: Path) -> None:
    words = ["quantize", "--artifact", str(source.folder), "--data", str(photos), "--batch-num", "1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "ppghost", *words, "--output", str(tmp_path / "out" / "int8")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        # A shell that runs the tests in the background makes them ignore it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout is not None
    assert "Calibrating" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, told = process.communicate()
    assert process.returncode == 130
    assert told.strip() == "interrupted"
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert not (tmp_path / "out" / "int8").exists()


def test_other_artifacts_are_refused(source: Artifact) -> None:
    for changes, reason in (
        ({"target": "paddle"}, "accepted: one for 'onnx'"),
        ({"precision": "int8"}, "already"),
    ):
        facts = dataclasses.replace(source.facts, **changes)
        with pytest.raises(ArtifactError, match=reason):
            check_source(dataclasses.replace(source, facts=facts))


@needs_quantizer
def test_a_quantised_graph_and_an_unknown_node_are_refused(
    source: Artifact, made: Path, rows: Path, tmp_path: Path
) -> None:
    with pytest.raises(ArtifactError, match="quantised already"):
        quantise(read_artifact(made / "int8"), rows, tmp_path, QuantizeOptions(("minmax",)))
    with pytest.raises(ArtifactError, match="no node is called 'fire'"):
        quantise(source, rows, tmp_path, QuantizeOptions(("minmax",), keep=("fire",)))


def test_a_network_that_lost_its_numbers_is_not_shipped(source: Artifact, tmp_path: Path) -> None:
    lost = Candidate("kl", tmp_path / "kl.onnx", {"cosine": 0.5}, {})
    with pytest.raises(VerificationError, match="mean cosine of their logits is 0.5000"):
        ship(source, lost, {}, tmp_path / "out", load_target("onnx"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "options", [{"methods": ()}, {"methods": ("mse", "mse")}, {"percentile": 101.0}, {"kept_weights": "int4"}]
)
def test_options_that_cannot_be(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="accepted"):
        QuantizeOptions(**options)


def test_the_rule_of_int8_knows_noise_from_error() -> None:
    logits = np.random.RandomState(0).randn(4, 50).astype(np.float32)
    near = logits + 0.005 * np.random.RandomState(1).randn(4, 50).astype(np.float32)
    assert compare_int8("near", near, logits, gives_logits=True).passed
    assert not compare_int8("far", logits + 0.3 * logits[::-1], logits, gives_logits=True).passed
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert compare_int8("softmax", probabilities, logits, gives_logits=False).passed
    spoilt = logits.copy()
    spoilt[0, 0] = np.nan
    assert "finite" in compare_int8("nan", spoilt, logits, gives_logits=True).reason
    assert "shape" in compare_int8("shape", logits[:, :3], logits, gives_logits=True).reason


def test_the_readme_s_commands_are_accepted() -> None:
    readme = (Path(__file__).parents[2] / "deploy" / "onnx" / "README.md").read_text(encoding="utf-8")
    lines = [line.split() for line in readme.splitlines() if line.strip().startswith("ppghost quantize")]
    assert lines
    for _, *words in lines:
        assert build_parser().parse_args(words).calibration == ["minmax", "percentile", "kl", "mse"]
