"""The command line: data on stdout, words on stderr, an exit status that says what kind of trouble it was."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest

from common import settings
from common.flows import process
from common.rules.http import Request
from common.signatures import zoho
from deploy import environment
from deploy.local.zoho.emitter import Emitter, Expected, Faults
from tests.commands import Handler, commanded
from tests.conftest import ORGANIZATION, OWNER, SECRET
from tests.make import a_request, an_item, send, signed

MISSING = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
def tidemark(configured, capsys, monkeypatch, tmp_path):
    with commanded(configured, capsys, monkeypatch, str(tmp_path / "none")) as run:
        yield run


def test_events_are_listed_and_shown(tidemark):
    identifier = send("products", an_item(name="Lamp 💡"))["event_id"]
    process.process()
    status, out, _ = tidemark("events", "list")
    header, line = out.splitlines()
    assert (status, header.split("\t")[0], line.split("\t")[0]) == (0, "event_id", identifier)
    assert "completed\tapplied" in line
    status, out, _ = tidemark("events", "list", "--entity", "product", "--json")
    assert (status, json.loads(out)[0]["event_id"]) == (0, identifier)
    status, out, _ = tidemark("events", "show", identifier, "--json")
    assert (status, json.loads(out)["payload"]["item"]["name"]) == (0, "Lamp 💡")
    assert tidemark("events", "show", identifier)[1].splitlines()[0] == f"event_id\t{identifier}"


def test_the_queue_and_what_ended_badly_are_told(tidemark):
    send("products", b"{broken")
    status, out, _ = tidemark("queue", "stats", "--json")
    assert (status, json.loads(out)["outcomes"]["quarantined"]) == (0, 1)
    assert "pending\t0" in tidemark("queue", "stats")[1]
    status, out, _ = tidemark("dead-letters", "list")
    assert status == 0
    assert "quarantine" in out.splitlines()[1]
    assert len(json.loads(tidemark("dead-letters", "list", "--json")[1])) == 1


def test_a_token_is_made_used_listed_and_revoked(tidemark):
    status, out, err = tidemark("token", "create", "ci", "--role", "viewer", "--days", "2")
    token = out.strip()
    assert (status, token[:4]) == (0, "ops_")
    assert token not in err
    assert tidemark("queue", "stats", "--token", token)[0] == 0
    assert tidemark("token", "list", "--token", token)[0] == 4
    identifier = token.split("_")[1]
    assert identifier in tidemark("token", "list")[1]
    assert token not in tidemark("token", "list", "--json")[1]
    assert tidemark("token", "revoke", identifier)[0] == 0
    assert tidemark("queue", "stats", "--token", token)[0] == 4


TROUBLE = [
    (("events", "show", MISSING), 3, "tidemark events list"),
    (("events", "show", "not-an-id"), 2, "is not an id"),
    (("events", "list", "--token", "wrong"), 4, "TIDEMARK_TOKEN"),
    (("events", "list", "--limit", "0"), 2, "limit"),
    (("dead-letters", "retry", MISSING), 3, "tidemark dead-letters list"),
    (("token", "revoke", "nobody"), 3, "tidemark token list"),
    (("token", "create", "x", "--role", "emperor"), 2, "owner, operator or viewer"),
    (("queue", "stats", "--url", "http://127.0.0.1:9"), 1, "make run"),
    (("queue", "stats", "--url", "ftp://x"), 2, "is not an address"),
    (("webhook", "send", "spaceship"), 2, "There is no entity"),
    (("webhook", "send", "invoice", "--body-form", "carved"), 2, "There is no form"),
    (("webhook", "send", "invoice", "--method", "PATCH"), 2, "POST, PUT or DELETE"),
    (("doctor", "--body", "/nowhere"), 2, "cannot be read"),
    (("doctor", "--body", "-", "--scheme", "rot13"), 2, "There is no scheme"),
    (("nonsense",), 2, "nonsense"),
]


def test_trouble_has_a_cause_a_next_step_and_a_status_of_its_kind(tidemark):
    for words, status, said in TROUBLE:
        found, out, err = tidemark(*words)
        assert (words, found, out) == (words, status, "")
        assert said in err, words
        assert "Traceback" not in err, words


def test_a_problem_has_the_trace_id_that_the_log_has_and_json_where_asked(tidemark):
    found, _, err = tidemark("events", "show", MISSING, "--json")
    told = json.loads(err.splitlines()[-1])
    assert (found, told["code"], told["next"]) == (3, 3, "tidemark events list")
    assert len(told["trace_id"]) == 32


def test_webhooks_are_sent_signed_and_answered(tidemark):
    for entity in ("invoice", "credit-notes", "stock_adjustment"):
        status, out, err = tidemark("webhook", "send", entity, "--count", "3", "--seed", "4")
        assert (status, len(out.splitlines())) == (0, 4), err
        assert "--seed 4" in err


def test_many_webhooks_with_everything_that_goes_wrong_are_answered_as_they_should_be(tidemark, sql):
    status, out, err = tidemark("webhook", "send", "all", "--count", "120", "--seed", "4", "--faults", "--duplicates", "0.2")
    assert status == 0, err
    facts = dict(line.split("\t") for line in out.splitlines())
    assert {"stored", "duplicate", "quarantined"} <= set(facts)
    sent = Emitter(4, ORGANIZATION, SECRET).deliveries(120, replace(Faults(), duplicates=0.2))
    kept = [event for each in sent for event in each.events if event.expected in {Expected.STORED, Expected.QUARANTINED}]
    assert sql("select count(*) from tds_inbox_events") == [[len(kept)]]


def test_a_chosen_method_and_form_are_sent_as_chosen(tidemark, sql):
    status, out, _ = tidemark("webhook", "send", "products", "--method", "delete", "--body-form", "json_string", "--json")
    told = json.loads(out)
    assert (status, told["method"], told["form"], told["status"]) == (0, "DELETE", "json_string", 202)
    assert sql("select operation_type::text, method, flags from tds_inbox_events") == [["delete", "DELETE", ["form"]]]


def test_a_refusal_nobody_expected_is_a_failure(tidemark):
    status, out, err = tidemark("webhook", "send", "invoice", "--secret", "somebodyelses")
    assert status == 4
    assert "401" in out
    assert "wanted 1 stored, got 1 refused" in err


def test_the_doctor_looks_at_the_place(tidemark, configured, sql):
    status, out, err = tidemark("doctor")
    assert status == 0, out + err
    assert "schema\tok" in out
    sql("insert into tds_schema_versions (version, name, checksum) values (9999, 'x', 'x')")
    configured(ZOHO_WEBHOOK_SECRETS="")
    status, out, err = tidemark("doctor", "--token", "wrong", "--json")
    failed = {check["name"] for check in json.loads(out) if check["status"] == "failed"}
    assert (status, failed) == (8, {"webhook secrets", "token", "schema"})
    assert "webhook secrets" in json.loads(err.splitlines()[-1])["error"]


def test_the_doctor_says_how_a_request_was_signed(tidemark, tmp_path):
    body = tmp_path / "body"
    request = a_request("products", an_item(), query="org=1&event=item.updated")
    body.write_bytes(request.body)

    def examined(signature: str, *more: str):
        header = f"X-Zoho-Webhook-Signature: {signature}"
        return tidemark("doctor", "--body", str(body), "--query", request.query, "--header", header, *more)

    right = signed(request).header(zoho.HEADER)
    assert examined(right)[0] == 0
    body_only = zoho.sign(SECRET, Request("POST", "/", "", (), request.body))["X-Zoho-Webhook-Signature"]
    status, out, err = examined(body_only)
    assert status == 1
    assert "body only, query left out, hex" in out
    assert "was made otherwise" in err
    status, out, _ = examined(body_only, "--json")
    assert "body only, query left out, hex" in [trial["variant"] for trial in json.loads(out)["variants"] if trial["matches"]]
    assert "No known way" in examined("0" * 64)[2]
    assert examined(right, "--secret", "somebodyelses")[0] == 1
    assert examined(right, "--scheme", "zoho", "--secret", SECRET)[0] == 0
    assert "for which there is no secret" in examined(right, "--scheme", "shared_secret", "--secret", SECRET)[2]
    assert "carries no signature" in tidemark("doctor", "--body", str(body))[2]
    assert "is not a header" in tidemark("doctor", "--body", str(body), "--header", "nonsense")[2]
    assert "more than once" in examined(right, "--header", f"X-Zoho-Webhook-Signature: {right}")[2]


def test_the_doctor_says_which_secret_signed_a_stored_event_and_tries_a_signature_on_it(tidemark):
    identifier = send("products", an_item())["event_id"]
    status, out, _ = tidemark("doctor", identifier, "--json")
    assert (status, json.loads(out)["secret_is_known_here"]) == (0, True)
    assert "none of the secrets" in tidemark("doctor", identifier, "--secret", "somebodyelses")[2]
    right = signed(a_request("products", an_item())).header(zoho.HEADER)
    assert tidemark("doctor", identifier, "--header", f"X-Zoho-Webhook-Signature: {right}")[0] == 0
    assert tidemark("doctor", identifier, "--header", "X-Zoho-Webhook-Signature: 00")[0] == 1
    assert tidemark("doctor", MISSING)[0] == 3


def test_health_is_told_and_bad_health_has_a_status_of_its_own(tidemark, sql):
    status, out, _ = tidemark("health", "--json")
    told = json.loads(out)
    assert (status, told["status"], told["ready"], told["queue"]["drop_rate"]) == (0, "ok", True, 0.0)
    sql("delete from tds_schema_versions where version > 1")
    status, out, err = tidemark("health")
    assert status == 8
    assert "status\terror" in out
    assert "The schema is at 1" in err


def test_the_configuration_is_shown_without_a_secret(tidemark, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setenv("DATABASE_URL", "postgresql://u:hunter2hunter2@db.example/x")
        status, out, _ = tidemark("config", "--json")
    rows = {row["name"]: row for row in json.loads(out)}
    assert status == 0
    assert set(rows) == {name.upper() for name in settings.Settings.__dataclass_fields__}
    assert rows["SECRET_KEY"]["value"].startswith("sha256:")
    assert not any(secret in out for secret in (OWNER, SECRET, "secret-key-of-the-tests", "hunter2hunter2"))
    with monkeypatch.context() as patch:
        patch.setenv("DB_POOL", "many")
        status, out, err = tidemark("config")
    assert (status, "DB_POOL\tmany\tenvironment" in out) == (1, True)
    assert "DB_POOL" in err


def test_migrations_run_once_and_an_edited_one_is_a_conflict(tidemark, sql):
    status, out, err = tidemark("migrate")
    assert (status, out) == (0, "")
    assert "nothing to do" in err
    assert json.loads(tidemark("migrate", "--json")[1]) == {"applied": []}
    sql("update tds_schema_versions set checksum = 'x' where version = 1")
    status, _, err = tidemark("migrate")
    assert (status, "was edited after it ran" in err) == (5, True)


def test_flags_win_over_the_environment_and_that_over_what_make_run_wrote(tidemark, monkeypatch, tmp_path):
    written = {"ADMIRAL_TOKEN": "it's odd", "FUNCTIONS_URL": "http://127.0.0.1:9", "ZOHO_ORGANIZATION_ID": ORGANIZATION}
    environment.save(tmp_path / "env", written)
    assert environment.load(tmp_path / "env") == written
    monkeypatch.setenv("TIDEMARK_STATE", str(tmp_path))
    assert tidemark("queue", "stats")[0] == 0
    monkeypatch.delenv("TIDEMARK_TOKEN")
    monkeypatch.delenv("ADMIRAL_TOKEN")
    assert tidemark("queue", "stats")[0] == 4
    assert tidemark("queue", "stats", "--token", OWNER)[0] == 0
    monkeypatch.delenv("FUNCTIONS_URL")
    assert "http://127.0.0.1:9 cannot be reached" in tidemark("queue", "stats")[2]


def test_a_service_that_is_none_of_ours_is_told_from_ours(tidemark, monkeypatch):
    monkeypatch.setattr(
        Handler,
        "answer",
        lambda self: (
            self.send_response(200),
            self.send_header("Content-Length", "2"),
            self.end_headers(),
            self.wfile.write(b"hi"),
        ),
    )
    monkeypatch.setattr(Handler, "do_GET", Handler.answer)
    status, _, err = tidemark("health")
    assert status == 1
    assert "does not speak as Tidemark does" in err


@pytest.mark.process
def test_help_loads_nothing_heavy_and_works_without_a_terminal():
    code = (
        "import sys; sys.argv = ['tidemark', '--help']; from deploy import cli\n"
        "try: cli.main()\nexcept SystemExit as end: assert not end.code\n"
        "heavy = {'rich', 'pg8000', 'flask', 'pydantic', 'orjson', 'ssl', 'http.client', 'google.api_core', 'common.db'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=os.environ | {"NO_COLOR": "1"}
    )
    assert done.returncode == 0, done.stderr
    assert "dead-letters" in done.stdout
    assert "\x1b" not in done.stdout + done.stderr
