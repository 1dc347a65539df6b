"""The page for people, in a headless Chromium: pictures in, classes out, mistakes in words."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from naive import Handler

from ppghost.artifact import Artifact
from ppghost.predict import Classifier
from ppghost.vision.variants import without_normalisation
from tests.deploy.chromium import REMEDY, Chromium, find_chromium
from tests.deploy.naive_service import serving

PAGE = Path(__file__).resolve().parents[2] / "deploy" / "serving" / "page" / "index.html"
TEXT = PAGE.read_text(encoding="utf-8")
SHOWN = "!document.getElementById('result').hidden"
COMPLAINS = "!document.getElementById('error').hidden"
SENTENCE = "document.getElementById('sentence').innerText"
ROWS = "[...document.querySelectorAll('#classes li')].map(row => row.innerText.split('\\n'))"


@pytest.fixture(scope="module")
def browser() -> Iterator[Chromium]:
    program = find_chromium()
    if program is None:
        pytest.skip(f"there is no Chromium; {REMEDY}")
    with Chromium(program) as found:
        yield found


@pytest.fixture(scope="module")
def service(ghostnet: Artifact) -> Iterator[str]:
    with serving(ghostnet.folder) as url:
        yield url


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A wide picture, and things that are none."""
    folder = tmp_path_factory.mktemp("dropped")
    x, y = np.meshgrid(np.arange(120), np.arange(40))
    picture = np.stack([2 * x, 6 * y, 255 - 2 * x], -1).astype(np.uint8)
    cv2.imwrite(str(folder / "wide.png"), picture)
    (folder / "notes.txt").write_text("milk, bread")
    (folder / "empty.jpg").write_bytes(b"")
    return {path.stem: path for path in folder.iterdir()}


def told_by(browser: Chromium, level: str) -> list[str]:
    """Return what the console holds of a level, mistakes that the page reports itself left out."""
    entries = [event["params"]["entry"] for event in browser.events if event["method"] == "Log.entryAdded"]
    thrown = [event for event in browser.events if event["method"] == "Runtime.exceptionThrown"]
    return [entry["text"] for entry in entries if entry["level"] == level] + [str(one) for one in thrown]


def test_a_dropped_picture_is_classified_as_infer_does(
    browser: Chromium, service: str, files: dict[str, Path], ghostnet: Artifact
) -> None:
    browser.events.clear()
    browser.open(service + "/")
    browser.wait_for("document.getElementById('model').innerText.includes('GhostNet_x0_5')")
    browser.drop([files["wide"]], 300, 300)
    browser.wait_for(SHOWN)
    with Classifier.from_artifact(ghostnet.folder) as classifier:
        wanted = classifier.classify_one(files["wide"])
    rows = browser.evaluate(ROWS)
    assert rows == [[one.label, f"{100 * one.score:.1f} %"] for one in wanted]
    assert len(rows) == 5
    assert re.search(r"Answered in \d+ ms", browser.evaluate("document.getElementById('time').innerText"))
    widths = browser.evaluate(
        "[...document.querySelectorAll('.bar')].map(bar => parseFloat(bar.style.width))"
    )
    browser.wait_for("[...document.querySelectorAll('.bar')].every(bar => bar.style.width)")
    assert widths == sorted(widths, reverse=True)
    status = browser.evaluate("document.getElementById('status').textContent")
    assert status == f"Most likely: {wanted[0].label}, {100 * wanted[0].score:.1f} per cent."
    assert told_by(browser, "error") == []


def test_the_picture_is_drawn_as_the_network_sees_it(
    browser: Chromium, service: str, files: dict[str, Path], ghostnet: Artifact
) -> None:
    browser.open(service + "/")
    browser.choose("#file", files["wide"])
    browser.wait_for(SHOWN)
    url = browser.evaluate("document.getElementById('seen').toDataURL('image/png')")
    drawn = cv2.imdecode(np.frombuffer(base64.b64decode(url.partition(",")[2]), np.uint8), cv2.IMREAD_COLOR)
    wanted = without_normalisation(ghostnet.pipeline).to_chw(files["wide"].read_bytes())
    # Resizing differs from OpenCV's. A pixel to the side is two levels here, one up or down is six.
    assert np.abs(drawn[:, :, ::-1].transpose(2, 0, 1).astype(int) - wanted).mean() < 1.5
    assert "120 × 40" in browser.evaluate("document.getElementById('caption').innerText")
    label = browser.evaluate("document.getElementById('seen').getAttribute('aria-label')")
    assert label == "The centre of wide.png, as the network sees it"


