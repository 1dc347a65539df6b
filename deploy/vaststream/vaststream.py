"""VastStream's offline pipeline from a shell: a bundle for its tools, pictures to npz, npz to accuracy.

    python deploy/vaststream/vaststream.py bundle    FOLDER BUNDLE     what vamc, vamp and sample_cls read
    python deploy/vaststream/vaststream.py compile   BUNDLE/build_in/build/ghostnet_100-int8-percentile.yaml
    python deploy/vaststream/vaststream.py image2npz --dataset_path PICTURES --target_path NPZ
    python deploy/vaststream/vaststream.py infer     MODEL --vdsp_params JSON --datalist npz.txt
    python deploy/vaststream/vaststream.py decode    npz.txt OUT result.txt imagenet.txt
    python deploy/vaststream/vaststream.py score     OUT --datalist npz.txt --labels val_label.txt
    python deploy/vaststream/vaststream.py score     result.txt --labels val_label.txt

Each takes --help. README.md beside this file tells the whole way.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Optional

ROOT = Path(__file__).resolve().parents[2]
if (ROOT / "ppghost").is_dir():
    sys.path.insert(1, str(ROOT))  # a checkout; the installed package finds itself

import bundle as bundles  # noqa: E402 - the checkout must be found first, here and below
import card  # noqa: E402
import npz_files  # noqa: E402
import relay  # noqa: E402
import vamc  # noqa: E402
from classes import classes_by_folder, classes_by_stem, read_names, read_synsets  # noqa: E402

from ppghost.artifact import read_artifact  # noqa: E402
from ppghost.bench.report import write_json  # noqa: E402
from ppghost.cli.program import (  # noqa: E402
    add_class_num,
    add_threads,
    add_verb,
    count,
    picture_bar,
    place,
    prepare_inputs,
    run_verb,
)
from ppghost.errors import ConfigError, DataError  # noqa: E402
from ppghost.offline.preparing import RECORD_FILE, Record, claim_folder, write_record  # noqa: E402
from ppghost.offline.scoring import MOST, TopN, rank_of, tally  # noqa: E402
from ppghost.predict import list_pictures  # noqa: E402
from ppghost.results import printable  # noqa: E402
from ppghost.vision import Pipeline  # noqa: E402
from ppghost.vision.decode import DecodeImage  # noqa: E402
from ppghost.vision.variants import variant_of, without_normalisation  # noqa: E402

OPEN_SIDE = -1


def bundle(options: argparse.Namespace) -> int:
    """Write everything that VastStream's tools read of a network: ONNX, compiler files, descriptions, labels.

    FOLDER is an exported folder; its preprocessing becomes the descriptions of the vision processor.
    """
    made_from = bundles.plan(
        read_artifact(options.folder),
        None if options.onnx is None else Path(options.onnx),
        options.name,
        options.calibration,
        options.suffix,
    )
    for name in bundles.write_bundle(made_from, Path(options.bundle)):
        print(name)
    if made_from.artifact.class_names is None:
        print("note: the network's classes have no names, so there is no label file", file=sys.stderr)
    if not made_from.is_way_of_card:
        print(
            f"note: the network's accuracy is for the preprocessing '{made_from.artifact.preprocessing}', "
            "and the card resizes as OpenCV does. For that accuracy: image2npz --artifact, and the "
            "descriptions named -cropped",
            file=sys.stderr,
        )
    return 0


def compile_(options: argparse.Namespace) -> int:
    """Print the `vamc` command for each configuration, and run it where vamc is installed.

    The paths in a bundle's configurations count from the bundle, so that is where vamc runs. Without vamc the
    exit code is 0 and the commands are there to be run elsewhere.
    """
    jobs = []
    for name in options.configuration:
        path = Path(name).absolute()
        folder = path.parents[2]
        jobs.append((vamc.vamc_command(path), folder))
        print(f"cd {folder} && " + " ".join(vamc.vamc_command(path)))
    if options.print_only:
        return 0
    if not vamc.is_installed():
        print(f"Not run: vamc is not on PATH. {vamc.REMEDY}", file=sys.stderr)
        return 0
    for command, folder in jobs:
        vamc.compile_model(command, folder)
    return 0


def image2npz(options: argparse.Namespace) -> int:
    """Make an npz of each picture, uint8 [3, H, W] RGB, and the list of them.

    Pictures keep their size, as the published program does it; with --artifact they are resized and cropped
    here, in the way that the network's accuracy is for, and the card only normalises. Broken pictures are
    told and left out of the list; the exit code is 1 then.
    """
    target, text = Path(options.target_path), Path(options.text_path)
    pipeline, shape, way = _levels(options.artifact)
    targets = npz_files.targets_for(list_pictures(options.dataset_path), target)
    _claim(target, list(targets.values()), text)
    broken = prepare_inputs(targets, npz_files.level_encoder(pipeline), options.threads)
    failures = {str(source): failure for source, failure in broken.items()}
    written = [made for source, made in targets.items() if source not in broken]
    write_record(target, Record(way, pipeline.to_list(), "uint8", shape, len(written), failures))
    npz_files.write_datalist(text, written)
    print(printable(f"{len(written)} of {len(targets)} pictures written ({way}): {target}, listed in {text}"))
    return 1 if failures else 0


def _levels(folder: Optional[str]) -> tuple[Pipeline, tuple[int, int, int], str]:
    """Return what makes levels of a picture, the sides of the result, and the name of the way.

    Raises:
        PipelineError: the artifact's preprocessing does not normalise.
    """
    if folder is None:
        return Pipeline((DecodeImage(),)), (3, OPEN_SIDE, OPEN_SIDE), card.ORIGINAL
    artifact = read_artifact(Path(folder))
    before = without_normalisation(artifact.pipeline)
    return before, artifact.facts.input_shape, variant_of(artifact.pipeline)


def _claim(target: Path, inputs: list[Path], text: Path) -> None:
    """Make the folder ready; the list goes first, since it is not complete from now on."""
    names: dict[str, set[str]] = {}
    for path in inputs:
        names.setdefault(path.parent.name, set()).add(path.name)
    listed = {text.name} if text.absolute().parent == target.absolute() else set()
    claim_folder(target, {*names, *listed}, RECORD_FILE)
    for name, files in names.items():
        claim_folder(target / name, files)
    text.unlink(missing_ok=True)


def infer(options: argparse.Namespace) -> int:
    """Run a model over a list of npz files; without a list, measure its speed.

    MODEL is the beginning of the compiled files' paths for vamp, and the bundle's ONNX file for onnxruntime,
    which obeys the same description of the vision processor and writes the same files on the CPU.
    """
    if (options.datalist is None) != (options.path_output is None):
        raise ConfigError("--datalist and --path_output go together: a list of inputs, and where results go.")
    run = card.Run(
        options.model,
        Path(options.vdsp_params),
        None if options.datalist is None else Path(options.datalist),
        None if options.path_output is None else Path(options.path_output),
        options.batch,
        options.instances,
        options.processes,
    )
    if options.shape is not None:
        card.check_shape(run, options.shape)
    if options.engine == "vamp":
        card.run_vamp(run)
        return 0
    with picture_bar() as progress:
        speed = card.run_onnxruntime(run, options.threads, progress)
    print(f"{speed.engine}, batch {run.batch}: {speed.mean_ms:.3f} ms, {speed.throughput:.1f} pictures/s")
    return 0


def decode(options: argparse.Namespace) -> int:
    """Turn vamp's npz results into the text of results: the five best classes of each picture."""
    names = read_names(Path(options.label_txt), options.class_num)
    inputs = npz_files.read_datalist(Path(options.npz_txt))
    outputs = npz_files.find_outputs(Path(options.npz_dir), inputs)
    relay.write_relay(
        Path(options.result_txt),
        (
            relay.relay_lines(source, npz_files.read_output(made, options.class_num), names)
            for source, made in outputs.items()
        ),
    )
    print(f"{len(outputs)} pictures: {options.result_txt}")
    return 0


