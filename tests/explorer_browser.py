"""A page of the explorer in a real browser that reaches no network."""

import csv
import io
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]


class Opened:
    """A page that is ready, and what it said and asked for."""

    def __init__(self, browser, path, fragment="", *, before="", **options):
        self.context = browser.new_context(viewport={"width": 1400, "height": 860}, **options)
        self.context.add_init_script(before)
        self.page = self.context.new_page()
        self.troubles, self.requests = [], []
        self.context.route(lambda url: not url.startswith("file:"), lambda route: route.abort())
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.troubles.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.troubles.append(dialog.message), dialog.dismiss()))
        self.page.on("console", lambda message: self.troubles.append(message.text) if message.type == "error" else None)
        self.page.goto(path.as_uri() + fragment)
        self.page.wait_for_selector("html[data-ready]", timeout=15_000)

    def search(self, name):
        self.page.keyboard.press("/")
        self.page.keyboard.type(name)
        self.page.keyboard.press("Enter")
        self.page.wait_for_selector(f"#cells .over[data-colored^='{name} (']")

    def text(self, selector):
        return self.page.inner_text(selector)

    def select(self, group):
        self.page.select_option("#pick-group", label=group)
        self.page.click("#pick")
        self.page.wait_for_selector("#ranked")

    def saved(self, selector):
        with self.page.expect_download() as download:
            self.page.click(selector)
        return Path(download.value.path()).read_bytes()

    def table(self, selector):
        return list(csv.reader(io.StringIO(self.saved(selector).decode("utf-8"))))

    def picture(self, selector):
        data = self.page.locator(selector).screenshot()
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)

    def lasso(self, corners):
        """Encircle on the map of cells; corners as shares of its width and height."""
        box = self.page.locator("#cells .over").bounding_box()
        at = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in [*corners, corners[0]]]
        self.page.mouse.move(*at[0])
        self.page.mouse.down()
        for x, y in at[1:]:
            self.page.mouse.move(x, y, steps=8)
        self.page.mouse.up()


def count(picture, color, within=12):
    return int((np.abs(picture - np.array(color)).max(axis=2) <= within).sum())


def number(text):
    return float(text.replace("\u2212", "-").replace(",", "").replace("\u00b1", ""))
