"""The files that run the service elsewhere: they say what config.yml says, and each trade's own tool agrees.

No container is started here. nginx is: in front of a real service, with a certificate made for the test.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from client import main as client
from naive import Handler
from processes import family_of
from protocol import BUSY, PATH, SHUTTING_DOWN, TOO_LARGE

from ppghost.artifact import Artifact
from ppghost.environments import SERVING
from tests.deploy.linters import check, check_kubernetes, check_yaml, linters, read
from tests.deploy.naive_service import serving

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy" / "serving"
MANIFESTS = sorted((FOLDER / "kubernetes").glob("*.yaml"))
OBJECTS = [path for path in MANIFESTS if path.name != "kustomization.yaml"]
DOCKERFILE = (FOLDER / "Dockerfile").read_text(encoding="utf-8")
NGINX = (FOLDER / "nginx.conf").read_text(encoding="utf-8")
LATE = 6000


CONFIG = read(FOLDER / "config.yml")
COMPOSE = read(FOLDER / "compose.yaml")
KINDS = {tree["kind"]: tree for tree in map(read, OBJECTS)}
POD = KINDS["Deployment"]["spec"]["template"]["spec"]
[CONTAINER] = POD["containers"]


def words_of(words: list[str]) -> dict[str, str]:
    """Return the settings among a command's words: those behind -o."""
    return dict(after.split("=", 1) for before, after in zip(words, words[1:]) if before == "-o")


def test_yaml_is_clean() -> None:
    check_yaml(FOLDER / "config.yml", FOLDER / "compose.yaml", *MANIFESTS)


def test_the_dockerfile_is_clean() -> None:
    check(linters() / "hadolint", "--strict-labels", FOLDER / "Dockerfile")


def test_compose_follows_its_specification() -> None:
    builtin = ("--builtin-schema", "vendor.compose-spec")
    check(linters() / "check-jsonschema", *builtin, FOLDER / "compose.yaml")


@pytest.mark.parametrize("path", OBJECTS, ids=lambda path: path.stem)
def test_manifests_follow_kubernetes(path: Path) -> None:
    check_kubernetes(path)


def test_kustomize_puts_them_together() -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("there is no kubectl; https://kubernetes.io/docs/tasks/tools tells how to get it")
    made = subprocess.run([kubectl, "kustomize", MANIFESTS[0].parent], capture_output=True, check=False)
    assert made.returncode == 0, made.stderr
    assert {tree["kind"] for tree in yaml.safe_load_all(made.stdout)} == set(KINDS)


