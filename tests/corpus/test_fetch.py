"""Downloads against a TLS server of the test's own (certificates in tls/, valid for a century)."""

import contextlib
import dataclasses
import datetime
import gzip
import hashlib
import http.server
import io
import json
import lzma
import os
import ssl
import subprocess
import tarfile
import threading
import tracemalloc
import zipfile
from pathlib import Path

import pytest
import zstandard

from data_pipeline import errors
from data_pipeline.corpus import files, read, registry
from data_pipeline.corpus.fetch import archives, fetch, https

TLS = Path(__file__).parent / "tls"
DATA = bytes(range(256)) * 4000


class _Handler(http.server.BaseHTTPRequestHandler):
    """Serves server.files; /cut/ ends early once, /http/ redirects to http, /loop/ to https."""

    def _git(self, body=b""):
        """git http-backend, as a web server runs it."""
        path, _, query = self.path.removeprefix("/git").partition("?")
        environment = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.server.repositories),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
        }
        done = subprocess.run(
            ["git", "http-backend"], env=environment, input=body, capture_output=True, check=True
        )
        head, _, answer = done.stdout.partition(b"\r\n\r\n")
        self.send_response(200)
        for line in head.decode().splitlines():
            self.send_header(*line.split(": ", 1))
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def do_GET(self):
        server = self.server
        if self.path.startswith("/git/"):
            self._git()
            return
        server.requests.append((self.path, self.headers.get("Range")))
        kind, _, name = self.path.lstrip("/").partition("/")
        if kind in ("http", "https"):
            self.send_response(302)
            target = f"{kind}://localhost:{server.server_port}/plain/{name}"
            self.send_header("Location", target)
            self.end_headers()
            return
        data = server.files.get(name)
        if data is None:
            self.send_error(404)
            return
        start = 0
        version = f'"{hashlib.sha256(data).hexdigest()[:8]}"'
        if self.headers.get("Range") and self.headers.get("If-Range", version) == version:
            start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
        if start >= len(data) > 0:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(data)}")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        if server.has_versions:
            self.send_header("ETag", version)
        if kind != "nolength":
            self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        body = data[start:]
        if kind == "cut" and not start:
            body = body[: len(body) // 2]
        self.wfile.write(body)
        self.close_connection = True

    def do_POST(self):
        length = int(self.headers["Content-Length"])  # git sends small requests in one piece
        if self.path.startswith("/git/"):
            self._git(self.rfile.read(length))
            return
        self.server.requests.append((self.path, self.rfile.read(length).decode()))
        data = self.server.files["answer"]
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments):
        pass


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = False

    def handle_error(self, request, client_address):
        """A client that refuses the certificate is what a test wants."""


@pytest.fixture
def server():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(TLS / "server.pem", TLS / "server.key")
    running = _Server(("127.0.0.1", 0), _Handler)
    # The handshake belongs to the thread that closes the connection, also when it fails.
    running.socket = context.wrap_socket(
        running.socket, server_side=True, do_handshake_on_connect=False
    )
    running.files, running.requests, running.has_versions = {"f.bin": DATA}, [], True
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    running.url = f"https://localhost:{running.server_port}"
    yield running
    running.shutdown()
    running.server_close()
    thread.join()


def _get(server, kind, path, **changes):
    values = {
        "sha256": hashlib.sha256(DATA).hexdigest(),
        "max_bytes": 10**7,
        "ca_file": str(TLS / "ca.pem"),
    }
    return https.get(f"{server.url}/{kind}/f.bin", path, **values | changes)


def test_download_verifies_and_is_not_repeated(server, tmp_path):
    path = tmp_path / "f.bin"
    assert _get(server, "plain", path) == _get(server, "plain", path)
    assert path.read_bytes() == DATA and len(server.requests) == 1
    assert _get(server, "https", tmp_path / "redirected.bin")


