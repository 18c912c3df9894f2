"""Pages: their title, headings and text, as people see them."""

from __future__ import annotations

from common.rules import documents

MARKDOWN = """---
title: not shown
---
A *first*
========

Text with `code` & a [link](https://example.com).

```
# no heading
```

## Second

| a | b |
|---|---|
| c | d |
"""


def test_markdown_has_headings_of_both_kinds_and_none_in_code():
    page = documents.read("x.md", MARKDOWN)
    assert page.title == "A first"
    assert page.headings == [(1, "A first"), (2, "Second")]
    assert "Text with code & a link" in page.text
    assert "example.com" not in page.text
    assert page.text.endswith("a b c d")


def test_html_is_read_without_what_nobody_sees():
    page = documents.read("x.html", "<title>T &amp; U</title><style>p {}</style><h2>One<br>two</h2><p>three<script>no()</script>")
    assert page == ("T & U", [(2, "One two")], "One two three")
    assert page.words == 3


def test_broken_html_is_read_as_far_as_it_goes():
    page = documents.html("<h1>Open <h2>other</h2> <p>text <b")
    assert [heading.text for heading in page.headings] == ["Open", "other"]
    assert page.title == "Open"
    assert documents.html("\x00").text == ""
