"""The parser of `ppghost VERB ...`.

Program. Imports no paddle: a verb does when it runs.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Sequence
from typing import Any, Optional

from ppghost import __version__, engines
from ppghost.artifact import GRAPHS
from ppghost.cli import verbs
from ppghost.cli.bench import add_bench
from ppghost.cli.evaluation import add_list_arguments
from ppghost.cli.predict_cls import predict_cls
from ppghost.cli.program import Verb, add_verb, count, run_verb
from ppghost.cli.quantization import add_quantize_arguments, quantize
from ppghost.config import add_config_arguments
from ppghost.export import paddle_inference
from ppghost.export.target import find_targets

EPILOGS = {
    "ppghost": """one network from pictures to a shipped folder:
  ppghost train  -c my.yaml -o Global.device=cpu
  ppghost eval   -c my.yaml -o Global.device=cpu -o Global.pretrained_model=output/best_model
  ppghost export -c my.yaml -o Global.device=cpu -o Global.pretrained_model=output/best_model
  ppghost verify inference
  ppghost infer  --artifact inference picture.jpg

`ppghost VERB --help` tells more.
Exit codes: 0 done, 1 failed, 2 cannot be done as asked, 130 stopped by Ctrl-C.
""",
    "train": """examples:
  ppghost train -c GhostNet_x1_0 --check                       check recipe and data, tell what would run
  ppghost train -c GhostNet_x1_0 -o Global.device=cpu -o DataLoader.Train.sampler.batch_size=64 \\
                -o Optimizer.lr.auto_scale=True                fit the learning rate to a smaller batch
  ppghost train -c my.yaml -o Global.checkpoints=output/latest      go on where a run stopped
  ppghost train -c my.yaml --resume                            begin, or go on where this command was killed
  ppghost train -c my.yaml -o Global.pretrained_model=weights -o Arch.class_num=10       fine-tune
  ppghost train -c my.yaml -o Arch.freeze="['conv1*', '_ghostbottleneck_[0-4].*']"       train a part only
  ppghost train -c my.yaml -o DataLoader.Train.dataset.transform_ops.1.RandCropImage.size=96

Written to Global.output_dir: train.log, latest.* after every epoch, best_model.* where evaluation was best,
epoch_N.* every Global.save_interval epochs. A name is a path without suffix: output/latest.
""",
    "eval": """examples:
  ppghost eval -c my.yaml -o Global.device=cpu -o Global.pretrained_model=output/best_model
  ppghost eval --artifact inference --data val_list.txt --json result.json --csv predictions.csv
  ppghost eval --artifact inference --data val_list.txt --image-root val --engine auto --batch-size 8
  ppghost eval --artifact inference --data val_list.txt --engine onednn --output fp32.jsonl --resume
  ppghost eval --artifact inference --data val_list.txt --engine onednn_bf16 --against fp32.jsonl

The third one can be killed and repeated; the last one tells on how many pictures bf16 names the same class.
""",
    "infer": """examples:
  ppghost infer --artifact inference picture.jpg photos/
  ppghost infer --artifact inference --list list.txt --topk 3 --output results.csv
  ppghost infer --artifact inference --engine auto photos/
  ppghost infer --artifact inference --batch-size 8 --threads 4 --output results.jsonl photos/
  ppghost infer -c my.yaml -o Global.pretrained_model=output/best_model -o Infer.infer_imgs=photos
""",
    "export": """example:
  ppghost export -c my.yaml -o Global.device=cpu -o Global.pretrained_model=output/best_model \\
                 -o Global.save_inference_dir=inference
  ppghost export -c my.yaml -o Global.device=cpu -o Global.pretrained_model=output/best_model --target onnx
  ppghost export --artifact inference --target onnx --input-name image --output-name class
""",
    "quantize": """examples:
  ppghost quantize --artifact folder_onnx --data train_list.txt --eval-data val_list.txt --output folder_int8
  ppghost quantize --artifact folder_onnx --data photos/ --calibration mse --output folder_int8
  ppghost quantize --artifact folder_onnx --data train_list.txt --keep-float first classifier se 'conv_7?' \\
                   --output folder_int8
  ppghost infer --artifact folder_int8 picture.jpg

All calibrations but minmax count a picture's values in relation to their size, so wild ones do not decide.
The folder was made and proven with ONNX Runtime; int8 is not faster on every CPU, and the report says so.
""",
    "verify": """example:
  ppghost verify inference
""",
    "predict_cls": """examples:
  ppghost predict_cls -c inference_cls.yaml -o Global.inference_model_dir=inference \\
                      -o Global.infer_imgs=photos -o Global.use_gpu=False
  ppghost predict_cls -c inference_cls.yaml -o Global.use_gpu=False -o Global.engine=auto
""",
    "models": """examples:
  ppghost models
  ppghost models "GhostNet_x1*"