def test_an_interrupted_download_is_resumed(server, tmp_path):
    path = tmp_path / "f.bin"
    with pytest.raises(errors.UserError, match="run again"):
        _get(server, "cut", path)
    assert not path.exists()
    _get(server, "cut", path)
    assert path.read_bytes() == DATA
    assert server.requests[-1] == ("/cut/f.bin", f"bytes={len(DATA) // 2}-")


@pytest.mark.parametrize(
    ("kind", "changes", "said"),
    [
        ("http", {}, "redirected to http:"),
        ("plain", {"sha256": "0" * 64}, "got sha256"),
        ("plain", {"max_bytes": 1000}, "limit 1000"),
        ("nolength", {"max_bytes": 1000}, "more than 1000 bytes"),
        ("plain", {"ca_file": ""}, "CERTIFICATE_VERIFY_FAILED"),
        ("missing", {}, "404"),
    ],
)
def test_refused_downloads_leave_nothing(server, tmp_path, kind, changes, said):
    if kind == "missing":
        server.files.clear()
    with pytest.raises(errors.UserError, match=said):
        _get(server, kind, tmp_path / "f.bin", **changes)
    assert not (tmp_path / "f.bin").exists()


@pytest.mark.parametrize("url", ["http://localhost/x", "file:///etc/passwd", "ftp://localhost/x"])
def test_only_https(tmp_path, url):
    with pytest.raises(errors.UserError, match="https"):
        https.get(url, tmp_path / "x", sha256="", max_bytes=10, ca_file="")


def _source(fetch_settings):
    return registry.Source(
        name="s",
        role="domain",
        lang="en",
        reader="plain",
        include=("**/*",),
        licence="MIT",
        attribution="",
        homepage="",
        fetch=fetch_settings,
    )


def test_a_source_over_https_is_unpacked_and_pinned(server, tmp_path):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a/b.txt", "text")
    server.files["z.zip"] = packed.getvalue()
    file = {"url": f"{server.url}/plain/z.zip", "max_bytes": 10**6, "unpack": {"max_bytes": 10**6}}
    source = _source({"kind": "https", "files": [file]})
    ca_file = str(TLS / "ca.pem")
    assert fetch.fetch(source, tmp_path / "s", ca_file=ca_file) == "fetched"
    assert (tmp_path / "s" / "z.zip.unpacked" / "a" / "b.txt").read_text() == "text"
    assert fetch.fetch(source, tmp_path / "s", ca_file=ca_file) == "already there"
    # A hash that was not given is the one seen first: other content is refused afterwards.
    (tmp_path / "s" / "z.zip").unlink()
    (tmp_path / "s" / fetch.MARKER).write_text(
        (tmp_path / "s" / fetch.MARKER).read_text().replace('"kind": "https"', '"kind": "old"')
    )
    server.files["z.zip"] += b"x"
    with pytest.raises(errors.UserError, match="got sha256"):
        fetch.fetch(source, tmp_path / "s", ca_file=ca_file)


@pytest.mark.parametrize("has_versions", [True, False])
def test_a_download_without_a_hash_is_of_one_version(server, tmp_path, has_versions):
    server.has_versions = has_versions
    with pytest.raises(errors.UserError, match="run again to resume"):
        _get(server, "cut", tmp_path / "f.bin", sha256="")
    server.files["f.bin"] = DATA[::-1]
    _get(server, "plain", tmp_path / "f.bin", sha256="")
    assert (tmp_path / "f.bin").read_bytes() == DATA[::-1]
    assert [path.name for path in tmp_path.iterdir()] == ["f.bin"]


def test_a_download_without_a_hash_is_resumed_where_the_server_names_its_version(server, tmp_path):
    with pytest.raises(errors.UserError, match="run again to resume"):
        _get(server, "cut", tmp_path / "f.bin", sha256="")
    _get(server, "plain", tmp_path / "f.bin", sha256="")
    assert (tmp_path / "f.bin").read_bytes() == DATA
    assert server.requests[-1][1] == f"bytes={len(DATA) // 2}-"


