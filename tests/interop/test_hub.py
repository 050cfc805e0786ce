"""A folder goes to the Hub: against a server on loopback that answers as the Hub does."""

import base64
import http.server
import json
import shutil
import threading

import pytest
from conftest import ROOT

from data_pipeline.errors import UserError
from mypt_jax.interop import card, hub, huggingface, runs
from mypt_jax.runs import layout

huggingface_hub = pytest.importorskip("huggingface_hub")


class _Hub(http.server.BaseHTTPRequestHandler):
    """Creates repositories and takes commits of small files; `seen`: what came, by path."""

    seen: dict
    refuses: bool

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        where = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.seen.setdefault("token", self.headers["Authorization"])
        self.seen[self.path] = body
        if self.refuses:
            return self._answer({"error": "You have no rights to this namespace"}, code=403)
        if self.path.endswith("/preupload/main"):
            files = [
                {"path": one["path"], "uploadMode": "regular", "shouldIgnore": False}
                for one in json.loads(body)["files"]
            ]
            return self._answer({"files": files})
        if self.path.endswith("/validate-yaml"):
            return self._answer({"errors": [], "warnings": []})
        if "/commit/" in self.path:
            return self._answer({"commitUrl": f"{where}/me/v8/commit/1", "commitOid": "1" * 40})
        return self._answer({"url": f"{where}/me/v8", "id": "me/v8", "name": "me/v8"})

    def do_GET(self):
        self._answer({"id": "me/v8", "sha": "1" * 40, "siblings": []})

    def _answer(self, value, code=200):
        data = json.dumps(value).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    handler = type("Hub", (_Hub,), {"seen": {}, "refuses": False})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        where = f"http://127.0.0.1:{server.server_address[1]}"
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", where)
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield handler
        server.shutdown()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n# v8\n")
    (tmp_path / "config.json").write_text("{}")
    return tmp_path


def test_a_folder_is_one_commit_in_a_repository(server, folder):
    assert hub.push(str(folder), "me/v8", private=True).endswith("/me/v8")
    assert server.seen["token"] == "Bearer hf_secret"
    made = json.loads(server.seen["/api/repos/create"])
    assert made["name"] == "v8" and made["organization"] == "me"
    assert made.get("private") or made.get("visibility") == "private"
    (commit,) = (body for path, body in server.seen.items() if "/commit/main" in path)
    lines = [json.loads(line) for line in commit.splitlines()]
    files = {one["value"]["path"]: one["value"] for one in lines if one["key"] == "file"}
    assert base64.b64decode(files["README.md"]["content"]).startswith(b"---\nlicense: mit")
    assert files.keys() == {"README.md", "config.json"}


def test_what_the_hub_refuses_is_one_line_without_the_token(server, folder):
    server.refuses = True
    with pytest.raises(UserError, match="no rights to this namespace") as error:
        hub.push(str(folder), "me/v8", private=False)
    assert "hf_secret" not in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["runs/v8"], "a directory, or --push=NAME"),
        (["runs/v8", "out", "--push=me/v8"], "a directory, or --push=NAME"),
        (["runs/v8", "--push=me/../v8"], "wanted a name of the Hub"),
        (["runs/v8", "--push=me/v8", "--base_model=/home/me/gpt2"], "wanted a name of the Hub"),
        (["runs/v8", "out", "--base_model=a b: c"], "--base_model=a b: c: wanted a name"),
        (["runs/v8", "out", "--private"], "goes together with --push"),
    ],
)
def test_slips_are_answered_before_anything_is_read(arguments, words):
    with pytest.raises(UserError, match=words):
        huggingface.export(arguments)


def test_nobody_logged_in_is_one_line(monkeypatch):
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    with pytest.raises(UserError, match="hf auth login"):
        hub.check_login()


