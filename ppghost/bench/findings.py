"""What a comparison of inference finds, and where and on what it was found.

Door: imports artifacts and the rock.
"""

from __future__ import annotations

import datetime
import math
import platform
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

import ppghost
from ppghost.artifact import read_artifact
from ppghost.bench.programs import Program
from ppghost.machine import cpu_facts, usable_processors


@dataclass(frozen=True)
class Setting:
    """What is measured.

    Attributes:
        model: name of the network.
        threads: threads and CPUs of each program.
        batch: pictures in a call; None for the way from picture files to answers.
    """

    model: str
    threads: int
    batch: Optional[int]


@dataclass
class Start:
    """How a program started.

    Attributes:
        model: the network.
        threads: of the program.
        program: its name.
        first_seconds: from the start of the process to its first prediction, load and imports included.
        load_seconds: from the file to a network that is ready.
        peak_bytes: the most memory it held until then.
        file_bytes: size of the files of the network; 0 where the program makes it itself.
        error: largest difference of its logits from the network's, as a share of the largest; None before it
            was asked.
        agreement: share of pictures with the same best class as in float32; None in float32.
    """

    model: str
    threads: int
    program: str
    first_seconds: float
    load_seconds: float
    peak_bytes: int
    file_bytes: int
    error: Optional[float] = None
    agreement: Optional[float] = None


@dataclass
class Measurement:
    """What one program did in one setting.

    Attributes:
        setting: what was asked.
        program: its name.
        call_ms: milliseconds of a call, the median of each round; of one picture where there is no batch.
        peak_bytes: the most memory that its process held.
        how: the engine's setting that was the fastest.
        best_ms: milliseconds of the fastest call.
    """

    setting: Setting
    program: str
    call_ms: list[float] = field(default_factory=list)
    peak_bytes: int = 0
    how: str = ""
    best_ms: float = math.inf


@dataclass
class Comparison:
    """Everything that was measured, and what could not be.

    Attributes:
        provenance: machine, date, command, and the artifacts that were measured.
        programs: name -> title, of those that were asked for.
        frameworks: program -> name and version of what runs it.
        starts: one for each program, network and number of threads.
        measurements: in the order of settings, then of programs.
        parts: model -> milliseconds of decoding and of preparing a picture on one core.
        missing: sentences about programs that were left out, with the reason.
    """

    provenance: dict[str, Any]
    programs: dict[str, Program] = field(default_factory=dict)
    frameworks: dict[str, str] = field(default_factory=dict)
    starts: list[Start] = field(default_factory=list)
    measurements: list[Measurement] = field(default_factory=list)
    parts: dict[str, dict[str, float]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)


def machine() -> dict[str, Any]:
    """Return facts about this computer: the CPU's name and abilities where the system tells them."""
    facts = {"machine": platform.machine(), "system": platform.platform(), "cpus": usable_processors()}
    name, flags = cpu_facts()
    return {**facts, "cpu": name, "cpu_flags": " ".join(sorted(flags))}


def provenance(command: str) -> dict[str, Any]:
    """Return where, when and how something is measured; the artifacts are noted as they are made."""
    return {
        **machine(),
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "command": command,
        "ppghost": ppghost.__version__,
        "python": platform.python_version(),
        "artifacts": {},
    }


def artifact_facts(folder: Path) -> dict[str, Any]:
    """Return what tells one export from another: its version, the hashes of its files, what wrote it."""
    facts = read_artifact(folder).facts
    return {
        "version": facts.version,
        "input_shape": list(facts.input_shape),
        "class_num": facts.class_num,
        "sha256": {name: facts.files[name].sha256 for name in facts.model_files()},
        "tools": dict(facts.tools),
    }