def test_a_partial_file_longer_than_the_file_is_not_taken_for_it(server, tmp_path):
    (tmp_path / ".f.bin.download").write_bytes(b"x" * (len(DATA) + 5))
    with pytest.raises(errors.UserError, match="has changed"):
        _get(server, "plain", tmp_path / "f.bin")
    _get(server, "plain", tmp_path / "f.bin")
    assert (tmp_path / "f.bin").read_bytes() == DATA


def test_a_damaged_archive_without_a_hash_is_fetched_again(server, tmp_path):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.txt", "text")
    server.files["z.zip"] = packed.getvalue()[:40]
    file = {"url": f"{server.url}/plain/z.zip", "max_bytes": 10**6, "unpack": {"max_bytes": 10**6}}
    source = _source({"kind": "https", "files": [file]})
    ca_file = str(TLS / "ca.pem")
    with pytest.raises(errors.UserError, match="it was deleted"):
        fetch.fetch(source, tmp_path / "s", ca_file=ca_file)
    server.files["z.zip"] = packed.getvalue()
    assert fetch.fetch(source, tmp_path / "s", ca_file=ca_file) == "fetched"
    assert (tmp_path / "s" / "z.zip.unpacked" / "a.txt").read_text() == "text"


def test_files_of_one_name_are_refused():
    listed = [{"url": f"https://x.org/{n}/f.zip", "max_bytes": 1} for n in (1, 2)]
    row = dataclasses.asdict(_source({"kind": "https", "files": listed})) | {"include": ["*"]}
    row = {key: list(value) if isinstance(value, tuple) else value for key, value in row.items()}
    with pytest.raises(errors.UserError, match="f.zip twice"):
        registry._source(row, 0, [], "r.json")
    row["fetch"]["files"][1]["name"] = "g.zip"
    registry._source(row, 0, [], "r.json")


def test_a_build_refuses_what_was_fetched_in_part(server, tmp_path):
    """The first of two files is there, the second is not: neither is read until both are."""
    server.files |= {"a.txt": b"one " * 200}
    listed = [{"url": f"{server.url}/plain/{n}.txt", "max_bytes": 10**6} for n in "ab"]
    source = _source({"kind": "https", "files": listed})
    ca_file = str(TLS / "ca.pem")
    with pytest.raises(errors.UserError, match="404"):
        fetch.fetch(source, tmp_path / "s", ca_file=ca_file)
    planned = {"roots": {"s": tmp_path / "s"}, "work_dir": tmp_path / "work", "mask": False}
    with pytest.raises(errors.UserError, match="interrupted; run again with --fetch"):
        read.plan([source], **planned)
    server.files |= {"b.txt": b"two " * 200}
    fetch.fetch(source, tmp_path / "s", ca_file=ca_file)
    (part,) = read.plan([dataclasses.replace(source, include=("*.txt",))], **planned)
    assert part.names == ("a.txt", "b.txt")


def test_fedlex_laws_are_fetched_newest_first(server, tmp_path):
    law = f"{server.url}/plain/eli/cc/1"
    server.files["law-2.xml"] = b"<akomaNtoso/>"
    rows = [
        {
            "law": {"value": law},
            "date": {"value": "2025-01-01"},
            "url": {"value": f"{server.url}/plain/law-{n}.xml"},
        }
        for n in (1, 2)
    ]
    server.files["answer"] = json.dumps({"results": {"bindings": rows}}).encode()
    source = _source(
        {
            "kind": "fedlex",
            "language": "de",
            "date": "2026-01-01",
            "endpoint": f"{server.url}/sparql",
        }
    )
    assert fetch.fetch(
        source, tmp_path / "s", ca_file=str(TLS / "ca.pem"), date=datetime.date(2026, 1, 1)
    )
    assert (tmp_path / "s" / "cc_1.xml").read_bytes() == b"<akomaNtoso/>"
    assert "jolux" in server.requests[0][1]


