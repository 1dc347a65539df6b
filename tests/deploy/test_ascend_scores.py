"""From bins to accuracy: results, summaries, labels and throughput, right or refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import ascend
import numpy as np
import pytest
from ais_summary import find_results, speed_of
from hypothesis import given
from hypothesis import strategies as st
from throughput import table

from ppghost.errors import DataError
from ppghost.offline.outputs import FORMATS, read_scores, write_scores
from ppghost.offline.scoring import top_n
from ppghost.offline.truth import read_truth
from tests.conftest import ROOT
from tests.deploy.tiny_onnx import needs_onnxruntime, scores_of, tiny_onnx

CLASSES = 10
NAMES = ("ILSVRC2012_val_00000002", "ILSVRC2012_val_00000010", "with blank", "a:colon", "鬼")
# Top-1 to top-5 of `RANKS` are 1, 2, 2, 3 and 4 of 5 by counting.
RANKS = (0, 1, 3, 4, 9)
LABELS = (2, 7, 0, 9, 4)


def row_with_rank(label: int, rank: int) -> np.ndarray:
    """Return scores where `rank` classes beat the true one."""
    scores = np.linspace(0.01, 0.05, CLASSES).astype(np.float32)
    scores[label] = 0.5
    others = [c for c in range(CLASSES) if c != label][:rank]
    scores[others] = 0.6 + 0.01 * np.arange(rank)
    return scores


class Folder:
    """A folder of results with labels; the summary is written last, after whatever a test changed."""

    def __init__(self, root: Path, form: str = "npy") -> None:
        self.root = root
        self.results = root / "results"
        self.results.mkdir()
        self.labels = root / "val_label.txt"
        self.write_labels([f"{name}.JPEG {label}" for name, label in zip(NAMES, LABELS)])
        self.info: dict[str, Any] = {}
        for index, (name, label, rank) in enumerate(zip(NAMES, LABELS, RANKS)):
            path = self.results / f"{name}_0.{form}"
            write_scores(path, row_with_rank(label, rank))
            self.info[str(index)] = {"infiles": [f"./prep/{name}.bin"], "outfiles": [f"./out/{path.name}"]}

    def write_labels(self, lines: list[str]) -> None:
        self.labels.write_text("".join(line + "\n" for line in lines), encoding="utf-8")

    def write_summary(self, **changes: Any) -> Path:
        compute = {"min": 4.0, "max": 5.0, "mean": 4.652794558, "median": 4.6, "percentile(99%)": 5.0}
        summary = {"filesinfo": self.info, "NPU_compute_time": compute, "throughput": 3438.793590, **changes}
        path = self.results / "sumary.json"
        path.write_text(json.dumps(summary), encoding="utf-8")
        return path

    def score(self, *options: str, results: Any = None) -> int:
        words = [
            "score",
            str(results or self.results),
            str(self.labels),
            "--class-num",
            str(CLASSES),
            *options,
        ]
        return ascend.main(words)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


RIGHT = ["top1_acc 0.2000", "top2_acc 0.4000", "top3_acc 0.4000", "top4_acc 0.6000", "top5_acc 0.8000"]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("has_summary", [True, False])
def test_the_score_of_a_known_folder_is_exact(tmp_path: Path, capsys, form: str, has_summary: bool) -> None:
    folder = Folder(tmp_path, form)
    if has_summary:
        folder.write_summary()
    assert folder.score("--output", str(tmp_path / "score.json")) == 0
    assert capsys.readouterr().out.splitlines() == ["pictures 5 of 5 labelled", *RIGHT]
    score = json.loads((tmp_path / "score.json").read_text(encoding="utf-8"))
    assert score["hits"] == [1, 2, 2, 3, 4]
    assert score["value"][0] == {"key": "Number of images", "value": "5"}
    assert score["value"][2] == {"key": "Top1 accuracy", "value": "20.0%"}


def test_summaries_of_both_tools_are_found(folder: Folder, capsys) -> None:
    summary = folder.write_summary()
    assert folder.score(results=summary) == 0
    beside = folder.root / "results_summary.json"
    summary.rename(beside)
    for place in (beside, folder.results, f"{folder.results}/"):
        assert folder.score(results=place) == 0
    assert capsys.readouterr().out.count("\n".join(RIGHT)) == 4


def test_a_copied_folder_scores_its_own_files(folder: Folder, capsys) -> None:
    for info in folder.info.values():
        info["outfiles"] = [str(folder.results / Path(info["outfiles"][0]).name)]
    folder.write_summary()
    copy = folder.root / "copy"
    shutil.copytree(folder.results, copy)
    write_scores(copy / f"{NAMES[1]}_0.npy", row_with_rank(LABELS[1], 0))
    assert folder.score(results=copy) == 0
    assert "top1_acc 0.4000" in capsys.readouterr().out


def test_a_copied_folder_is_not_filled_up_from_the_one_it_was_copied_from(folder: Folder) -> None:
    for info in folder.info.values():
        info["outfiles"] = [str(folder.results / Path(info["outfiles"][0]).name)]
    folder.write_summary()
    copy = folder.root / "copy"
    shutil.copytree(folder.results, copy)
    gone = copy / f"{NAMES[1]}_0.npy"
    gone.unlink()
    with pytest.raises(DataError, match=f"names the result '.*{gone.name}', which is neither"):
        find_results(copy)


def test_early_ais_infer_counts_the_pictures(folder: Folder, capsys) -> None:
    for index, info in folder.info.items():
        old = folder.results / Path(info["outfiles"][0]).name
        info["outfiles"] = [f"sample_id_{index}_output_0.npy"]
        old.rename(folder.results / info["outfiles"][0])
    summary = folder.write_summary()
    assert folder.score() == 0
    assert capsys.readouterr().out.splitlines()[1:] == RIGHT
    folder.info["0"], folder.info["1"] = (
        {**folder.info["0"], "outfiles": folder.info["1"]["outfiles"]},
        {**folder.info["1"], "outfiles": folder.info["0"]["outfiles"]},
    )
    folder.write_summary()
    with pytest.raises(DataError, match="sample 0"):
        find_results(summary)


def swap(info: dict[str, Any]) -> None:
    info["0"]["outfiles"], info["1"]["outfiles"] = info["1"]["outfiles"], info["0"]["outfiles"]


@pytest.mark.parametrize(
    ("lie", "complaint"),
    [
        (lambda info: info.pop("2"), "does not name"),
        (swap, "for the picture"),
        (lambda info: info["0"].update(outfiles=["gone_0.npy"]), "neither there"),
        (lambda info: info["0"].update(outfiles=["x" * 5000]), "neither there"),
        (lambda info: info["0"].update(outfiles=info["1"]["outfiles"]), "for the picture|and for"),
        (lambda info: info["0"].update(infiles=info["1"]["infiles"]), "twice"),
        (lambda info: info["0"].update(outfiles=[]), "one"),
        (lambda info: info["0"].update(outfiles=["x_0.npy", "x_1.npy"]), "one"),
        (lambda info: info.update({"0": "nothing"}), "one"),
    ],
)
def test_a_summary_that_lies_is_refused(folder: Folder, capsys, lie, complaint: str) -> None:
    lie(folder.info)
    folder.write_summary()
    with pytest.raises(DataError, match=complaint):
        find_results(folder.results)
    assert folder.score() == 2
    told = capsys.readouterr()
    assert "sumary.json" in told.err
    assert not told.out


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"filesinfo": 3}', b"\xff\xfe"])
def test_what_is_no_summary_is_refused(folder: Folder, content: bytes) -> None:
    (folder.results / "sumary.json").write_bytes(content)
    with pytest.raises(DataError, match="sumary"):
        find_results(folder.results)


def test_fewer_results_than_pictures(folder: Folder, capsys) -> None:
    (folder.results / f"{NAMES[0]}_0.npy").unlink()
    assert folder.score() == 2
    assert f"none for '{NAMES[0]}'" in capsys.readouterr().err
    assert folder.score("--subset") == 0
    assert "pictures 4 of 5 labelled" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        (["other.JPEG 1"], "no line for the picture"),
        (["鬼.JPEG 1", "鬼.png 2"], "line already"),
        (["5"], "no picture with its class"),
        (["鬼.JPEG"], "no picture with its class"),
        (["鬼.JPEG crane"], "no picture with its class"),
        (["鬼.JPEG -1"], "no picture with its class"),
        (["鬼.JPEG ٣"], "no picture with its class"),
        (["鬼.JPEG " + "1" * 5000], "no picture with its class"),
        (["鬼.JPEG 10"], "0 to 9"),
        ([".JPEG 1"], "before its first dot"),
        ([], "names no picture"),
    ],
)
def test_a_wrong_label_file_is_told(folder: Folder, capsys, lines: list[str], complaint: str) -> None:
    folder.write_labels(lines)
    assert folder.score() == 2
    assert complaint in capsys.readouterr().err


def test_labels_are_numbers_so_two_cranes_stay_two(folder: Folder, capsys) -> None:
    # ImageNet calls both 134 and 517 crane; a score by name would count either for the other.
    scores = np.zeros((2, 1000), np.float32)
    scores[0, 134] = scores[1, 134] = 1
    shutil.rmtree(folder.results)
    for name, row in zip(("bird", "machine"), scores):
        write_scores(folder.results / f"{name}_0.npy", row)
    folder.write_labels(["bird.JPEG 134", "machine.JPEG 517"])
    assert ascend.main(["score", str(folder.results), str(folder.labels)]) == 0
    assert "top1_acc 0.5000" in capsys.readouterr().out


def test_a_tab_in_a_name_is_of_the_name(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("tab\tx.jpg 3\nplain.jpg\t4\n")
    assert read_truth(tmp_path / "labels.txt").labels == {"tab\tx": 3, "plain": 4}


def test_a_summary_that_names_foreign_files_is_refused_for_what_they_are(folder: Folder, capsys) -> None:
    for index, info in folder.info.items():
        foreign = folder.root / f"foreign{index}"
        foreign.mkdir()
        (foreign / "passwd").write_text("no scores")
        info["outfiles"] = [str(foreign / "passwd")]
    folder.write_summary()
    for result in folder.results.glob("*.npy"):
        result.unlink()
    assert folder.score() == 2
    assert "is no file of scores" in capsys.readouterr().err


def save(array: Any) -> Any:
    return lambda path: np.save(path, array, allow_pickle=True)


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-3]), "cut off"),
        (lambda path: path.write_bytes(path.read_bytes()[:20]), "cut off"),
        (lambda path: path.write_bytes(b""), "cut off"),
        (lambda path: path.write_bytes(path.read_bytes() + b"0"), "follows"),
        (save(np.zeros((1, 9), np.float32)), "one row of 10"),
        (save(np.zeros((2, 10), np.float32)), "one row of 10"),
        (save(np.full(10, np.nan)), "not finite"),
        (save(np.array(["x"] * 10)), "numbers"),
        (save(np.array([{}] * 10, object)), "broken"),
    ],
)
def test_a_damaged_result_is_told_with_its_name(folder: Folder, capsys, damage, complaint: str) -> None:
    path = folder.results / f"{NAMES[3]}_0.npy"
    damage(path)
    assert folder.score() == 2
    told = capsys.readouterr().err
    assert complaint in told
    assert path.name in told


def test_a_network_of_another_size_is_told(folder: Folder, capsys) -> None:
    assert ascend.main(["score", str(folder.results), str(folder.labels)]) == 2
    assert "one row of 1000" in capsys.readouterr().err


@given(
    st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=40),
    st.sampled_from(FORMATS),
)
def test_scores_survive_their_file(tmp_path_factory, row: list[float], form: str) -> None:
    path = tmp_path_factory.mktemp("scores") / f"x_0.{form}"
    scores = np.array(row, np.float32)
    write_scores(path, scores)
    read = read_scores(path, len(row))
    np.testing.assert_allclose(read, scores, atol=0 if form != "txt" else 5.1e-7)


@given(st.data())
def test_top_n_is_a_stable_sort(data) -> None:
    classes = data.draw(st.integers(1, 8))
    rows = data.draw(
        st.lists(st.lists(st.integers(0, 3), min_size=classes, max_size=classes), min_size=1, max_size=9)
    )
    labels = data.draw(st.lists(st.integers(0, classes - 1), min_size=len(rows), max_size=len(rows)))
    scored = top_n((np.array(row, float), label) for row, label in zip(rows, labels))
    order = [sorted(range(classes), key=lambda c, row=row: (-row[c], c)) for row in rows]
    for k in range(1, 6):
        assert scored.hits[k - 1] == sum(label in best[:k] for label, best in zip(labels, order))
    assert scored.total == len(rows)


def test_truth_reads_what_label_files_look_like(tmp_path: Path) -> None:
    path = tmp_path / "val_label.txt"
    path.write_bytes("\ufeffa.JPEG 1\r\n\r\nfolder/b c.JPEG\t2\nd.x.jpg  3".encode())
    assert read_truth(path).labels == {"a": 1, "b c": 2, "d": 3}


def test_throughput_gives_the_batch_back(folder: Folder) -> None:
    speed = speed_of(folder.write_summary())  # figures that were published for the 310P
    assert (speed.batch, speed.engine) == (16, "NPU")
    for changes in (
        {"throughput": 3000.0},
        {"throughput": 0},
        {"NPU_compute_time": {}},
        {"throughput": True},
    ):
        with pytest.raises(DataError, match="sumary"):
            speed_of(folder.write_summary(**changes))


def test_the_report_keeps_measured_and_published_apart(folder: Folder, capsys) -> None:
    summary = folder.write_summary(engine="onnxruntime 1.0")
    assert ascend.main(["report", str(summary), "--output", str(folder.root / "report.json")]) == 0
    lines = capsys.readouterr().out.splitlines()
    head = [cell.strip() for cell in lines[2].split("|")[1:-1]]
    assert head[:2] == ["batch", "measured: onnxruntime 1.0"]
    assert head[2:] == [
        f"published: {device}" for device in ("Ascend 310", "Ascend 310P", "NVIDIA T4", "Ascend 310P3")
    ]
    [row] = [line for line in lines if line.startswith("| 16 |")]
    assert [cell.strip() for cell in row.split("|")[2:6]] == ["3438.8", "2624.9", "3438.8", "925.0"]
    assert json.loads((folder.root / "report.json").read_text())["measured"] == {
        "onnxruntime 1.0": {"16": 3438.79359}
    }
    with pytest.raises(DataError, match="batch size 16"):
        table([speed_of(summary)] * 2)


@pytest.fixture
def bins(tmp_path: Path) -> Path:
    """Inputs as another program wrote them: no record. Five, so that the last batch of two is filled up."""
    folder = tmp_path / "bins"
    folder.mkdir()
    for seed, name in enumerate(NAMES):
        images = np.random.RandomState(seed).randn(3, 8, 8) + seed
        (folder / f"{name}.bin").write_bytes(images.astype("<f4").tobytes())
    return folder


def infer(model: bytes, bins: Path, *options: str) -> int:
    (bins.parent / "m.onnx").write_bytes(model)
    words = ["infer", str(bins.parent / "m.onnx"), str(bins.parent / "out"), "--bins", str(bins)]
    return ascend.main([*words, "--engine", "onnxruntime", "--threads", "1", *options])


@needs_onnxruntime
@pytest.mark.parametrize(("form", "batch"), [("NPY", 2), ("BIN", 1), ("TXT", 8)])
def test_onnxruntime_writes_what_the_tools_write(
    bins: Path, tmp_path: Path, capsys, form: str, batch: int
) -> None:
    assert infer(tiny_onnx(side=8), bins, "--batchsize", str(batch), "--outfmt", form) == 0
    summary = json.loads((tmp_path / "out" / "sumary.json").read_text(encoding="utf-8"))
    order = ["a:colon", "ILSVRC2012_val_00000002", "ILSVRC2012_val_00000010", "with blank", "鬼"]
    assert [Path(info["infiles"][0]).name for info in summary["filesinfo"].values()] == [
        f"{n}.bin" for n in order
    ]
    assert list(summary["filesinfo"]) == ["0", "1", "2", "3", "4"]
    for name, info in zip(order, summary["filesinfo"].values()):
        [made] = info["outfiles"]
        assert Path(made).name == f"{name}_0.{form.lower()}"
        images = np.frombuffer((bins / f"{name}.bin").read_bytes(), "<f4").reshape(1, 3, 8, 8)
        np.testing.assert_allclose(
            read_scores(Path(made), CLASSES), scores_of(images)[0], rtol=1e-5, atol=2e-6
        )
    for key in ("NPU_compute_time", "H2D_latency", "D2H_latency"):
        assert {"min", "max", "mean", "median", "percentile(99%)"} <= set(summary[key])
    assert summary["NPU_compute_time"]["count"] == -(-5 // batch)
    speed = speed_of(tmp_path / "out" / "sumary.json")
    assert speed.batch == batch
    assert speed.engine.startswith("onnxruntime ")
    labels = tmp_path / "labels.txt"
    best = {
        n: int(scores_of(np.frombuffer((bins / f"{n}.bin").read_bytes(), "<f4").reshape(1, 3, 8, 8)).argmax())
        for n in order
    }
    labels.write_text("".join(f"{name}.JPEG {label}\n" for name, label in best.items()), encoding="utf-8")
    capsys.readouterr()
    assert ascend.main(["score", str(tmp_path / "out"), str(labels), "--class-num", "10"]) == 0
    assert "top1_acc 1.0000" in capsys.readouterr().out


@needs_onnxruntime
def test_inputs_that_do_not_fit_are_refused(bins: Path, tmp_path: Path, capsys) -> None:
    assert infer(tiny_onnx(side=9), bins) == 2
    assert "972" in capsys.readouterr().err
    assert infer(tiny_onnx(side=8, batch=2), bins, "--batchsize", "4") == 2
    assert "exported with 2" in capsys.readouterr().err
    assert infer(b"no model", bins) == 2
    assert "is no ONNX file" in capsys.readouterr().err
    (bins / "鬼.bin").write_bytes(b"1234")
    assert infer(tiny_onnx(side=8), bins) == 2
    assert "4 bytes" in capsys.readouterr().err
    assert not (tmp_path / "out" / "sumary.json").exists()


@needs_onnxruntime
def test_the_way_of_the_inputs_reaches_the_score(tmp_path: Path, capsys) -> None:
    from tests.deploy.test_ascend_files import draw

    draw(tmp_path / "p" / "x.png")
    assert ascend.main(["prepare", str(tmp_path / "p"), str(tmp_path / "bins"), "--way", "paddleclas"]) == 0
    assert infer(tiny_onnx(), tmp_path / "bins") == 0
    (tmp_path / "labels.txt").write_text("x.png 0\n")
    assert (
        ascend.main(["score", str(tmp_path / "out"), str(tmp_path / "labels.txt"), "--class-num", "10"]) == 0
    )
    assert "(preprocessing: paddleclas)" in capsys.readouterr().out
    assert infer(tiny_onnx(metadata={"preprocessing": "paddleclas"}), tmp_path / "bins") == 0
    assert infer(tiny_onnx(metadata={"preprocessing": "torchvision"}), tmp_path / "bins") == 2
    assert "for 'torchvision'" in capsys.readouterr().err
    assert ascend.main(["prepare", str(tmp_path / "p"), str(tmp_path / "bins"), "--aipp"]) == 0
    assert infer(tiny_onnx(), tmp_path / "bins") == 2
    assert "uint8" in capsys.readouterr().err


@needs_onnxruntime
def test_speed_alone_needs_no_inputs(tmp_path: Path, capsys) -> None:
    (tmp_path / "m.onnx").write_bytes(tiny_onnx(side=8))
    words = ["infer", str(tmp_path / "m.onnx"), str(tmp_path / "out"), "--engine", "onnxruntime"]
    assert ascend.main([*words, "--batchsize", "4", "--loop", "3"]) == 0
    summary = json.loads((tmp_path / "out" / "sumary.json").read_text())
    assert (summary["filesinfo"], summary["NPU_compute_time"]["count"]) == ({}, 3)
    assert "batch 4" in capsys.readouterr().out


@needs_onnxruntime
@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash: apt-get install bash")
def test_all_in_a_row_the_way_that_the_network_asks_for(tmp_path: Path) -> None:
    from tests.deploy.test_ascend_files import draw

    for seed, name in enumerate("ab"):
        draw(tmp_path / "p" / f"{name}.png", seed)
    (tmp_path / "m.onnx").write_bytes(tiny_onnx(metadata={"preprocessing": "paddleclas"}))
    (tmp_path / "l.txt").write_text("a.png 0\nb.png 1\n")
    words = [*(str(tmp_path / name) for name in ("m.onnx", "p", "l.txt", "run")), "10", "--way", "paddleclas"]
    ran = subprocess.run(
        ["bash", "deploy/ascend/run.sh", *words],
        cwd=ROOT,
        env={**os.environ, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert "pictures 2 of 2 labelled (preprocessing: paddleclas)" in ran.stdout


def test_a_missing_tool_is_named_with_the_way_to_get_it(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for engine in ("ais_bench", "ais_infer"):
        assert ascend.main(["infer", "m.om", str(tmp_path / "out"), "--engine", engine]) == 2
        told = capsys.readouterr().err
        assert engine in told
        assert "--engine onnxruntime" in told


def test_the_tools_are_called_as_published(tmp_path: Path, monkeypatch, capfd) -> None:
    package = tmp_path / "tools" / "ais_bench"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text("import sys; print('got', sys.argv[1:])")
    script = tmp_path / "tools" / "ais_infer.py"
    script.write_text("import sys; print('got', sys.argv[1:])")
    script.chmod(0o755)
    monkeypatch.syspath_prepend(str(tmp_path / "tools"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "tools"))
    monkeypatch.setenv("PATH", str(tmp_path / "tools"))
    out = tmp_path / "run" / "result"
    words = ["infer", "ghostnet_bs8.om", str(out), "--bins", "prep", "--batchsize", "8", "--engine"]
    assert ascend.main([*words, "ais_bench"]) == 0
    shared = ["--outfmt", "NPY", "--batchsize", "8"]
    given_ = ["--model", "ghostnet_bs8.om", "--input", "prep"]
    expected = [*given_, "--output", str(out.parent), "--output_dirname", "result", *shared]
    assert capfd.readouterr().out.strip() == f"got {expected}"
    assert ascend.main([*words, "ais_infer"]) == 0
    assert capfd.readouterr().out.strip() == f"got {[*given_, '--output', str(out), *shared]}"