def score(options: argparse.Namespace) -> int:
    """Tell the accuracy of results: a folder of vamp's npz with its list, or a text of results.

    What a picture shows is told by --labels, lines `name label` found by the picture's stem, or by --synsets,
    the names of the class folders in the order of the classes.
    """
    results = Path(options.results)
    scored = _score_outputs(results, options) if results.is_dir() else _score_text(results, options)
    rates = {f"top{k}_rate": round(100 * scored.accuracy(k), 3) for k in (1, MOST) if k <= len(scored.hits)}
    print(f"pictures {scored.total}")
    # The line of eval_topk.py, blank by blank.
    print("[VACC]:  " + " ".join(f"{name}: {rate}" for name, rate in rates.items()))
    if options.output is not None:
        tree = {"pictures": scored.total, "hits": list(scored.hits), **rates}
        write_json(tree, Path(options.output))
    return 0


def _score_outputs(folder: Path, options: argparse.Namespace) -> TopN:
    if options.datalist is None:
        raise ConfigError(f"'{folder}' does not tell of which pictures it is; give the list: --datalist")
    inputs = npz_files.read_datalist(Path(options.datalist))
    outputs = npz_files.find_outputs(folder, inputs, is_subset=options.subset)
    truth = _true_classes(list(outputs), options)

    def ranks() -> Iterator[int]:
        for made, label in zip(outputs.values(), truth):
            yield rank_of(npz_files.read_output(made, options.class_num), label)

    return tally(ranks())