def test_fedlex_laws_follow_the_registry_s_date(server, tmp_path):
    """An amended law is got again, a repealed one goes, and one that stayed is not asked for."""

    def listed(**urls):
        rows = [
            {
                "law": {"value": f"{server.url}/eli/cc/{law}"},
                "date": {"value": "2020-01-01"},
                "url": {"value": f"{server.url}/plain/{url}"},
            }
            for law, url in urls.items()
        ]
        server.files["answer"] = json.dumps({"results": {"bindings": rows}}).encode()

    def fetched(year):
        settings = {"kind": "fedlex", "language": "de", "date": f"{year}-01-01"}
        settings["endpoint"] = f"{server.url}/sparql"
        server.requests.clear()
        day = datetime.date(year, 1, 1)
        fetch.fetch(_source(settings), tmp_path / "s", ca_file=str(TLS / "ca.pem"), date=day)
        found = {path.name: path.read_bytes() for path in (tmp_path / "s").glob("*.xml")}
        return found, [path for path, _ in server.requests if path.startswith("/plain")]

    server.files |= {f"{n}.xml": f"<a{n}/>".encode() for n in (1, 2, 3, 4)}
    listed(a="1.xml", b="2.xml", c="3.xml")
    assert set(fetched(2021)[0]) == {"cc_a.xml", "cc_b.xml", "cc_c.xml"}
    listed(a="4.xml", b="2.xml")
    found, asked = fetched(2025)
    assert found == {"cc_a.xml": b"<a4/>", "cc_b.xml": b"<a2/>"} and asked == ["/plain/4.xml"]
    listed()
    with pytest.raises(errors.UserError, match="named no law"):
        fetched(2026)


