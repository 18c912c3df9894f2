import json
import threading
from uuid import UUID

import pytest

from common import log


@pytest.fixture(autouse=True)
def protected(monkeypatch):
    monkeypatch.setattr(log, "_protected", {"a-protected-value"})


def lines(capsys) -> list[dict]:
    return [json.loads(line) for line in capsys.readouterr().out.split("\n") if line]


def test_an_event_is_one_json_line_with_its_facts(capsys):
    log.info("job.finished", job_id=7, took_ms=1.5)
    [line] = lines(capsys)
    assert (line["severity"], line["message"], line["job_id"], line["took_ms"]) == ("INFO", "job.finished", 7, 1.5)
    assert line["time"].endswith("Z")


def test_39_a_line_break_in_a_fact_does_not_make_a_second_line(capsys):
    log.warning("x.y", name='a\n{"severity":"ERROR"}\r\u2028')
    [line] = lines(capsys)
    assert line["name"] == 'a\n{"severity":"ERROR"}\r\u2028'


@pytest.mark.parametrize(
    "name",
    [
        "authorization",
        "Cookie",
        "access_token",
        "client_secret",
        "X-Zoho-Webhook-Signature",
        "password",
        "api_key",
        "x-webhook-key",
    ],
)
def test_a_fact_whose_name_tells_of_a_secret_is_left_out(name, capsys):
    log.info("x.y", headers={name: "hidden"}, listed=[{name: "hidden"}])
    assert "hidden" not in capsys.readouterr().out


def test_a_protected_value_is_cut_out_wherever_it_stands(capsys):
    log.error("x.y", detail="failed for a-protected-value!", deep={"a": ["a-protected-value"]})
    [line] = lines(capsys)
    assert (line["detail"], line["deep"]) == ("failed for [redacted]!", {"a": ["[redacted]"]})


def test_what_is_too_short_to_be_a_secret_is_not_protected(capsys):
    log.protect("", "abc")
    log.info("x.y", name="abc")
    assert lines(capsys)[0]["name"] == "abc"


def test_bound_facts_are_on_every_line_inside_and_none_after(capsys):
    with log.bound(trace_id="1"):
        with log.bound(job=2):
            log.info("a.b")
        log.info("c.d")
    log.info("e.f")
    assert [(line.get("trace_id"), line.get("job")) for line in lines(capsys)] == [("1", 2), ("1", None), (None, None)]


def test_another_thread_does_not_see_what_is_bound(capsys):
    with log.bound(trace_id="1"):
        thread = threading.Thread(target=log.info, args=("a.b",))
        thread.start()
        thread.join()
    assert "trace_id" not in lines(capsys)[0]


@pytest.mark.parametrize("value", [object(), UUID(int=1), {1}, b"x", "\ud800", float("inf"), 10**30])
def test_no_fact_is_so_odd_that_its_line_is_lost(value, capsys):
    log.info("x.y", value=value)
    assert lines(capsys)[0]["message"] == "x.y"
