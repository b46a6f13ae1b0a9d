"""The page in a real browser: load it, change something, see the picture change; nothing leaves this machine."""

from __future__ import annotations

import io
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import cutmix_dense as cd
from cutmix_dense.cli.exploring import sources
from cutmix_dense.cli.exploring.drawing import look

ROOT = Path(__file__).resolve().parents[2]

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
# the program itself, in a process that writes down whom it calls and reaches this machine only
GUARDED = """
import runpy, socket, sys
log, script, *words = sys.argv[1:]
connect, look_up = socket.socket.connect, socket.getaddrinfo
def check(host):
    if str(host) not in ("127.0.0.1", "localhost", "::1", "None"):
        open(log, "a").write(f"{host}\\n")
        raise OSError(f"the test lets nobody call {host}")
def guarded_connect(self, address):
    if self.family in (socket.AF_INET, socket.AF_INET6):
        check(address[0])
    return connect(self, address)
def guarded_look_up(host, *rest, **more):
    check(host)
    return look_up(host, *rest, **more)
socket.socket.connect, socket.getaddrinfo = guarded_connect, guarded_look_up
sys.argv = [script, *words]
runpy.run_path(script, run_name="__main__")
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The page's address, served by the command line over a fresh demo set; its folder; whom it called."""
    pytest.importorskip("gradio", reason="the page needs gradio: extra explore")
    folder = tmp_path_factory.mktemp("explore")
    words = [str(folder / "calls"), str(ROOT / "tools" / "explore.py"), "--cache", str(folder)]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([sys.executable, "-c", GUARDED, *words], stdout=log, stderr=log, cwd=folder)
    try:
        deadline = time.monotonic() + 120
        while not (found := re.search(r"http://127\.0\.0\.1:\d+/", (folder / "log").read_text())):
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, "the page was not served within two minutes"
            time.sleep(0.2)
        yield found.group(), folder
    finally:
        process.send_signal(signal.SIGINT)  # Ctrl-C
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:  # started where Ctrl-C is ignored
            process.terminate()
            process.wait(10)
    assert not (folder / "calls").exists(), f"the page called {(folder / 'calls').read_text()}"
    assert "Traceback" not in (folder / "log").read_text()


class Window:
    """A browser window on the page, and what it complained about."""

    def __init__(self, page, address):
        self.page, self.address = page, address
        self.requests, self.errors = [], []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("console", lambda message: message.type == "error" and self.errors.append(message.text))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.goto(address)
        page.wait_for_selector("#mixed img")
        self.settle()

    def settle(self):
        """Wait until nothing has changed for a while."""
        last, since = "", time.monotonic()
        deadline = time.monotonic() + 30
        while time.monotonic() - since < 1.2 and time.monotonic() < deadline:
            now = self.page.inner_html("#show") + self.code()
            if now != last:
                last, since = now, time.monotonic()
            self.page.wait_for_timeout(100)

    def picture(self):
        with Image.open(io.BytesIO(self.page.locator("#mixed img").screenshot())) as image:
            return np.asarray(image.convert("RGB")).astype(int)

    def source(self):
        return self.page.get_attribute("#mixed img", "src")

    def code(self):
        found = self.page.locator(".cm-content:visible")
        return found.inner_text() if found.count() else ""

    def pick(self, label, option):
        self.page.get_by_label(label, exact=True).click()
        self.page.get_by_role("option", name=option, exact=True).click()
        self.settle()

    def drag(self, label, share):
        """Drag a slider's knob with the mouse, to a share of its way."""
        slider = self.page.get_by_label(f"range slider for {label}", exact=True)
        slider.scroll_into_view_if_needed()
        box, low, high = slider.bounding_box(), *(float(slider.get_attribute(end)) for end in ("min", "max"))
        start = (float(slider.input_value()) - low) / (high - low)
        knob = 16
        places = [box["x"] + knob / 2 + (box["width"] - knob) * part for part in (start, share)]
        height = box["y"] + box["height"] / 2
        self.page.mouse.move(places[0], height)
        self.page.mouse.down()
        self.page.mouse.move(places[1], height, steps=12)
        self.page.mouse.up()
        self.settle()

    def type_into(self, label, text):
        field = self.page.get_by_label(f"number input for {label}", exact=True)
        field.fill(text)
        field.press("Enter")
        self.settle()


@pytest.fixture
def window(served):
    """A function that opens a window of some size; afterwards nothing may have failed or left this machine."""
    api = pytest.importorskip("playwright.sync_api", reason="the browser is driven by playwright's package")
    if not CHROMIUM:
        pytest.skip("there is no chromium here (Debian: apt-get install chromium)")
    opened = []
    with api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)

        def window_of(width, height):
            page = browser.new_context(viewport={"width": width, "height": height}).new_page()
            opened.append(Window(page, served[0]))
            return opened[-1]

        yield window_of
        for each in opened:
            assert not each.errors
            elsewhere = [url for url in each.requests if not url.startswith((served[0], "data:", "blob:"))]
            assert not elsewhere
        browser.close()