def _score_text(path: Path, options: argparse.Namespace) -> TopN:
    answers = relay.read_relay(path)
    names = None if options.label_txt is None else read_names(Path(options.label_txt), options.class_num)
    relay.check_answers(answers, options.class_num, names)
    if options.datalist is not None:
        _check_listed(path, answers, options)
    most = len(answers[0].class_ids)
    labels = _true_classes([answer.path for answer in answers], options)
    return tally(
        (
            answer.class_ids.index(label) if label in answer.class_ids else most
            for answer, label in zip(answers, labels)
        ),
        most,
    )


def _check_listed(path: Path, answers: Sequence[relay.Answer], options: argparse.Namespace) -> None:
    """Raise DataError unless the answers are those of the listed inputs."""
    listed, answered = npz_files.read_datalist(Path(options.datalist)), {answer.path for answer in answers}
    foreign = sorted(answered - set(listed))
    missing = [entry for entry in listed if entry not in answered]
    if foreign or (missing and not options.subset):
        what = f"has '{foreign[0]}', which is not listed" if foreign else f"has nothing for '{missing[0]}'"
        raise DataError(
            f"'{path}' has results for {len(answered)} pictures, and '{options.datalist}' lists "
            f"{len(listed)}: it {what}. Give the list of this run."
        )


def _true_classes(paths: list[Path], options: argparse.Namespace) -> list[int]:
    if options.labels is not None:
        return classes_by_stem(paths, Path(options.labels), options.class_num, is_subset=options.subset)
    synsets = read_synsets(Path(options.synsets))
    if len(synsets) != options.class_num:
        raise DataError(
            f"'{options.synsets}' names {len(synsets)} folders; the network has {options.class_num} classes."
        )
    return classes_by_folder(paths, synsets, Path(options.synsets))


