"""SQS, for real as far as that goes without a cloud: boto3 to moto's server, and what comes out into the Lambda handler."""

from __future__ import annotations

import json

import boto3
import pytest
from moto import mock_aws

from common.queues import sqs
from deploy.aws import handler
from tests.make import an_item, send


@pytest.fixture
def queue_url(configured, monkeypatch):
    for name, value in {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y", "AWS_DEFAULT_REGION": "eu-central-1"}.items():
        monkeypatch.setenv(name, value)
    with mock_aws():
        sqs._client.cache_clear()
        url = boto3.client("sqs").create_queue(QueueName="tidemark", Attributes={"VisibilityTimeout": "0"})["QueueUrl"]
        configured(QUEUE="sqs", TASKS_QUEUE=url)
        yield url
        sqs._client.cache_clear()


def _received(url):
    """The Lambda event that the queue's messages would become."""
    messages = boto3.client("sqs").receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
    return {"Records": [{"messageId": m["MessageId"], "body": m["Body"], "eventSource": "aws:sqs"} for m in messages]}


def test_a_stored_event_rings_through_sqs_and_is_applied_by_the_handler(queue_url, sql):
    send("products", an_item())
    event = _received(queue_url)
    assert [json.loads(record["body"])["function"] for record in event["Records"]] == ["process"]
    assert handler.process(event, None) == {"batchItemFailures": []}
    assert sql("select count(*) from erp.products") == [[1]]


def test_a_ring_that_fails_is_reported_so_that_sqs_delivers_it_again(queue_url, sql):
    send("products", an_item())
    sql("alter table tidemark.receipts rename to receipts_gone")
    event = _received(queue_url)
    failed = [each["itemIdentifier"] for each in handler.process(event, None)["batchItemFailures"]]
    assert failed == [each["messageId"] for each in event["Records"]]  # two, when a second has ended meanwhile


def test_a_message_that_nobody_can_read_is_dropped(queue_url):
    boto3.client("sqs").send_message(QueueUrl=queue_url, MessageBody="{nope")
    assert handler.process(_received(queue_url), None) == {"batchItemFailures": []}


def test_an_http_event_of_api_gateway_reaches_the_same_function(database_url):
    event = {
        "version": "2.0", "rawPath": "/health/live", "rawQueryString": "", "headers": {"host": "x"}, "isBase64Encoded": False,
        "requestContext": {"http": {"method": "GET", "path": "/health/live", "sourceIp": "1.2.3.4", "protocol": "HTTP/1.1"}, "domainName": "x"},
    }  # fmt: skip
    answer = handler.health(event, None)
    assert (answer["statusCode"], json.loads(answer["body"])) == (200, {"status": "ok", "alive": True})


def test_the_schedulers_event_runs_the_tick(database_url):
    assert handler.tick({}, None) == {"status": 200}
