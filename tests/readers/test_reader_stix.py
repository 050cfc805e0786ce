import io
import json

from data_pipeline.readers.publications import stix


def _bundle(*objects):
    return io.BytesIO(json.dumps({"type": "bundle", "objects": objects}).encode())


TECHNIQUE = {
    "type": "attack-pattern",
    "id": "attack-pattern--1",
    "modified": "2024-01-01",
    "name": "Modify Tasking",
    "description": "Adversaries [act](https://x.y/z).(Citation: A (B) 2020) Then <code>run</code>.",
    "external_references": [{"source_name": "mitre-attack", "external_id": "T0821"}],
}
GROUP = {
    "type": "intrusion-set",
    "id": "intrusion-set--1",
    "name": "Bear",
    "description": "A group.",
}


def test_newest_object_counts_and_appears_once():
    old = TECHNIQUE | {"modified": "2020-01-01", "description": "Old."}
    files = [
        ("a.json", _bundle(old, TECHNIQUE)),
        ("b.json", io.BytesIO(json.dumps(TECHNIQUE).encode())),
    ]
    (found,) = stix.read_source(files)
    assert found.id == "attack-pattern--1"
    assert found.text == "Modify Tasking (technique T0821)\n\nAdversaries act. Then run."


def test_revoked_and_deprecated_objects_are_skipped():
    gone = [TECHNIQUE | {"revoked": True}, GROUP | {"x_mitre_deprecated": True}]
    assert not list(stix.read(_bundle(*gone), path="x"))


def test_procedures_stand_with_the_object_that_uses_them():
    uses = {
        "type": "relationship",
        "id": "relationship--1",
        "relationship_type": "uses",
        "source_ref": "intrusion-set--1",
        "target_ref": "attack-pattern--1",
        "description": "[Bear](https://attack.mitre.org/groups/G1) did so.(Citation: X)",
    }
    found = {d.id: d.text for d in stix.read(_bundle(TECHNIQUE, GROUP, uses), path="x")}
    assert (
        found["intrusion-set--1"]
        == "Bear (group)\n\nA group.\n\nBear uses Modify Tasking. Bear did so."
    )


def test_what_is_said_of_many_objects_is_said_once():
    second = TECHNIQUE | {"id": "attack-pattern--2", "name": "Block Reporting"}
    mitigation = {
        "type": "course-of-action",
        "id": "course-of-action--1",
        "name": "Backup",
        "description": "Keep copies.",
    }
    uses = [
        {
            "type": "relationship",
            "id": f"relationship--{number}",
            "relationship_type": "mitigates",
            "source_ref": "course-of-action--1",
            "target_ref": f"attack-pattern--{number}",
            "description": "Copies help.",
        }
        for number in (1, 2)
    ]
    found = {
        d.id: d.text for d in stix.read(_bundle(TECHNIQUE, second, mitigation, *uses), path="x")
    }
    assert found["course-of-action--1"] == (
        "Backup (mitigation)\n\nKeep copies.\n\n"
        "Backup mitigates Modify Tasking, Block Reporting. Copies help."
    )


def test_a_broken_file_is_reported_and_the_others_read():
    errors = []
    files = [("bad.json", io.BytesIO(b"{")), ("good.json", _bundle(GROUP))]
    found = list(
        stix.read_source(files, on_error=lambda path, error: errors.append((path, error.kind)))
    )
    assert len(found) == 1 and errors == [("bad.json", "json_broken")]


def test_references_of_another_kind_are_none():
    odd = {"type": "relationship", "relationship_type": "uses", "description": "x"}
    bad = [odd | {"id": f"r{n}", "source_ref": a, "target_ref": b} for n, (a, b) in enumerate(
        [([], GROUP["id"]), (GROUP["id"], []), ({}, {}), (1, None)])]  # fmt: skip
    (found,) = stix.read(_bundle(GROUP, *bad), path="x")
    assert found.text == "Bear (group)\n\nA group."
