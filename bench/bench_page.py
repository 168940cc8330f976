"""The report's page of large networks in chromium: its size, the time to write it, to load it, to search, to draw."""

import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from playwright.sync_api import Page, sync_playwright

from modulize import prepare_model
from networks import FunctionalChain, network
from timing import milliseconds, table

CASES: dict[str, Callable[[], torch.nn.Module]] = {
    "densenet201": lambda: network("densenet201"),
    "swin_v2_b": lambda: network("swin_v2_b"),
    "3,000 operations in one block": lambda: FunctionalChain(3000),
}


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def found(page: Page, word: str) -> None:
    page.fill("#search", word)
    page.wait_for_selector("#results:not([hidden]) li")


def moved(page: Page) -> None:
    """One wheel turn over the graph, until it is drawn."""
    page.mouse.move(600, 450)
    page.mouse.wheel(0, 400)
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def measure(page: Page, model: torch.nn.Module, file: Path) -> list[str]:
    report = prepare_model(model.eval()).report
    written = seconds(lambda: report.save_html(file))
    page.goto("about:blank")

    def load() -> None:
        page.goto(file.as_uri())
        page.wait_for_selector("html[data-ready]")

    figures = [written, seconds(load), seconds(lambda: found(page, "relu")), seconds(lambda: moved(page))]
    operations, size = report.as_dict()["operations"], file.stat().st_size / 1e6
    return [f"{operations}", f"{size:.1f} MB", *map(milliseconds, figures)]


def main() -> None:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        print("no chromium: the page is not measured")
        return
    rows = []
    with sync_playwright() as driver, tempfile.TemporaryDirectory() as folder:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1300, "height": 900})
        for name, make in CASES.items():
            rows.append([name, *measure(page, make(), Path(folder) / "page.html")])
        browser.close()
    table("The report's page", ["network", "operations", "page", "written in", "loads in", "search", "wheel"], rows)


if __name__ == "__main__":
    main()
