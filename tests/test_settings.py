import base64
from dataclasses import FrozenInstanceError, fields
from datetime import timedelta

import pytest

from common import settings
from common.settings import Misconfigured, Settings, read

WHSEC = "whsec_" + base64.b64encode(bytes(32)).decode()
LEAST = {"DATABASE_URL": "postgresql://localhost/x", "SECRET_KEY": "sixteen-characters"}


def test_only_the_two_that_cannot_be_guessed_are_required():
    assert {field.name.upper() for field in fields(Settings) if field.metadata["default"] is None} == LEAST.keys()
    assert read(LEAST).database_url == LEAST["DATABASE_URL"]


def test_every_fault_is_named_at_once():
    with pytest.raises(Misconfigured) as fault:
        read({"SECRET_KEY": "short", "DB_POOL": "many", "QUEUE": "post", "TRUSTED_PROXIES": "-1"})
    assert all(name in str(fault.value) for name in ("DATABASE_URL", "SECRET_KEY", "DB_POOL", "QUEUE", "TRUSTED_PROXIES"))
    assert "short" not in str(fault.value).replace("shorter", "")


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("ZOHO_WEBHOOK_SECRETS", " a , b,, ", ("a", "b")),
        ("WEBHOOK_ENTITIES", "", ()),
        ("WEBHOOK_ENTITIES", "products", ("products",)),
        ("WEBHOOK_BODY_LIMIT_BYTES", "1", 1),
        ("BODY_TIMEOUT_SECONDS", "3", timedelta(seconds=3)),
        ("FUNCTION_TIMEOUT_SECONDS", "540", timedelta(minutes=9)),
        ("QUEUE", "sqs", "sqs"),
        ("DATABASE_URL", "postgresql+asyncpg://h/d", "postgresql+asyncpg://h/d"),
        ("DATABASE_URL", "postgres://h/d", "postgres://h/d"),
        ("TRUSTED_PROXIES", "0", 0),
        ("PAGE_TOKEN", "x" * 16, "x" * 16),
        ("CORS_ORIGINS", " https://A.example.com/ ,https://b.example.com:443", ("https://a.example.com", "https://b.example.com")),
        ("CORS_ORIGINS", "http://localhost:5173,http://127.0.0.1:80", ("http://localhost:5173", "http://127.0.0.1")),
        ("CORS_ORIGINS", "https://deploy-preview-*--tidemark.netlify.app", ("https://deploy-preview-*--tidemark.netlify.app",)),
        ("ZOHO_DC", " EU ", "eu"),
        ("ZOHO_API_URL", "", ""),
        ("ZOHO_API_URL", "https://proxy.example:8443/", "https://proxy.example:8443"),
        ("ZOHO_ACCOUNTS_URL", "http://127.0.0.1:7000", "http://127.0.0.1:7000"),
        ("GENESIS_ENABLED", "false", False),
        ("ALERT_WEBHOOK_SECRET", WHSEC, (WHSEC,)),
        ("ALERT_WEBHOOK_SECRET", f"{WHSEC}, {WHSEC}", (WHSEC, WHSEC)),
        ("ALERT_EMAIL_FROM", " tidemark@example.com ", "tidemark@example.com"),
        ("ALERT_EMAIL_TO", "a@example.com, b+c@mail.example.com", ("a@example.com", "b+c@mail.example.com")),
    ],
)
def test_a_variable_is_read_by_its_kind(name, text, value):
    assert getattr(read({**LEAST, name: text}), name.lower()) == value


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("DATABASE_URL", ""),
        ("DATABASE_URL", "mysql://h/d"),
        ("SECRET_KEY", "x" * 15),
        ("PAGE_TOKEN", "x" * 15),
        *[
            ("CORS_ORIGINS", text)
            for text in (
                "*",
                "null",
                "https://*.example.com",
                "http://example.com",
                "https://example.com/page",
                "example.com",
                "https://deploy-preview-*--evil.com",
                "https://a@b.com",
                "https://a.com,*",
                "https://localhost*",
            )
        ],
        ("DB_POOL", "0"),
        ("DB_POOL", "1.5"),
        ("WEBHOOK_BODY_LIMIT_BYTES", "-1"),
        ("FUNCTION_TIMEOUT_SECONDS", "0"),
        ("QUEUE", ""),
        ("ZOHO_DC", "moon"),
        ("ZOHO_DC", ""),
        ("ZOHO_API_URL", "http://proxy.example"),
        ("ZOHO_API_URL", "https://"),
        ("ZOHO_API_URL", "https://proxy.example/books"),
        ("ZOHO_API_URL", "file:///etc/passwd"),
        ("ZOHO_ACCOUNTS_URL", "accounts.zoho.eu"),
        ("ALERT_WEBHOOK_URL", "http://hooks.example.com/x"),
        ("ALERT_WEBHOOK_URL", "https://ann:secret@hooks.example.com/x"),
        ("ALERT_WEBHOOK_URL", "https://hooks..example.com/x"),
        ("ALERT_WEBHOOK_URL", "https://hooks.example.com:port/x"),
        ("ALERT_WEBHOOK_URL", "file:///etc/passwd"),
        ("ALERT_WEBHOOK_SECRET", "a secret"),
        ("ALERT_WEBHOOK_SECRET", "whsec_AAAA"),
        ("ALERT_WEBHOOK_SECRET", f"{WHSEC},whsec_no"),
        ("SMTP_URL", "mail.example.com:25"),
        ("SMTP_URL", "http://mail.example.com"),
        ("SMTP_URL", "smtp://mail.example.com/inbox"),
        ("ALERT_EMAIL_FROM", "Tidemark <tidemark@example.com>"),
        ("ALERT_EMAIL_FROM", "a@example.com\r\nBcc: eve@example.com"),
        ("ALERT_EMAIL_TO", "a@example.com, nobody"),
    ],
)
def test_what_cannot_be_right_is_refused_by_name(name, text):
    with pytest.raises(Misconfigured, match=name):
        read({**LEAST, name: text})


def test_what_alerts_need_besides_is_named_with_every_other_fault():
    with pytest.raises(Misconfigured) as fault:
        read(
            {
                **LEAST,
                "ALERT_WEBHOOK_URL": "https://hooks.example.com/x?y=1",
                "SMTP_URL": "smtps://a:b@mail.example.com",
                "DB_POOL": "0",
            }
        )
    for name in ("ALERT_WEBHOOK_SECRET", "ALERT_EMAIL_FROM", "ALERT_EMAIL_TO", "DB_POOL"):
        assert name in str(fault.value)
    whole = {"ALERT_WEBHOOK_URL": "https://hooks.example.com/x?y=1", "ALERT_WEBHOOK_SECRET": WHSEC}
    assert read(LEAST | whole).alert_webhook_url == "https://hooks.example.com/x?y=1"


def test_settings_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        read(LEAST).queue = "sqs"  # type: ignore[misc]


def test_the_task_key_follows_from_the_secret_key_and_does_not_show_it():
    now, before = read(LEAST | {"SECRET_KEY_PREVIOUS": "the-one-before-it"}), read(LEAST)
    assert now.task_key == before.task_key == settings.task_key(LEAST["SECRET_KEY"])
    assert now.task_keys == (now.task_key, settings.task_key("the-one-before-it"))
    assert LEAST["SECRET_KEY"] not in now.task_key