def test_every_manifest_is_listed_and_means_the_same_pods() -> None:
    listed = read(FOLDER / "kubernetes" / "kustomization.yaml")["resources"]
    assert sorted(listed) == [path.name for path in OBJECTS]
    labels = KINDS["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert labels
    assert KINDS["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert KINDS["Service"]["spec"]["selector"] == labels
    assert KINDS["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    assert KINDS["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"] == labels
    assert (
        KINDS["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"]
        == (KINDS["Deployment"]["metadata"]["name"])
    )


def test_ports_are_those_of_the_configuration() -> None:
    ports = [CONFIG["http_port"], CONFIG["rpc_port"]]
    assert re.findall(r"^EXPOSE (.*)$", DOCKERFILE, re.MULTILINE) == [" ".join(map(str, ports))]
    assert COMPOSE["services"]["ghostnet"]["expose"] == [str(port) for port in ports]
    assert [port["containerPort"] for port in CONTAINER["ports"]] == ports
    names = {port["name"] for port in CONTAINER["ports"]}
    assert {port["targetPort"] for port in KINDS["Service"]["spec"]["ports"]} == names
    opened = KINDS["NetworkPolicy"]["spec"]["ingress"]
    assert {port["port"] for rule in opened for port in rule["ports"]} == set(ports)
    annotations = KINDS["Deployment"]["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(CONFIG["http_port"])
    assert re.findall(r"server ghostnet:(\d+)", NGINX) == [str(CONFIG["http_port"])]
    assert f"http://127.0.0.1:{CONFIG['http_port']}/readyz" in DOCKERFILE


def test_probes_ask_what_the_server_answers() -> None:
    front = (FOLDER / "server" / "front.py").read_text(encoding="utf-8")
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        path = CONTAINER[probe]["httpGet"]["path"]
        assert f'"{path}":' in front
        assert CONTAINER[probe]["httpGet"]["port"] in {port["name"] for port in CONTAINER["ports"]}
    assert CONTAINER["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert CONTAINER["livenessProbe"]["httpGet"]["path"] == "/healthz"
    for path in re.findall(r"location = (\S+)", NGINX):
        assert path == PATH or f'"{path}":' in front


def test_a_stop_lets_requests_under_way_end() -> None:
    stop = CONFIG["limits"]["stop_seconds"]
    pause = CONTAINER["lifecycle"]["preStop"]["sleep"]["seconds"]
    # The supervisor waits five seconds longer than the workers.
    assert POD["terminationGracePeriodSeconds"] > pause + stop + 5
    assert int(COMPOSE["services"]["ghostnet"]["stop_grace_period"].rstrip("s")) > stop + 5
    assert "STOPSIGNAL SIGTERM" in DOCKERFILE


def test_workers_are_as_many_as_the_processors_allowed() -> None:
    service = COMPOSE["services"]["ghostnet"]
    assert words_of(service["command"])["worker_num"] == str(service["cpus"])
    assert words_of(CONTAINER["args"])["worker_num"] == CONTAINER["resources"]["limits"]["cpu"]
    (entry,) = re.findall(r"^ENTRYPOINT (.*)$", DOCKERFILE, re.MULTILINE)
    given = words_of(json.loads(entry))
    assert given == {"host": "0.0.0.0"}
    assert CONFIG["host"] == "127.0.0.1"


def test_containers_may_do_little() -> None:
    user = POD["securityContext"]["runAsUser"]
    assert f"USER {user}:{user}" in DOCKERFILE
    assert f"--uid {user}" in DOCKERFILE
    assert POD["securityContext"]["runAsNonRoot"] is True
    rights = CONTAINER["securityContext"]
    assert rights["readOnlyRootFilesystem"] is True
    assert rights["allowPrivilegeEscalation"] is False
    assert rights["capabilities"] == {"drop": ["ALL"]}
    service = COMPOSE["services"]["ghostnet"]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    # What the server writes goes to a place that it may write to.
    (entry,) = re.findall(r"^ENTRYPOINT (.*)$", DOCKERFILE, re.MULTILINE)
    words = json.loads(entry)
    place = Path(words[words.index("--folder") + 1])
    assert str(place.parent) in [mount["mountPath"] for mount in CONTAINER["volumeMounts"]]
    assert any(mount.startswith(f"{place.parent}:uid={user}") for mount in service["tmpfs"])


def test_the_image_has_the_python_that_paddle_serving_needs() -> None:
    (version,) = re.findall(r"^ARG PYTHON=(.*)$", DOCKERFILE, re.MULTILINE)
    assert re.fullmatch(r"3\.9\.\d+-slim-\w+", version), "pin the patch release, too"
    assert version.startswith(f"{SERVING.python}.")
    assert set(re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)) == {"python:${PYTHON}", "service"}
    for path in re.findall(r"^COPY (?!--from)(\S+) ", DOCKERFILE, re.MULTILINE):
        assert (ROOT / path).exists(), path


def test_nginx_limits_are_those_of_the_configuration() -> None:
    def seconds(name: str) -> float:
        (value,) = re.findall(rf"\b{name} (\d+)s;", NGINX)
        return float(value)

    (size,) = re.findall(r"client_max_body_size (\d+)m;", NGINX)
    limits = CONFIG["limits"]
    assert int(size) * 2**20 == limits["request_bytes"]
    assert seconds("client_header_timeout") == limits["header_seconds"]
    assert seconds("client_body_timeout") == limits["body_seconds"]
    assert seconds("proxy_read_timeout") > limits["answer_seconds"]
    assert {int(number) for number in re.findall(r'"err_no": (\d+)', NGINX)} == {
        TOO_LARGE,
        BUSY,
        SHUTTING_DOWN,
        LATE,
    }


def free_port() -> int:
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        port: int = place.getsockname()[1]
        return port


@contextlib.contextmanager
def nginx(backend: str, folder: Path) -> Iterator[tuple[str, Path]]:
    """Run nginx with our file in front of a service; yield its address and the certificate to trust."""
    program, openssl = shutil.which("nginx") or shutil.which("/usr/sbin/nginx"), shutil.which("openssl")
    if program is None or openssl is None:
        pytest.skip("nginx or openssl is not there; apt-get install nginx-light openssl")
    check(
        *(openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"),
        *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
        *("-keyout", folder / "tls.key", "-out", folder / "tls.crt"),
    )
    plain, secure = free_port(), free_port()
    text = NGINX.replace("/etc/nginx/tls/", f"{folder}/").replace("ghostnet:18080", backend)
    text = text.replace("listen 80;", f"listen 127.0.0.1:{plain};")
    text = text.replace("listen 443 ssl;", f"listen 127.0.0.1:{secure} ssl;")
    paths = "".join(
        f"  {name}_temp_path {folder}/{name};\n"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    text = text.replace("http {\n", "http {\n" + paths, 1)
    text = text.replace("worker_processes auto;", f"worker_processes 1;\npid {folder}/pid;\ndaemon off;")
    (folder / "nginx.conf").write_text(text, encoding="utf-8")
    words = [program, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "stderr"]
    check(*words, "-t")
    with (folder / "log").open("wb") as log, subprocess.Popen(words, stderr=log) as process:
        try:
            while process.poll() is None:
                with contextlib.suppress(ConnectionRefusedError):
                    socket.create_connection(("127.0.0.1", secure)).close()
                    break
            assert len(family_of(process.pid)) >= 1
            assert process.poll() is None, (folder / "log").read_text()
            yield f"https://127.0.0.1:{secure}", folder / "tls.crt"
        finally:
            process.terminate()


def ask(address: str, certificate: Path, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
    context = ssl.create_default_context(cafile=str(certificate))
    line = http.client.HTTPSConnection(address.rpartition("/")[2], context=context, timeout=30)
    with contextlib.closing(line):
        line.request(method, path, body)
        answer = line.getresponse()
        return answer.status, answer.read()


def pages(address: str, certificate: Path, count: int) -> Iterator[tuple[int, bytes]]:
    """Yield the answers to requests for the page as fast as one connection gets them."""
    context = ssl.create_default_context(cafile=str(certificate))
    line = http.client.HTTPSConnection(address.rpartition("/")[2], context=context, timeout=30)
    with contextlib.closing(line):
        for _ in range(count):
            line.request("GET", "/")
            answer = line.getresponse()
            yield answer.status, answer.read()


class Slow(Handler):
    """Says that it is busy."""

    def do_POST(self) -> None:  # noqa: N802 - http.server's name
        """Refuse."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self._tell(503, BUSY, "busy", None)  # type: ignore[arg-type]


def test_nginx_lets_in_what_it_should(
    ghostnet: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "picture.png"
    cv2.imwrite(str(picture), np.full((40, 50, 3), 90, np.uint8))
    with serving(ghostnet.folder) as url, nginx(url.rpartition("/")[2], tmp_path) as (address, certificate):
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert client(["--server", address, str(picture)]) == 0
        assert len(json.loads(capsys.readouterr().out)["class_ids"]) == 5
        assert ask(address, certificate, "GET", "/")[0] == 200
        assert ask(address, certificate, "GET", "/info")[0] == 200
        for method, path in (("GET", PATH), ("POST", "/"), ("DELETE", PATH)):
            assert ask(address, certificate, method, path)[0] == 403
        for path in ("/metrics", "/healthz", "/readyz", "/ghostnet/prediction/..%2f", "/index.html"):
            assert ask(address, certificate, "GET", path)[0] == 404
        long = b"x" * (CONFIG["limits"]["request_bytes"] + 1)
        status, text = ask(address, certificate, "POST", PATH, long)
        assert (status, json.loads(text)["err_no"]) == (413, TOO_LARGE)
        answers = [answer for _ in range(5) for answer in pages(address, certificate, 200)]
        assert {status for status, _ in answers} == {200, 429}
        assert {json.loads(text)["err_no"] for status, text in answers if status == 429} == {BUSY}


def test_nginx_tells_when_nobody_is_there(ghostnet: Artifact, tmp_path: Path) -> None:
    with nginx(f"127.0.0.1:{free_port()}", tmp_path) as (address, certificate):
        status, text = ask(address, certificate, "POST", PATH, b"{}")
    assert (status, json.loads(text)["err_no"]) == (503, SHUTTING_DOWN)


def test_nginx_passes_on_that_the_service_is_busy(ghostnet: Artifact, tmp_path: Path) -> None:
    with serving(ghostnet.folder, Slow) as url, nginx(url.rpartition("/")[2], tmp_path) as (address, crt):
        status, text = ask(address, crt, "POST", PATH, b"{}")
    assert (status, json.loads(text)["err_no"]) == (503, BUSY)
