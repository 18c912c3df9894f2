"""What a page of documentation says: its title, its headings, and its text, from Markdown or HTML."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import NamedTuple

SUFFIXES = (".md", ".markdown", ".html", ".htm")
UNREAD = frozenset({"script", "style", "template", "noscript"})
BREAKING = frozenset(
    {"p", "div", "li", "br", "td", "th", "tr", "section", "article", "h1", "h2", "h3", "h4", "h5", "h6", "pre", "title"}
)
MOST_CHARACTERS = 300_000  # of text: a word index holds a megabyte


class Heading(NamedTuple):
    """A heading of a page."""

    level: int
    text: str


class Page(NamedTuple):
    """A page."""

    title: str  # empty: it has none
    headings: list[Heading]
    text: str

    @property
    def words(self) -> int:
        """How many words it has."""
        return len(re.findall(r"\w+", self.text))


def read(path: str, content: str) -> Page:
    """A page, by what its name says that it is."""
    if path.lower().endswith((".html", ".htm")):
        return html(content)
    from markdown_it import MarkdownIt  # noqa: PLC0415 - 40 ms

    # Rendered and read as HTML: front matter goes first, which Markdown would take for a heading.
    return html(
        MarkdownIt("commonmark").enable("table").render(re.sub(r"\A---\n.*?\n---\n", "", content, count=1, flags=re.DOTALL))
    )


def html(content: str) -> Page:
    """A page of HTML, however broken: its title is what it calls itself, or its first heading."""
    reader = _Reader()
    reader.feed(content.replace("\x00", ""))
    reader.close()
    headings = [Heading(level, _plain(text)) for level, text in reader.headings if _plain(text)]
    title = _plain(reader.title) or (headings[0].text if headings else "")
    return Page(title, headings, _plain(reader.text)[:MOST_CHARACTERS])


def _plain(parts: list[str]) -> str:
    return " ".join("".join(parts).split())


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.title: list[str] = []
        self.headings: list[tuple[int, list[str]]] = []
        self.text: list[str] = []
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        self._break(tag)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append((int(tag[1]), []))
            self._open = [*(each for each in self._open if each != "heading"), "heading"]
        elif tag in UNREAD or tag == "title":
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        self._break(tag)
        name = "heading" if re.fullmatch("h[1-6]", tag) else tag
        if name in self._open:
            self._open.remove(name)

    def _break(self, tag: str) -> None:
        if tag in BREAKING:
            self.text.append(" ")
            if "heading" in self._open:
                self.headings[-1][1].append(" ")

    def handle_data(self, data: str) -> None:
        if UNREAD & set(self._open):
            return
        if "title" in self._open:
            self.title.append(data)
            return
        if "heading" in self._open:
            self.headings[-1][1].append(data)
        self.text.append(data)