def test_a_visit(window, served, tmp_path):
    visit = window(1280, 900)
    assert visit.page.title() == "Explore mixing augmentations"
    visit.page.screenshot(path=tmp_path / "start.png")
    first, lines = visit.picture(), visit.code()
    assert first.shape[1] > 500
    assert "mix = cd.CutMix(p=1.0)" in lines
    table = visit.page.locator("#instances tbody tr")
    assert table.count() > 3
    assert visit.page.locator("#instances .badge").first.inner_text() in ("kept", "shrunk", "dropped", "ignored")

    visit.drag("seed", 0.5)
    second = visit.picture()
    assert (abs(first - second) > 40).mean() > 0.02
    visit.drag("alpha", 0.1)
    assert re.search(r"alpha=0\.\d", visit.code())
    assert not np.array_equal(visit.picture(), second)

    visit.pick("method", "Mosaic")
    assert (abs(visit.picture() - second) > 40).mean() > 0.1
    assert "mix = cd.Mosaic()" in visit.code()
    assert visit.page.locator("#sources img").count() == 4
    visit.page.screenshot(path=tmp_path / "mosaic.png")
    for tab, words in (
        ("Albumentations", "cda.Mosaic("),
        ("MMEngine", 'type="cutmix_dense.Mosaic"'),
        ("command line", "cutmix-dense browse"),
    ):
        visit.page.get_by_role("tab", name=tab).click()
        visit.page.wait_for_timeout(400)
        assert words in visit.code()


def test_the_latest_change_wins(window, served):
    visit = window(1280, 900)
    seed = visit.page.get_by_label("range slider for seed", exact=True)
    for _ in range(25):
        seed.press("ArrowRight")
    visit.settle()
    dataset = sources.open_folder(str(served[1] / "demo" / "voc"))
    expected = look(dataset, cd.CutMix(p=1.0), sources.DEMO_START, 25)
    assert visit.source() == re.search(r"src='([^']+)'", expected.mixed).group(1)
    before = visit.source()
    seed.press("ArrowRight")
    visit.page.wait_for_function("before => document.querySelector('#mixed img').src !== before", arg=before)


def test_a_refused_setting_is_explained_and_mended(window, tmp_path):
    visit = window(1280, 900)
    visit.pick("region", "AreaBox")
    before = visit.source()
    visit.type_into("area: low", "0.8")
    assert "area must be (low, high)" in visit.page.inner_text("#problem")
    assert visit.source() == before
    visit.page.screenshot(path=tmp_path / "refused.png")
    visit.type_into("area: high", "0.9")
    assert visit.page.inner_text("#problem").strip() == ""
    assert "region=cd.regions.AreaBox(area=(0.8, 0.9))" in visit.code()
    assert visit.source() != before


def test_other_pictures(window, served, tmp_path):
    visit = window(1280, 900)
    start = visit.source()
    visit.page.get_by_role("button", name="Next").click()
    visit.settle()
    assert visit.source() != start
    visit.page.get_by_role("button", name="Previous").click()
    visit.settle()
    assert visit.source() == start

    visit.pick("pictures", "A folder with a data set …")
    folder = visit.page.get_by_role("textbox", name="folder")
    folder.fill(str(tmp_path / "nowhere"))
    visit.page.get_by_role("button", name="Open the folder").click()
    visit.settle()
    assert "no such folder" in visit.page.inner_text("#problem")
    assert visit.source() == start
    folder.fill(str(served[1] / "demo" / "coco"))
    visit.page.get_by_role("button", name="Open the folder").click()
    visit.settle()
    assert visit.page.inner_text("#problem").strip() == ""
    visit.pick("method", "ClassMix")
    assert "semantic map" in visit.page.inner_text("#problem")
    visit.pick("method", "CutMix")

    visit.pick("pictures", "My own pictures …")
    files = sorted((served[1] / "demo" / "coco").rglob("*.jpg"))[:3]
    visit.page.set_input_files("input[type=file]", files)
    visit.settle()
    assert visit.page.inner_text("#problem").strip() == ""
    assert "No objects are annotated" in visit.page.inner_text("#instances")


def test_a_narrow_window(window, tmp_path):
    visit = window(390, 844)
    visit.page.screenshot(path=tmp_path / "narrow.png", full_page=True)
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= 390
    assert visit.picture().shape[1] > 330
    visit.page.get_by_label("range slider for alpha", exact=True).scroll_into_view_if_needed()
    box = visit.page.locator("#mixed img").bounding_box()
    assert 0 <= box["y"] < 100  # it stays in view while a setting is dragged


def test_everything_has_a_name(window):
    visit = window(1280, 900)
    for method in ("CutMix", "Mosaic", "CopyPaste", "CarveMix"):
        visit.pick("method", method)
        nameless = visit.page.evaluate(
            """() => [...document.querySelectorAll('input, textarea, select, button')].filter(element => {
                if (!element.offsetParent) return false;
                const labels = [...(element.labels || [])].map(label => label.innerText).join('');
                return !(element.getAttribute('aria-label') || element.getAttribute('aria-labelledby') ||
                         element.title || labels.trim() || element.innerText.trim());
            }).map(element => element.outerHTML.slice(0, 200))"""
        )
        assert not nameless
    assert visit.page.locator("img:not([alt])").count() == 0