def test_a_tfds_dataset_becomes_json_lines(tmp_path):
    tfds = pytest.importorskip("tensorflow_datasets")

    class Pairs(tfds.core.GeneratorBasedBuilder):
        """Three pairs of sentences."""

        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = tfds.features.Translation(languages=["de", "en"])
            return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            for number in range(3):
                yield number, {"de": f"Satz {number}.", "en": f"Sentence {number}."}

    builder = Pairs(data_dir=str(tmp_path / "tfds"), file_format="array_record")
    tfds.disable_progress_bar()
    with contextlib.redirect_stdout(io.StringIO()):
        builder.download_and_prepare()
    settings = {"kind": "tfds", "dataset": f"{builder.data_dir}:train", "text_field": "text"}
    source = _source(settings | {"rows_per_document": 2})
    assert fetch.fetch(source, tmp_path / "s") == "fetched"
    lines = (tmp_path / "s" / "tfds.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["text"].split("\n") for row in rows] == [
        ["Satz 0.", "Sentence 0.", "Satz 1.", "Sentence 1."],
        ["Satz 2.", "Sentence 2."],
    ]
    assert not (tmp_path / "s" / files.UNFINISHED).exists()
    assert fetch.fetch(source, tmp_path / "s") == "already there"


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A hostile git repository: a link, a submodule, a filter, an option as a name, a hook."""
    origin = tmp_path / "origin"
    origin.mkdir()
    for name in ("GIT_AUTHOR", "GIT_COMMITTER"):
        monkeypatch.setenv(f"{name}_NAME", "x")
        monkeypatch.setenv(f"{name}_EMAIL", "x@example.org")
    # What a user's own settings would run on every checkout.
    proof = tmp_path / "ran"
    home = tmp_path / "home"
    (home / "hooks").mkdir(parents=True)
    (home / "hooks" / "post-checkout").write_text(f"#!/bin/sh\ntouch {proof}\n")
    (home / "hooks" / "post-checkout").chmod(0o755)
    (home / ".gitconfig").write_text(
        f'[core]\nhooksPath = {home}/hooks\n[filter "evil"]\nsmudge = touch {proof}\n'
    )

    def git(*arguments):
        command = ["git", "-C", str(origin), "-c", "commit.gpgsign=false", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "--quiet")
    (origin / "docs").mkdir()
    (origin / "docs" / "a.md").write_text("first")
    (origin / "docs" / "--upload-pack=touch x.md").write_text("dash")
    (origin / "docs" / ".gitattributes").write_text("*.md filter=evil\n")
    (origin / "docs" / "huge.md").write_bytes(b"x" * 5_000_000)
    (origin / "other.md").write_text("other")
    (origin / "docs" / "passwd.md").symlink_to("/etc/passwd")
    (origin / ".gitmodules").write_text(
        '[submodule "m"]\npath = docs/m\nurl = https://localhost:1/--upload-pack=x\n'
    )
    git("add", ".")
    git("update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},docs/m")
    git("commit", "--quiet", "-m", "one")
    first = git("rev-parse", "HEAD")
    (origin / "docs" / "a.md").write_text("second")
    git("commit", "--quiet", "-am", "two")
    git("config", "uploadpack.allowAnySHA1InWant", "true")
    git("config", "uploadpack.allowFilter", "true")
    monkeypatch.setenv("HOME", str(home))
    return origin, first, proof


def _names(directory):
    return sorted(p.relative_to(directory).as_posix() for p in directory.rglob("*") if p.is_file())


GOT = [".fetched.json", "docs/--upload-pack=touch x.md", "docs/.gitattributes", "docs/a.md",
       "docs/huge.md"]  # fmt: skip


def test_git_gets_the_pinned_commit_without_links(repository, tmp_path):
    origin, commit, proof = repository
    settings = {"kind": "git", "url": f"file://{origin}", "commit": commit, "directories": ["docs"]}
    source = _source(settings)
    said = fetch.fetch(source, tmp_path / "s", allow_protocol="file")
    assert said == "fetched, 2 links and submodules left out"
    assert (tmp_path / "s" / "docs" / "a.md").read_text() == "first"
    assert _names(tmp_path / "s") == GOT and not proof.exists()
    assert fetch.fetch(source, tmp_path / "s", allow_protocol="file") == "already there"


def test_git_over_https_with_an_own_authority(repository, server, tmp_path):
    """A partial clone from git's own server behind TLS."""
    origin, commit, proof = repository
    server.repositories = tmp_path
    settings = {"kind": "git", "url": f"{server.url}/git/origin/.git", "commit": commit}
    source = _source(settings | {"directories": ["docs"]})
    with pytest.raises(errors.UserError, match="certificate"):
        fetch.fetch(source, tmp_path / "s")
    assert fetch.fetch(source, tmp_path / "s", ca_file=str(TLS / "ca.pem"))
    assert (tmp_path / "s" / "docs" / "a.md").read_text() == "first"
    assert _names(tmp_path / "s") == GOT and not proof.exists()


def test_git_failures_are_one_line(repository, tmp_path):
    origin, _, _ = repository
    settings = {"kind": "git", "url": f"file://{origin}", "commit": "0" * 40}
    with pytest.raises(errors.UserError, match="source s: git fetch failed"):
        fetch.fetch(_source(settings), tmp_path / "s", allow_protocol="file")
    with pytest.raises(errors.UserError, match="not allowed|git fetch failed"):
        fetch.fetch(_source(settings), tmp_path / "s")
    assert not (tmp_path / "s").exists()


