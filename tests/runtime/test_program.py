"""Programs may be hostile: the reader answers with a sentence, never with a crash."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ppghost.errors import GhostError
from ppghost.native import find_compiler
from ppghost.runtime import GhostPredictor
from ppghost.runtime.library import LIBRARY
from tests.runtime.programs import Sketch, bottleneck
from tests.runtime.test_engine import has_compiler

pytestmark = pytest.mark.skipif(
    not has_compiler(), reason="no C compiler to build the engine: install gcc, or set CC"
)
MANY = settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
NUMBERS = (
    "-1",
    "0",
    "1",
    "2",
    "7",
    "65536",
    "2147483648",
    "99999999999999999999",
    "-9223372036854775808",
    "x",
    "",
)


def sketch() -> Sketch:
    made = Sketch(0, cut=True)
    value = bottleneck(made, made.conv("stem", 0, 6, 3, 2, "relu"), 3, 3, 3, 1, False)
    value = bottleneck(made, value, 5, 4, 5, 2, True)
    made.softmax(made.dense(made.mean(value), 3, "none"))
    return made


def answer(program: bytes, weights: bytes, folder: Path) -> str:
    """Return the reason for refusing a program, or "" after running it."""
    (folder / "net.ghost").write_bytes(program)
    (folder / "net.bin").write_bytes(weights)
    try:
        with GhostPredictor(folder / "net.ghost", folder / "net.bin", threads=2) as predictor:
            channels = predictor.facts.channels
            predictor(np.ones((1, channels, 9, 7), "float32"))
    except GhostError as error:
        return str(error)
    return ""


def spoil(text: str, draw: random.Random) -> str:
    """Change a program in one to four places: words, numbers, lines."""
    lines = text.splitlines()
    for _ in range(draw.randint(1, 4)):
        place = draw.randrange(len(lines))
        words = lines[place].split(" ")
        word = draw.randrange(len(words))
        change = draw.randrange(6)
        if change == 0:
            words[word] = words[word].partition("=")[0] + "=" + draw.choice(NUMBERS)
        elif change == 1:
            words.pop(word)
        elif change == 2:
            words[word] = draw.choice(draw.choice(lines).split(" ") or [""])
        elif change == 3:
            lines.insert(place, draw.choice(lines))
        elif change == 4 and len(lines) > 1:
            lines.pop(place)
            continue
        else:
            words.append(draw.choice(["add=1", "gate=1", "weight_in=5", "bias_out=5", "=", "kernel=4"]))
        lines[place] = " ".join(words)
    return "\n".join(lines) + "\n"


def test_the_unspoilt_program_runs(tmp_path: Path) -> None:
    assert answer(sketch().text().encode(), bytes(sketch().weights), tmp_path) == ""


@MANY
@given(seed=st.integers(0, 10**9))
def test_a_spoilt_program_is_refused_or_runs(seed: int, tmp_path: Path) -> None:
    answer(spoil(sketch().text(), random.Random(seed)).encode(), bytes(sketch().weights), tmp_path)


@MANY
@given(noise=st.binary(max_size=300))
def test_noise_is_refused(noise: bytes, tmp_path: Path) -> None:
    assert answer(noise, b"", tmp_path)
    assert answer(b"ghost 1\ninput channels=3\nweights bytes=0\n" + noise, b"", tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("ghost 1\n", "ghost 2\n", "form 1"),
        ("weights bytes=", "weights bytes=1", "bytes"),
        ("channels=6", "channels=6000", "too small"),
        ("from=1", "from=9", "from=9"),
        ("stem value=1", "stem value=2", "value=2"),
        ("kernel=3", "kernel=4", "odd"),
        ("activation=relu", "activation=clip", "clip"),
        ("output from=", "output form=", "from"),
        ("softmax ", "hardmax ", "hardmax"),
    ],
)
def test_the_reason_names_what_is_wrong(old: str, new: str, reason: str, tmp_path: Path) -> None:
    text = sketch().text()
    assert old in text
    assert reason in answer(text.replace(old, new, 1).encode(), bytes(sketch().weights), tmp_path)


def test_weights_that_were_cut_short_are_refused(tmp_path: Path) -> None:
    weights = bytes(sketch().weights)
    assert "bytes" in answer(sketch().text().encode(), weights[:-1], tmp_path)


MAIN = """
#include "engine.h"
#include <stdio.h>
#include <stdlib.h>
int main(int count, char **arguments)
{
    char error[256];
    static float images[3 * 3 * 70 * 61], scores[3 * 64];
    int opened = 0;
    for (int i = 1; i + 1 < count; i++) {
        GhostNetwork *network =
            ghost_open(arguments[i], arguments[count - 1], "fp32", "baseline", error, sizeof error);
        GhostSession *session = network ? ghost_start(network, 2, error, sizeof error) : NULL;
        if (session && ghost_facts(network).channels <= 3 && ghost_facts(network).classes <= 64) {
            opened++;
            ghost_run(session, images, 3, 70, 61, scores, error, sizeof error);
            ghost_run(session, images, 1, 5, 3, scores, error, sizeof error);
        }
        ghost_close(network);
        ghost_stop(session);
    }
    printf("%d", opened);
    return 0;
}
"""


def test_no_byte_is_read_or_written_outside_of_its_place(tmp_path: Path) -> None:
    """Read spoilt programs and run those that are sound, with the compiler's watch on every access."""
    compiler = find_compiler()
    watch = ["-g1", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    (tmp_path / "main.c").write_text(MAIN, encoding="ascii")
    jobs = []
    for command in LIBRARY.commands(compiler, tmp_path):
        # The kernels of the wider sets are linked but not run: with a watch they take minutes to compile.
        is_wider = any(word.startswith("-mavx") for word in command)
        words = [word for word in command if word != "-O3"]
        jobs.append(subprocess.Popen([*words, *(["-O0"] if is_wider else watch)], stderr=subprocess.PIPE))
    complaints = [job.communicate()[1] for job in jobs]
    objects = [command[-1] for command in LIBRARY.commands(compiler, tmp_path)]
    link = [*compiler, *watch, f"-I{LIBRARY.folder}", str(tmp_path / "main.c"), *objects, *LIBRARY.links]
    linked = subprocess.run([*link, "-o", str(tmp_path / "main")], capture_output=True, check=False)
    if any(job.returncode for job in jobs) or linked.returncode:
        pytest.skip(f"the compiler cannot watch memory: {(complaints[0] + linked.stderr)[-200:]!r}")
    weights = tmp_path / "net.bin"
    weights.write_bytes(bytes(sketch().weights))
    paths = [tmp_path / f"{seed}.ghost" for seed in range(150)]
    for seed, path in enumerate(paths):
        path.write_text(spoil(sketch().text(), random.Random(seed)) if seed else sketch().text())
    ran = subprocess.run([tmp_path / "main", *paths, weights], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert int(ran.stdout) >= 1
