"""Every term that the origin had for a deploy, a plan or their proof has a file of tests that is named after it."""

from __future__ import annotations

import ast

import pytest

from tests.house.tree import ROOT

FOLDER = ROOT / "tests" / "translation"
TERMS = {
    "Temporal Deploy Engine": "temporal_deploy_engine",
    "StabilizationDomain": "stabilization_domain",
    "ticket": "ticket",
    "federation event bus": "federation_event_bus",
    "Genesis bus": "genesis_bus",
    "deploy parity": "deploy_parity",
    "health live, ready, diag": "health_live_ready_diag",
    "hypshard": "hypershard",
    "autosplit by p95": "autosplit_by_p95",
    "CAS id": "cas_id",
    "quantum hashing": "quantum_hashing",
    "Merkle aggregation": "merkle_aggregation",
    "Truth certification": "truth_certification",
    "auto-bisect": "auto_bisect",
    "harmonic consensus": "harmonic_consensus",
    "zero trust": "zero_trust",
    "TERC": "terc",
    "ALIR": "alir",
    "Leviathan prediction": "leviathan_prediction",
    "heal depth limit": "heal_depth_limit",
    "auto-heal cascade": "auto_heal_cascade",
    "ZDU": "zdu",
    "blueprint engine": "blueprint_engine",
    "rollback points": "rollback_points",
    "rollback": "rollback",
    "rehydrate": "rehydrate",
    "graceful shutdown": "graceful_shutdown",
    "Chimera, cascade": "chimera_cascade",
    "ARIE audit": "arie_audit",
    "EnvRecon": "env_recon",
    "engine links": "engine_links",
    "Admiral, captain, agent": "admiral_captain_agent",
    "hxoctl verify --deep --certify": "hxoctl",
}


def fault(text: str | None) -> str | None:
    """What is wrong with the file of a term, given its text, if there is such a file; None: nothing."""
    if text is None:
        return "there is no such file"
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]
    tests = [node for node in functions if node.name.startswith("test_")]
    if not any(isinstance(node, ast.Assert | ast.With) for test in tests for node in ast.walk(test)):
        return "it has no test that can fail"
    return None


@pytest.mark.parametrize("term", TERMS)
def test_a_term_has_a_test_that_is_named_after_it(term):
    path = FOLDER / f"test_{TERMS[term]}.py"
    assert fault(path.read_text() if path.is_file() else None) is None


@pytest.mark.parametrize("text", [None, "", "def helper():\n    assert True\n", "def test_nothing():\n    pass\n"])
def test_a_term_without_one_would_be_seen(text):
    assert fault(text) is not None
