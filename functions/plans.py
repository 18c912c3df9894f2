"""/api/hxo/*: submit plans, watch them, stop them, try them again."""

from __future__ import annotations

from typing import Any

from common.auth import Role
from common.edge import Route, flask_answer, flows, json_body, routed

handle = routed(
    Route("POST", "/api/hxo/plan", Role.OWNER, lambda request: flows.plans.check(json_body(request))),
    Route("POST", "/api/hxo/submit", Role.OWNER, lambda request: flows.plans.submit(request, json_body(request))),
    Route("POST", "/api/hxo/create-and-submit", Role.OWNER, lambda request: flows.plans.submit(request, json_body(request))),
    Route("GET", "/api/hxo/status", Role.VIEWER, lambda _: flows.plan_status.overview()),
    Route("GET", "/api/hxo/status/{plan}", Role.VIEWER, lambda _, plan: flows.plan_status.status(plan)),
    Route("GET", "/api/hxo/report/{plan}", Role.VIEWER, lambda _, plan: flows.plan_status.report(plan)),
    Route("POST", "/api/hxo/abort/{plan}", Role.OWNER, lambda _, plan: flows.plan_verbs.act("abort", plan)),
    Route("POST", "/api/hxo/replay/{plan}", Role.OWNER, lambda _, plan: flows.plans.replay(plan)),
    Route("POST", "/api/hxo/plan/{plan}/pause", Role.OWNER, lambda _, plan: flows.plan_verbs.act("pause", plan)),
    Route("POST", "/api/hxo/plan/{plan}/resume", Role.OWNER, lambda _, plan: flows.plan_verbs.act("resume", plan)),
    Route("POST", "/api/hxo/plan/{plan}/cancel", Role.OWNER, lambda _, plan: flows.plan_verbs.act("cancel", plan)),
    Route("POST", "/api/hxo/plan/{plan}/retry", Role.OWNER, lambda _, plan: flows.plan_verbs.act("retry", plan)),
    Route("POST", "/api/hxo/plan/{plan}/rollback", Role.OWNER, lambda _, plan: flows.plans.rollback(plan)),
    Route("POST", "/api/hxo/plan/{plan}/certify", Role.OWNER, lambda _, plan: flows.certify.certify(plan)),
    Route("GET", "/api/hxo/plan/{plan}/certify", Role.VIEWER, lambda _, plan: flows.certify.shown(plan)),
    Route("GET", "/api/hxo/plan/{plan}/merkle-tree", Role.VIEWER, flows.proofs.merkle_tree),
    Route("GET", "/api/hxo/plan/{plan}/verify-shards", Role.VIEWER, flows.verify.verify_shards),
    Route("GET", "/api/hxo/plan/{plan}/export", Role.VIEWER, flows.exports.export),
    Route("GET", "/api/hxo/security/events", Role.OPERATOR, flows.security.events),
    Route(
        "GET",
        "/api/hxo/plan/{plan}/healing-history",
        Role.VIEWER,
        lambda request, plan: flows.plan_shards.healing_history(request, identifier=plan),
    ),
    Route("GET", "/api/hxo/kinds", Role.VIEWER, lambda _: flows.kinds.listed()),
    Route("GET", "/api/hxo/plan/{plan}/outputs", Role.VIEWER, flows.kinds.outputs),
    Route("GET", "/api/hxo/plan/{plan}/shards", Role.VIEWER, lambda _, plan: flows.plan_shards.shards(plan)),
    Route("GET", "/api/hxo/metrics", Role.VIEWER, lambda _: flows.telemetry.metrics()),
    Route("GET", "/api/hxo/metrics/shard-distribution", Role.VIEWER, lambda _: flows.telemetry.distribution()),
    Route("GET", "/api/hxo/metrics/stuck-shards", Role.VIEWER, lambda _: flows.telemetry.stuck()),
    Route("POST", "/api/hxo/retry-stuck-shards", Role.OPERATOR, lambda request: flows.telemetry.retry_stuck(json_body(request))),
    Route("GET", "/api/hxo/incomplete-plans", Role.OWNER, lambda _: flows.rehydrate.incomplete()),
    Route("POST", "/api/hxo/rehydrate-all", Role.OWNER, lambda _: flows.rehydrate.every()),
    Route("POST", "/api/hxo/rehydrate/{plan}", Role.OWNER, lambda _, plan: flows.rehydrate.one(plan)),
    Route("GET", "/api/hxo/links/health", Role.VIEWER, lambda _: flows.links.health_of_all()),
    Route("GET", "/api/hxo/links/health/{link}", Role.VIEWER, lambda _, link: flows.links.health_of(link)),
    Route("GET", "/api/genesis/events", Role.VIEWER, flows.bus.events),
    Route("GET", "/api/genesis/subscribe/{topic}", Role.VIEWER, flows.bus.subscribe),
    Route("GET", "/api/genesis/metrics", Role.VIEWER, lambda _: flows.bus.metrics()),
    Route("GET", "/api/genesis/subscriptions", Role.OPERATOR, lambda _: flows.subscriptions.listed()),
    Route("POST", "/api/genesis/subscriptions", Role.OPERATOR, lambda request: flows.subscriptions.create(json_body(request))),
    Route(
        "GET",
        "/api/genesis/subscriptions/{subscription}",
        Role.OPERATOR,
        lambda _, subscription: flows.subscriptions.one(subscription),
    ),
    Route(
        "DELETE",
        "/api/genesis/subscriptions/{subscription}",
        Role.OPERATOR,
        lambda _, subscription: flows.subscriptions.delete(subscription),
    ),
    Route("GET", "/api/hxo/targets", Role.VIEWER, lambda _: flows.targets.listed()),
    Route("GET", "/api/hxo/targets/{target}", Role.VIEWER, lambda _, target: flows.targets.one(target)),
    Route("PUT", "/api/hxo/targets/{target}", Role.OWNER, lambda request, target: flows.targets.put(target, json_body(request))),
    Route(
        "POST",
        "/api/hxo/targets/{target}/check",
        Role.OPERATOR,
        lambda request, target: flows.deploy_check.check(target, json_body(request)),
    ),
    Route("POST", "/api/hxo/graceful-shutdown", Role.OWNER, lambda request: flows.drain.ask(json_body(request)), act="drain"),
    Route("DELETE", "/api/hxo/graceful-shutdown", Role.OWNER, lambda _: flows.drain.resume()),
    Route("GET", "/api/hxo/wait-for-idle", Role.OWNER, flows.drain.wait_for_idle),
    Route("POST", "/api/hxo/deployments", Role.OWNER, lambda request: flows.deployments.start(request, json_body(request))),
    Route("GET", "/api/hxo/deployments", Role.VIEWER, flows.deployment_status.listed),
    Route("GET", "/api/hxo/deployments/rollback-points", Role.VIEWER, lambda _: flows.rollbacks.points()),
    Route("GET", "/api/hxo/deployments/{deployment}", Role.VIEWER, lambda _, deployment: flows.deployment_status.show(deployment)),
    Route(
        "POST",
        "/api/hxo/deployments/{deployment}/approve",
        Role.OWNER,
        lambda request, deployment: flows.deployments.approve(deployment, json_body(request)),
    ),
    Route(
        "POST", "/api/hxo/deployments/{deployment}/freeze", Role.OWNER, lambda _, deployment: flows.deployments.freeze(deployment)
    ),
    Route(
        "POST",
        "/api/hxo/deployments/{deployment}/unfreeze",
        Role.OWNER,
        lambda _, deployment: flows.deployments.unfreeze(deployment),
    ),
    Route("POST", "/api/hxo/rollback", Role.OWNER, lambda request: flows.rollbacks.rollback(json_body(request))),
)


def main(request: Any) -> Any:
    """Act, or read."""
    return flask_answer(handle, request)