def _tar(*members):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content, kind in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            info.size = len(content) if kind == tarfile.REGTYPE else 0
            archive.addfile(info, io.BytesIO(content))
    return packed.getvalue()


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "..\\x"])
def test_members_outside_are_refused(tmp_path, name):
    (tmp_path / "t.tgz").write_bytes(_tar((name, b"x", tarfile.REGTYPE)))
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
        archive.writestr(name, "x")
    for archive in ("t.tgz", "t.zip"):
        with pytest.raises(errors.UserError, match="leaves"):
            archives.unpack(tmp_path / archive, tmp_path / f"{archive}.out", max_bytes=100)
    assert not (tmp_path / "x").exists()


def test_bombs_links_and_damage(tmp_path):
    (tmp_path / "l.tgz").write_bytes(
        _tar(("l", b"", tarfile.SYMTYPE), ("ok", b"1", tarfile.REGTYPE))
    )
    assert archives.unpack(tmp_path / "l.tgz", tmp_path / "l", max_bytes=10) == 1
    assert [p.name for p in (tmp_path / "l").iterdir()] == ["ok"]
    with zipfile.ZipFile(tmp_path / "b.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("big", b"0" * 5_000_000)
    with pytest.raises(errors.UserError, match="limit"):
        archives.unpack(tmp_path / "b.zip", tmp_path / "b", max_bytes=1_000_000)
    (tmp_path / "d.tgz").write_bytes(_tar(("a", b"x" * 9999, tarfile.REGTYPE))[:60])
    with pytest.raises(errors.UserError, match="damaged|neither"):
        archives.unpack(tmp_path / "d.tgz", tmp_path / "d", max_bytes=10**6)


def test_headers_of_a_tar_count_against_a_limit(tmp_path):
    """A header of 40 MB is a few KB when compressed, and tarfile reads it whole."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo("a")
        info.pax_headers = {"comment": "x" * 40_000_000}
        archive.addfile(info)
    (tmp_path / "h.tgz").write_bytes(packed.getvalue())
    tracemalloc.start()
    with pytest.raises(errors.UserError, match="headers are above"):
        archives.unpack(tmp_path / "h.tgz", tmp_path / "h", max_bytes=10**6)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8_000_000


def test_members_with_long_names_and_padding_are_unpacked(tmp_path):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:xz") as archive:
        for number in range(50):
            info = tarfile.TarInfo(f"{'d' * 90}/{'e' * 90}/{number}")
            info.size = 10
            archive.addfile(info, io.BytesIO(b"0123456789"))
    (tmp_path / "p.txz").write_bytes(packed.getvalue())
    assert archives.unpack(tmp_path / "p.txz", tmp_path / "p", max_bytes=500) == 50
    (tmp_path / "p.tar").write_bytes(lzma.decompress(packed.getvalue()))
    assert archives.unpack(tmp_path / "p.tar", tmp_path / "q", max_bytes=500) == 50


def test_a_tar_compressed_by_zstandard(tmp_path):
    members = [(f"{n}.txt", bytes([n]) * 100_000, tarfile.REGTYPE) for n in range(3)]
    data = zstandard.compress(gzip.decompress(_tar(*members)))
    (tmp_path / "a.tar.zst").write_bytes(data)
    assert archives.unpack(tmp_path / "a.tar.zst", tmp_path / "a", max_bytes=300_000) == 3
    assert (tmp_path / "a" / "2.txt").read_bytes() == b"\2" * 100_000
    (tmp_path / "b.tar.zst").write_bytes(data[:-20])
    with pytest.raises(errors.UserError, match="damaged"):
        archives.unpack(tmp_path / "b.tar.zst", tmp_path / "b", max_bytes=300_000)


@pytest.mark.parametrize("names", [("a", "a/b"), ("a/b", "a"), ("x" * 300,)])
def test_members_that_no_directory_can_hold_are_one_line(tmp_path, names):
    with zipfile.ZipFile(tmp_path / "n.zip", "w") as archive:
        for name in names:
            archive.writestr(name, "text")
    with pytest.raises(errors.UserError, match="cannot unpack its member"):
        archives.unpack(tmp_path / "n.zip", tmp_path / "n", max_bytes=100)
