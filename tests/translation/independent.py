"""A proof checked by somebody else: nothing of ours is imported. Usage: independent.py PROOF.json ROOT."""

import hashlib, json, sys  # noqa: E401, I001

proof, root = json.load(open(sys.argv[1])), sys.argv[2]  # noqa: PTH123, SIM115
digest = {"sha3_256": hashlib.sha3_256, "sha256": hashlib.sha256}[proof["hash"]]


def climb(at: bytes, path: list) -> bytes:
    for step in path:
        beside = bytes.fromhex(step["hash"])
        at = digest(b"\x01" + (beside + at if step["side"] == "left" else at + beside)).digest()
    return at


stage = climb(bytes.fromhex(proof["leaf_hash"]), proof["path"])
whole = climb(digest(b"\x00" + stage).digest(), proof["plan_path"])
sys.exit(0 if whole.hex() == root else 1)
