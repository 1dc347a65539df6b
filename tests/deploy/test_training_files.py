"""The files that train in a cluster: their trades' tools agree, and their commands are accepted.

No container is started here, and there is no schema of PaddleJob to be had: of that, the names of its fields
are held to `api/v1/paddlejob_types.go` of PaddleFlow/paddle-operator, and its pods to Kubernetes'.
"""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from ppghost.cli.commands import build_parser
from ppghost.config import load_config
from tests.deploy.linters import check, check_kubernetes, check_yaml, linters, read
from tests.house.test_readme import commands

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy" / "training"
SERVICE, JOB = yaml.safe_load_all((FOLDER / "job.yaml").read_text(encoding="utf-8"))
PADDLE_JOB = read(FOLDER / "paddlejob.yaml")
DOCKERFILE = (FOLDER / "Dockerfile").read_text(encoding="utf-8")
PODS = {"job": JOB["spec"]["template"]["spec"], "paddlejob": PADDLE_JOB["spec"]["worker"]["template"]["spec"]}
CLEANED = ("Always", "Never", "OnFailure", "OnCompletion")


def command_of(pod: dict[str, Any]) -> list[str]:
    """Return the words of the launch that a pod's shell ends in."""
    [container] = pod["containers"]
    [script] = container["args"]
    last = script.replace("\\\n", " ").strip().splitlines()[-1]
    assert container["command"] == ["sh", "-ec"]
    assert last.startswith("exec ")
    return shlex.split(last)[1:]


def test_yaml_is_clean() -> None:
    check_yaml(*FOLDER.glob("*.yaml"))


def test_the_dockerfile_is_clean() -> None:
    check(linters() / "hadolint", "--strict-labels", FOLDER / "Dockerfile")


def test_the_job_follows_kubernetes() -> None:
    check_kubernetes(FOLDER / "job.yaml")


def test_the_pods_of_the_paddle_job_follow_kubernetes(tmp_path: Path) -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "worker"}, "spec": PODS["paddlejob"]}
    path = tmp_path / "pod.yaml"
    path.write_text(yaml.safe_dump(pod))
    check_kubernetes(path)


def test_the_paddle_job_has_the_fields_of_the_operator() -> None:
    assert (PADDLE_JOB["apiVersion"], PADDLE_JOB["kind"]) == ("batch.paddlepaddle.org/v1", "PaddleJob")
    spec = PADDLE_JOB["spec"]
    assert set(spec) == {"cleanPodPolicy", "intranet", "worker"}
    assert spec["cleanPodPolicy"] in CLEANED
    # With the two other values the operator gives names, which the launcher does not take as its master's.
    assert spec["intranet"] == "PodIP"
    assert set(spec["worker"]) == {"replicas", "template"}


def test_the_machines_of_the_job_find_the_first_one() -> None:
    name = SERVICE["metadata"]["name"]
    assert JOB["spec"]["template"]["spec"]["subdomain"] == name
    assert SERVICE["spec"]["clusterIP"] == "None"
    labels = JOB["spec"]["template"]["metadata"]["labels"]
    assert SERVICE["spec"]["selector"].items() <= labels.items()
    [script] = PODS["job"]["containers"][0]["args"]
    assert f"getent hosts {JOB['metadata']['name']}-0.{name})" in script
    words = command_of(PODS["job"])
    assert int(words[words.index("--nnodes") + 1]) == JOB["spec"]["completions"] == JOB["spec"]["parallelism"]
    assert JOB["spec"]["completionMode"] == "Indexed"


@pytest.mark.parametrize("kind", PODS)
def test_a_container_that_dies_goes_on_with_what_it_saved(kind: str) -> None:
    pod, words = PODS[kind], command_of(PODS[kind])
    assert pod["restartPolicy"] == "OnFailure"
    assert "--resume" in words
    [container] = pod["containers"]
    config = load_config(ROOT / words[words.index("-c") + 1])
    [home] = re.findall(r"^WORKDIR (\S+)$", DOCKERFILE, re.MULTILINE)
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    assert mounts[f"{home}/{Path(config.Global.output_dir)}"]["name"] == "data"
    assert config.DataLoader.Train is not None
    pictures = Path(home, config.DataLoader.Train.dataset.image_root)
    assert any(pictures.is_relative_to(place) for place in mounts)
    [claim] = (volume for volume in pod["volumes"] if volume["name"] == "data")
    assert claim["persistentVolumeClaim"]


def launches() -> dict[str, list[str]]:
    """Return the words behind `paddle.distributed.launch` or `tools/launch.py`, of pods and of the README."""
    named = {kind: command_of(pod) for kind, pod in PODS.items()}
    named.update((" ".join(words), words) for words in commands())
    starts = {
        name: next(
            (i for i, word in enumerate(words) if "distributed.launch" in word or "launch.py" in word), -1
        )
        for name, words in named.items()
    }
    # The launcher of old takes over where it is told a backend.
    return {
        name: words[starts[name] + 1 :]
        for name, words in named.items()
        if starts[name] >= 0 and "--backend" not in words
    }


@pytest.mark.parametrize("words", launches().values(), ids=launches())
def test_the_launcher_knows_its_words(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from paddle.distributed.launch.context.args_envs import parse_args

    numbers = ["0" if word.startswith("$") else word for word in words]
    monkeypatch.setattr(sys, "argv", ["launch", *numbers])
    options, unknown = parse_args()
    assert unknown == []
    assert options.training_script == "tools/train.py"
    assert build_parser().parse_args(["train", *options.training_script_args]).config


def test_the_image_has_what_the_command_needs() -> None:
    copied = re.findall(r"^COPY (\S+) \S+$", DOCKERFILE, re.MULTILINE)
    assert copied == ["ppghost", "configs", "tools"]
    ignored = (FOLDER / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    assert [f"!{name}" for name in copied] == [line for line in ignored if line.startswith("!")]
