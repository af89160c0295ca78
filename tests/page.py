"""A page as a test reads it."""

from html.parser import HTMLParser


class Page(HTMLParser):
    """Tags with their attributes, tables by row, and text by id."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.tables, self.by_id = [], [], {}
        self._cell, self._id = None, None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._id = dict(attrs).get("id")
        if tag == "table":
            self.tables.append((dict(attrs), []))
        elif tag == "tr":
            self.tables[-1][1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][1][-1].append("")
            self._cell = True

    def handle_endtag(self, tag):
        self._id = None
        if tag in ("td", "th"):
            self._cell = None

    def handle_data(self, data):
        if self._cell:
            self.tables[-1][1][-1][-1] += data
        if self._id:
            self.by_id[self._id] = self.by_id.get(self._id, "") + data


def value(text):
    return float(text.replace("±", "").replace("−", "-").replace(",", ""))