""",
}


def _batch(text: str) -> Optional[int]:
    return None if text == "dynamic" else count(text)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser with one sub-parser for each verb."""
    parser = argparse.ArgumentParser(
        prog="ppghost",
        description="Train, evaluate, use and ship GhostNet from PaddleClas configurations.",
        epilog=EPILOGS["ppghost"],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"ppghost {__version__}")
    verb = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    _add_learning(verb)
    _add_infer(verb)
    _add_predict_cls(verb)
    _add_export(verb)
    add_quantize_arguments(_add(verb, "quantize", quantize, "make an ONNX folder of 8 bits"))

    verify = _add(verb, "verify", verbs.verify, "prove a shipped folder")
    verify.add_argument("artifact", metavar="FOLDER", help="an exported folder")

    models = _add(verb, "models", verbs.models, "list the networks")
    models.add_argument("pattern", nargs="?", default="*", help='shell pattern, "GhostNet_x1*"')

    add_bench(verb)
    return parser


def _add(verb: Any, name: str, run: Verb, summary: str) -> argparse.ArgumentParser:
    return add_verb(verb, name, run, summary, EPILOGS[name])


def _add_learning(verb: Any) -> None:
    train = _add(verb, "train", verbs.train, "train a network")
    add_config_arguments(train)
    train.add_argument(
        "--check",
        action="store_true",
        help="check the configuration and the data, tell what would run, and stop",
    )
    train.add_argument(
        "--resume",
        action="store_true",
        help="go on from Global.output_dir/latest if it is there, else begin; so a command that was killed "
        "can be repeated as it is",
    )
    train.add_argument(
        "--estimate",
        action="store_true",
        help="run some steps (half a minute), tell what all would cost, and stop; no weights are written",
    )
    train.add_argument("--devices", metavar="N", type=int, help="with --estimate: tell it for N devices, too")
    train.add_argument(
        "--throughput",
        metavar="GMACS",
        type=float,
        help="with --devices: 1e9 multiply-adds that one of them does in a second while it trains",
    )

    evaluate = _add(verb, "eval", verbs.evaluate, "measure a network")
    add_config_arguments(evaluate, required=False)
    add_list_arguments(evaluate)
    _add_engine_arguments(evaluate)


def _add_infer(verb: Any) -> None:
    infer = _add(verb, "infer", verbs.infer, "classify pictures")
    add_config_arguments(infer, required=False)
    infer.add_argument("inputs", nargs="*", metavar="PICTURE", help="picture files or folders")
    infer.add_argument("--artifact", metavar="FOLDER", help="an exported folder, instead of -c")
    infer.add_argument("--list", metavar="FILE", help="a file with one picture path per line")
    infer.add_argument("--topk", type=count, metavar="K", help="classes per picture (default: as configured)")
    infer.add_argument("--output", metavar="FILE", help="write results to FILE.jsonl, .csv or .json")
    _add_engine_arguments(infer)


def _add_predict_cls(verb: Any) -> None:
    predict = _add(verb, "predict_cls", predict_cls, "classify with PaddleClas' inference_cls.yaml")
    predict.add_argument("-c", "--config", required=True, help="PaddleClas' inference_cls.yaml")
    predict.add_argument(
        "-o",
        "--override",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="replace or add a value: Global.use_gpu=False; may be repeated",
    )


def _add_export(verb: Any) -> None:
    export = _add(verb, "export", verbs.export, "make a folder to ship")
    add_config_arguments(export, required=False)
    export.add_argument(
        "--target",
        choices=sorted(find_targets()),
        default="paddle",
        help="what it is for (default: %(default)s)",
    )
    export.add_argument(
        "--artifact", metavar="FOLDER", help="convert a folder exported for Paddle, instead of -c"
    )
    export.add_argument(
        "--output", metavar="FOLDER", help="with --artifact, the folder to write (default: FOLDER_TARGET)"
    )
    export.add_argument(
        "--graph",
        choices=GRAPHS,
        help="how the network is drawn: as trained (stock), with folded batch norms, or fused besides; the "
        "numbers stay the same (default: what measures fastest for the network)",
    )
    onnx = export.add_argument_group("with --target onnx")
    onnx.add_argument("--opset", type=count, metavar="N", help="version of the operators (default: 11)")
    onnx.add_argument(
        "--batch",
        type=_batch,
        metavar="N",
        help="pictures in one run, or dynamic for any number (the default)",
    )
    onnx.add_argument("--input-name", metavar="NAME", help="of the input (default: x)")
    onnx.add_argument("--output-name", metavar="NAME", help="of the output (default: prob)")


def _add_engine_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what runs an exported folder, and how."""
    parser.add_argument(
        "--batch-size", type=count, metavar="N", help="pictures per run (default: as configured, or 1)"
    )
    parser.add_argument(
        "--threads", type=count, metavar="N", help="processors to work on pictures (default: all)"
    )
    parser.add_argument(
        "--engine",
        help=f"what runs the --artifact: for Paddle's {', '.join(paddle_inference.ENGINES)}; for ONNX "
        f"{', '.join(engines.ENGINES)}; or auto, which measures those of this machine once (default: what "
        "auto found, else the first of these)",
    )
    parser.add_argument(
        "--precision",
        choices=("fp32", "bf16", "fp16"),
        help="numbers that the engine computes with (default: fp32)",
    )


def run(arguments: Optional[Sequence[str]] = None) -> int:
    """Run one verb and return the exit code; `ppghost.cli.main` is the same."""
    # Paddle's advice to its own developers: nothing here is compiled by it, and frozen batch norm is meant.
    warnings.filterwarnings("ignore", message="No ccache found")
    warnings.filterwarnings("ignore", message="When training, we now always track global mean")
    return run_verb(build_parser().parse_args(arguments))
