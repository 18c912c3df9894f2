"""docs.index: what the pages say can be found, by route."""

from __future__ import annotations

import pytest

from common import db
from common.errors import Invalid
from common.flows import work
from common.shards import docs_index
from common.stores import indexes
from tests.packs import outputs, ran, results, submitted, taken_back


def found(plan, words):
    with db.transaction("worker") as tx:
        return indexes.find_docs(tx, plan, 0, words)


def test_titles_headings_and_words_of_markdown_and_html_are_indexed(site, sql):
    plan = ran(submitted("docs.index"))
    assert [(each["route"], each["docs_indexed"]) for each in outputs(plan)] == [("/", 1), ("/guide", 1)]
    assert sql("select path, title, headings from tidemark.indexed_docs order by path") == [
        ["README.md", "A site", [{"level": 1, "text": "A site"}, {"level": 2, "text": "First steps"}]],
        ["guide/index.html", "Guide & more", [{"level": 1, "text": "Guide"}]],
    ]
    assert results(plan)[0].document["docs"] == 2


def test_pages_are_found_by_all_words_and_not_by_what_nobody_sees(site, sql):
    plan = ran(submitted("docs.index"))
    assert [doc.path for doc in found(plan, "install")] == ["README.md"]
    assert {doc.path for doc in found(plan, "guide")} == {"README.md", "guide/index.html"}
    assert found(plan, "hidden") == []
    assert found(plan, "guide nowhere") == []


def test_routes_may_be_given_and_one_that_leads_nowhere_is_refused(site, sql):
    plan = ran(submitted("docs.index", routes={"/manual": "guide", "/": "README.md"}))
    assert sql("select path, route from tidemark.indexed_docs order by path") == [
        ["README.md", "/"],
        ["guide/index.html", "/manual"],
    ]
    assert len(outputs(plan)) == 2
    with pytest.raises(Invalid) as refused:
        submitted("docs.index", routes={"/x": "nowhere"})
    assert refused.value.fields["errors"][0]["pointer"] == "/stages/0/config/routes/~1x"


def test_a_page_that_is_too_large_fails_its_route_alone(site, sql, monkeypatch):
    monkeypatch.setattr(docs_index, "MOST_BYTES", 1000)
    (site / "guide" / "large.md").write_text("x" * 1001)
    submitted("docs.index")
    work.work()
    assert "guide/large.md" in sql("select message from tidemark.shard_failures")[0][0]
    assert sql("select path from tidemark.indexed_docs") == [["README.md"]]


def test_what_is_no_text_at_all_is_indexed_without_falling_over(site, sql):
    (site / "odd.md").write_bytes(bytes(range(256)) * 10)
    assert sum(each["docs_indexed"] for each in outputs(ran(submitted("docs.index")))) == 3


def test_taking_it_back_makes_the_index_before_the_newest_again(site, sql):
    ran(submitted("docs.index"))
    (site / "more.md").write_text("# More")
    second = ran(submitted("docs.index"))
    assert sql("select count(*) from tidemark.indexed_docs") == [[5]]
    taken_back(second)
    assert sql("select count(*) from tidemark.indexed_docs") == [[2]]
    assert sql("select count(*) from tidemark.stage_results") == [[1]]