@pytest.mark.parametrize(("name", "says"), [("notes", "no picture"), ("empty", "0 bytes")])
def test_what_is_no_picture_is_answered_in_words(
    browser: Chromium, service: str, files: dict[str, Path], name: str, says: str
) -> None:
    browser.open(service + "/")
    browser.drop([files["wide"]], 50, 50)
    browser.wait_for(SHOWN)
    browser.drop([files[name]], 50, 50)
    browser.wait_for(COMPLAINS)
    assert says in browser.evaluate(SENTENCE)
    assert browser.evaluate("document.getElementById('result').hidden"), (
        "an old answer stands beside the error"
    )
    browser.drop([files["wide"]], 50, 50)
    browser.wait_for(f"{SHOWN} && !({COMPLAINS})")


def test_a_pasted_picture_counts_and_pasted_text_is_refused(
    browser: Chromium, service: str, files: dict[str, Path]
) -> None:
    browser.open(service + "/")
    data = json.dumps(base64.b64encode(files["wide"].read_bytes()).decode())
    paste = (
        "(make => { const data = new DataTransfer(); make(data); document.dispatchEvent("
        "new ClipboardEvent('paste', {clipboardData: data})); })"
    )
    browser.evaluate(paste + "(data => data.setData('text/plain', 'a cat'))")
    browser.wait_for(COMPLAINS)
    assert "no file" in browser.evaluate(SENTENCE)
    browser.evaluate(
        paste + f"(data => data.items.add(new File([Uint8Array.from(atob({data}), c => c.charCodeAt(0))],"
        " 'pasted.png', {type: 'image/png'})))"
    )
    browser.wait_for(SHOWN)


class BusyOnce(Handler):
    """Refuses the first request."""

    has_refused = False

    def do_POST(self) -> None:  # noqa: N802 - http.server's name
        """Answer as nginx does when there is no backend, then as usual."""
        if BusyOnce.has_refused:
            super().do_POST()
        else:
            BusyOnce.has_refused = True
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_error(503)


def test_a_busy_server_may_be_asked_again_by_the_keyboard(
    browser: Chromium, ghostnet: Artifact, files: dict[str, Path]
) -> None:
    with serving(ghostnet.folder, BusyOnce) as url:
        browser.open(url + "/")
        browser.press("Tab")
        assert browser.evaluate("document.activeElement.id") == "file"
        browser.drop([files["wide"]], 50, 50)
        browser.wait_for(COMPLAINS)
        assert "busy" in browser.evaluate(SENTENCE)
        browser.press("Tab")
        assert browser.evaluate("document.activeElement.id") == "again"
        browser.press("Enter")
        browser.wait_for(f"{SHOWN} && !({COMPLAINS})")


def test_a_server_that_is_gone_is_told(browser: Chromium, ghostnet: Artifact, files: dict[str, Path]) -> None:
    with serving(ghostnet.folder) as url:
        browser.open(url + "/")
        browser.wait_for("document.getElementById('model').innerText.includes('GhostNet')")
    browser.drop([files["wide"]], 50, 50)
    browser.wait_for(COMPLAINS)
    assert "cannot be reached" in browser.evaluate(SENTENCE)


def test_it_fits_a_phone(browser: Chromium, service: str, files: dict[str, Path], tmp_path: Path) -> None:
    browser.open(service + "/")
    browser.screenshot(tmp_path / "phone.png", 360, 640)
    browser.drop([files["wide"]], 50, 50)
    browser.wait_for(SHOWN)
    assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_it_loads_nothing_from_elsewhere_and_runs_nothing_foreign() -> None:
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', TEXT)
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    for tag in ("script", "style"):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", TEXT, re.DOTALL)
        wanted = base64.b64encode(hashlib.sha256(content.encode("utf-8")).digest()).decode("ascii")
        assert f"{tag}-src 'sha256-{wanted}'" in policy, f"the {tag} was changed: sha256-{wanted}"
    assert not re.findall(r"https?://|//cdn|@import|innerHTML|eval\(", TEXT)
    assert not re.findall(r"\s(?:style|on[a-z]+)=", TEXT)