def build_parser() -> argparse.ArgumentParser:
    """Return the parser; arguments that VastModelZOO's programs have are called as there."""
    parser = argparse.ArgumentParser(
        prog="vaststream.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    _add_bundling(verbs)
    _add_running(verbs)
    _add_scoring(verbs)
    return parser


def _add_bundling(verbs: Any) -> None:
    verb = add_verb(verbs, "bundle", bundle)
    verb.add_argument("folder", metavar="FOLDER", help="an exported folder")
    verb.add_argument("bundle", metavar="BUNDLE", help="the folder to write; must not exist")
    verb.add_argument("--onnx", metavar="FILE", help="the network, where FOLDER holds no ONNX file")
    verb.add_argument("--name", help="default: VastModelZOO's, such as ghostnet_100")
    verb.add_argument(
        "--calibration",
        default=bundles.CALIBRATION_PICTURES,
        metavar="PICTURES",
        help="folder of pictures for int8, as vamc will find it (default: %(default)s)",
    )
    verb.add_argument("--suffix", default="JPEG", help="of those pictures (default: %(default)s)")

    verb = add_verb(verbs, "compile", compile_)
    verb.add_argument("configuration", nargs="+", metavar="YAML", help="a bundle's build/<name>.yaml")
    verb.add_argument("--print-only", action="store_true", help="run nothing")


def _add_running(verbs: Any) -> None:
    verb = add_verb(verbs, "image2npz", image2npz)
    verb.add_argument(
        "--dataset_path", type=place, required=True, metavar="PICTURES", help="a folder, or one picture"
    )
    verb.add_argument("--target_path", required=True, metavar="NPZ", help="the folder to write")
    verb.add_argument(
        "--text_path", default="npz.txt", metavar="LIST", help="list to write (default: %(default)s)"
    )
    verb.add_argument(
        "--artifact", metavar="FOLDER", help="resize and crop here, as this exported folder says"
    )
    add_threads(verb)

    verb = add_verb(verbs, "infer", infer)
    verb.add_argument(
        "model", metavar="MODEL", help="deploy_weights/<name>/mod for vamp; ONNX for onnxruntime"
    )
    verb.add_argument("--engine", choices=("vamp", "onnxruntime"), default="vamp")
    verb.add_argument("--vdsp_params", required=True, metavar="JSON", help="what the vision processor does")
    verb.add_argument("--datalist", metavar="LIST", help="the inputs, as image2npz lists them")
    verb.add_argument("--path_output", metavar="OUT", help="the folder to write")
    verb.add_argument("-b", "--batch", type=count, default=1, metavar="N", help="default: %(default)s")
    verb.add_argument("-s", "--shape", metavar="[3,H,W]", help="of an input; vamp gets the description's")
    verb.add_argument("-i", "--instances", type=count, default=1, metavar="N", help="of the model, by vamp")
    verb.add_argument("-p", "--processes", type=count, default=1, metavar="N", help="that feed them, by vamp")
    add_threads(verb)


def _add_scoring(verbs: Any) -> None:
    verb = add_verb(verbs, "decode", decode)
    verb.add_argument("npz_txt", metavar="LIST", help="the inputs")
    verb.add_argument("npz_dir", metavar="OUT", help="the folder of the results")
    verb.add_argument("result_txt", metavar="RESULT.txt", help="the file to write")
    verb.add_argument("label_txt", metavar="LABELS.txt", help="a class name a line")
    add_class_num(verb)

    verb = add_verb(verbs, "score", score)
    verb.add_argument("results", metavar="RESULTS", help="the folder of vamp's npz, or a text of results")
    group = verb.add_mutually_exclusive_group(required=True)
    group.add_argument("--labels", metavar="FILE", help="lines `name label`, such as val_label.txt")
    group.add_argument("--synsets", metavar="FILE", help="lines `n01440764 ...`, in the order of the classes")
    verb.add_argument("--datalist", metavar="LIST", help="the inputs; needed for a folder")
    verb.add_argument("--label_txt", metavar="FILE", help="compare the names in a text with these, too")
    verb.add_argument("--subset", action="store_true", help="accept pictures without a result")
    verb.add_argument("--output", metavar="JSON", help="write the score to a file")
    add_class_num(verb)


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run the program; return its exit code."""
    return run_verb(build_parser().parse_args(arguments))


if __name__ == "__main__":
    sys.exit(main())
