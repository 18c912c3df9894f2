"""route_registry: the list of routes against the code."""

from __future__ import annotations

from tests.rules.arie.trees import said

NAME = "route_registry"
LIST = """provider:
  name: aws
functions:
  health:
    events:
      - httpApi: GET /health
      - httpApi: GET /health/{part}
  webhook:
    events:
      - httpApi: POST /webhooks/{entity}
resources:
  Gone:
    events:
      - httpApi: GET /not/a/function
"""
CODE = """handle = routed(
    Route("GET", "/health", "open", f),
    Route("GET", "/health/{name}", "open", f),
    Route("POST", "/tasks/health", "task", f),
)
"""
FILES = {"serverless.yml": LIST, "functions/health.py": CODE, "functions/webhook.py": "x = 1\n"}


def test_a_list_and_a_code_that_are_the_same_are_let_be():
    assert said(NAME, FILES) == []
    assert said(NAME, {"functions/health.py": CODE}) == []  # a tree without a list has nothing to differ from


def test_a_route_that_is_not_listed_is_found():
    more = CODE.replace("\n)", '\n    Route("POST", "/health/reset", "open", f),\n)')
    assert said(NAME, FILES | {"functions/health.py": more}) == [("functions/health.py", 5, "high")]


def test_a_route_that_is_not_served_and_a_function_that_is_not_there_are_found():
    less = CODE.replace('    Route("GET", "/health", "open", f),\n', "")
    assert said(NAME, FILES | {"functions/health.py": less}) == [("serverless.yml", 6, "high")]
    assert said(NAME, {path: text for path, text in FILES.items() if "webhook" not in path}) == [("serverless.yml", 10, "high")]