def test_a_card_is_of_the_step_that_is_exported(tmp_path):
    """PATH@STEP: with its own count of steps and tokens, not with those of the whole run."""
    run = shutil.copytree(ROOT / "tests/data/run_d73f938/runs/v3", tmp_path / "v3")
    (run / "finished.json").write_text(
        json.dumps({"step": 12, "run_id": "r", "params_sha256": "", "wall_secs": 1.0, "eval": {}})
    )
    record = json.loads((run / "lineage.json").read_text())
    whole = record | {"tokens_by_source": {key: 9999 for key in record["tokens_by_source"]}}
    (run / "lineage.json").write_text(json.dumps(whole))
    found = runs.read(f"{run}@6")
    del found.record["size"]  # which lineages need not have
    found.record["tokens_by_source"]["domain/evaluated"] = 0
    text = card.render(
        path=found.path,
        step=found.step,
        config=found.config,
        record=found.record,
        parameters=1,
        remarks=[],
    )
    assert "| v3 | 6 | " in text and "9,999" not in text
    data = text.partition("## Data")[2].partition("## Tok")[0]
    assert "general/encyclopedia" in data and "domain/evaluated" not in data


def test_a_card_has_the_licences_of_ancestors_also_of_older_versions(tmp_path):
    """Which kept them beside the ancestor's run alone."""
    run = shutil.copytree(ROOT / "tests/data/run_d73f938/runs/base", tmp_path / "base")
    digest = layout.finished(str(run))["params_sha256"]
    older = _ancestor({}, path=str(run), step=12, params_sha256=digest)
    del older["licences"]
    older["tokens_by_source"] = {"general/encyclopedia": 5, "domain/laws": 0}
    record = _record({"domain/d": "CC0-1.0"}, ancestors=[older])
    known = {"domain/d": ["CC0-1.0"], "general/encyclopedia": ["MIT"]}
    assert card.licences(record) == known
    shutil.rmtree(run)
    assert card.licences(record) == known | {"general/encyclopedia": ["not stated"]}


def _record(licences: dict[str, str], **more) -> dict:
    """The lineage of a run that was trained on a token of each source."""
    sources = {key: {"licence": licence} for key, licence in licences.items()}
    seen = dict.fromkeys(licences, 1)
    return {"data": {"sources": sources}, "tokens_by_source": seen, "ancestors": [], **more}


def _ancestor(licences: dict[str, str], **more) -> dict:
    seen = dict.fromkeys(licences, 1)
    own = {"licences": licences, "tokens_by_source": seen, "config": {"init_from": "scratch"}}
    return {"path": "gone", "step": 1, "params_sha256": "", **own, **more}


OTHER = {"license": "other", "license_name": "see-data", "license_link": "README.md"}
_MIT = {"a": "MIT"}


@pytest.mark.parametrize(
    ("record", "wanted"),
    [
        (_record({"a": "MIT", "b": "MIT"}), {"license": "mit"}),
        (_record({"a": "MIT", "b": "CC-BY-SA-4.0"}), OTHER),
        (_record({"a": "CWE-ToU"}), OTHER),
        (_record({"a": "MIT", "b": ""}), OTHER),
        (_record({}), OTHER),
        (_record(_MIT, tokens_by_source={"a": 1, "b": 0}), {"license": "mit"}),
        (_record(_MIT, ancestors=[_ancestor({"b": "MIT"})]), {"license": "mit"}),
        (_record(_MIT, ancestors=[_ancestor({"b": "CC-BY-NC-4.0"})]), OTHER),
        (_record(_MIT, ancestors=[_ancestor({"a": "CC-BY-NC-4.0"})]), OTHER),  # of other text
        (_record(_MIT, merged_from=[_ancestor({}, since=[_ancestor({"b": "GPL-3.0"})])]), OTHER),
        (_record(_MIT, ancestors=[_ancestor({}, config={"init_from": "import of gpt2"})]), OTHER),
    ],
)
def test_the_licence_of_a_card_is_that_of_all_that_a_model_is_of(record, wanted):
    text = "\n".join(card._metadata(record, card.licences(record), "openai-community/gpt2"))
    found = huggingface_hub.ModelCard(text).data.to_dict()
    assert found.items() >= wanted.items()
    assert found["base_model"] == "openai-community/gpt2" and "mypt_jax" in found["tags"]
