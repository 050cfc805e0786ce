"""Gets a source's files: git at a pinned commit, https with hash and size limit, Fedlex.

A source is complete when its marker .fetched.json, written last, names what the registry asks for;
while .fetching stands beside it, no build reads what is there.
"""

import datetime
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

from data_pipeline import errors
from data_pipeline.corpus import files, registry
from data_pipeline.corpus.fetch import archives, fedlex, https

MARKER = ".fetched.json"
_LAWS = ".laws.json"  # file name of a Fedlex law -> the address of its text
GIT_TIMEOUT_SECS = 3600
# Nothing of the user's or the machine's git settings, no hooks, no prompts, no other transports.
_GIT_ENVIRONMENT = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "true",
    "GIT_ALLOW_PROTOCOL": "https",
    "GIT_LFS_SKIP_SMUDGE": "1",
}
_LINK, _SUBMODULE = b"120000", b"160000"  # modes of git's index
_GIT_OPTIONS = (
    "-c", f"core.hooksPath={os.devnull}", "-c", "core.symlinks=false", "-c", "protocol.version=2",
    "-c", "submodule.recurse=false", "-c", "advice.detachedHead=false",
    "-c", "core.fsmonitor=false", "-c", "filter.lfs.smudge=", "-c", "filter.lfs.required=false",
)  # fmt: skip


def fetch(
    source: registry.Source,
    directory: Path,
    *,
    ca_file: str = "",
    allow_protocol: str = "https",
    date: datetime.date | None = None,
) -> str:
    """Brings a source's files into `directory`; returns what was done, as words for the user.

    Raises UserError naming the source for whatever goes wrong; what was downloaded until then is
    used by the next attempt.
    """
    marker = files.read_json(directory / MARKER)
    if marker is not None and _is_current(marker, source.fetch):
        return "already there"
    kind = source.fetch["kind"]
    unfinished = directory / files.UNFINISHED
    if kind in ("https", "tfds", "fedlex"):  # git's files appear all together
        files.write_bytes(unfinished, b"")
    try:
        if kind == "git":
            links = _git(source.fetch, directory, allow_protocol=allow_protocol, ca_file=ca_file)
            found = {**source.fetch, "links_left_out": links}
        elif kind == "https":
            found = _https(source.fetch, directory, marker or {}, ca_file=ca_file)
        elif kind == "tfds":
            _tfds(source.name, source.fetch, directory)
            found = dict(source.fetch)
        elif kind == "fedlex":
            found = _fedlex(source.fetch, directory, ca_file=ca_file, date=date)
        else:
            raise errors.UserError(
                f"it is provided by you: put its files into {directory} ({source.homepage})"
            )
    except errors.UserError as error:
        raise errors.UserError(f"source {source.name}: {error}") from error
    files.write_json(directory / MARKER, found)
    unfinished.unlink(missing_ok=True)
    left_out = found.get("links_left_out")
    return f"fetched, {left_out} links and submodules left out" if left_out else "fetched"


def _is_current(marker: dict, wanted: dict) -> bool:
    if wanted["kind"] != "https":
        return all(marker.get(key) == value for key, value in wanted.items())
    pinned = {file["url"]: file["sha256"] for file in marker.get("files", [])}
    return marker.get("kind") == "https" and all(
        file["url"] in pinned and file.get("sha256", "") in ("", pinned[file["url"]])
        for file in wanted["files"]
    )


def _git(wanted: dict, directory: Path, *, allow_protocol: str, ca_file: str) -> int:
    """Fetches one commit without history into `directory`, without its .git.

    Symbolic links and submodules are left out; returns how many there were.
    """
    partial = directory.with_name(f"{directory.name}.git-partial")
    partial.mkdir(parents=True, exist_ok=True)

    def git(*arguments):
        command = ["git", *_GIT_OPTIONS, "-C", str(partial), *arguments]
        environment = os.environ | _GIT_ENVIRONMENT | {"GIT_ALLOW_PROTOCOL": allow_protocol}
        if ca_file:
            environment["GIT_SSL_CAINFO"] = os.path.abspath(ca_file)
        try:
            return subprocess.run(
                command,
                env=environment,
                check=True,
                capture_output=True,
                timeout=GIT_TIMEOUT_SECS,
                stdin=subprocess.DEVNULL,
            ).stdout
        except FileNotFoundError as error:
            raise errors.UserError("git is not installed, it fetches this source") from error
        except subprocess.TimeoutExpired as error:
            raise errors.UserError(f"git took more than {GIT_TIMEOUT_SECS} s; run again") from error
        except subprocess.CalledProcessError as error:
            said = error.stderr.decode("utf-8", "replace").strip().splitlines()
            last = said[-1][:300] if said else f"exit code {error.returncode}"
            raise errors.UserError(f"git {arguments[0]} failed: {last}; run again") from error

    if not (partial / ".git").exists():
        git("init", "--quiet")
    subdirectories = wanted.get("directories", [])
    if subdirectories:
        git(
            "sparse-checkout",
            "set",
            "--no-cone",
            *(f"/{each.strip('/')}/" for each in subdirectories),
        )
    # A partial clone: with subdirectories only their files travel.
    filters = ["--filter=blob:none"] if subdirectories and allow_protocol == "https" else []
    # `--` and a checked 40-digit commit: neither can be read as an option.
    git("fetch", "--quiet", "--depth=1", "--no-tags", "--no-recurse-submodules", *filters, "--",
        wanted["url"], wanted["commit"])  # fmt: skip
    git("checkout", "--quiet", "--force", wanted["commit"])
    # core.symlinks=false writes a link as a file that holds its target: no document either.
    links = 0
    for entry in git("ls-files", "--stage", "-z").split(b"\0"):
        described, _, name = entry.partition(b"\t")
        if described[:6] in (_LINK, _SUBMODULE):
            links += 1
            path = partial / os.fsdecode(name)
            if path.is_file() or path.is_symlink():
                path.unlink()
    shutil.rmtree(partial / ".git")
    _replace_directory(partial, directory)
    return links


def _replace_directory(fresh: Path, directory: Path) -> None:
    """Removes symbolic links, then puts a complete directory into place."""
    for path in sorted(fresh.rglob("*")):
        if path.is_symlink():
            path.unlink()
    shutil.rmtree(directory, ignore_errors=True)
    os.replace(fresh, directory)


def _https(wanted: dict, directory: Path, marker: dict, *, ca_file: str) -> dict:
    """Downloads all files, unpacks archives; a missing hash is pinned at first sight."""
    directory.mkdir(parents=True, exist_ok=True)
    pinned = {file["url"]: file["sha256"] for file in marker.get("files", [])}
    listed = []
    for file in wanted["files"]:
        name = registry.file_name(file)
        if not name or "/" in name or name.startswith("."):
            raise errors.UserError(f"got file name {name!r}, wanted a plain name")
        path = directory / name
        sha256 = https.get(
            file["url"],
            path,
            sha256=file.get("sha256") or pinned.get(file["url"], ""),
            max_bytes=file["max_bytes"],
            ca_file=ca_file,
        )
        if file.get("unpack"):
            fresh = directory / f"{name}.partial-unpacked"
            shutil.rmtree(fresh, ignore_errors=True)
            try:
                archives.unpack(path, fresh, max_bytes=file["unpack"]["max_bytes"])
            except errors.UserError as error:
                if file.get("sha256"):
                    raise
                # Nothing says that this is what the server has: the next attempt gets it again.
                path.unlink()
                raise errors.UserError(f"{error}; it was deleted") from error
            _replace_directory(fresh, directory / f"{name}.unpacked")
        listed.append({"url": file["url"], "sha256": sha256})
    return {"kind": "https", "files": listed}


def _tfds(name: str, wanted: dict, directory: Path) -> None:
    """Exports a prepared TFDS dataset as JSON lines, which the build reads like any other file."""
    from data_pipeline.readers.records import tfds_text  # it loads TFDS

    with files.replacing(directory / "tfds.jsonl") as stream:
        for found in tfds_text.documents(
            wanted["dataset"],
            source=name,
            text_field=wanted["text_field"],
            bad_text="replace",
            rows_per_document=wanted.get("rows_per_document", 32),
        ):
            row = json.dumps({"id": found.id, "text": found.text}, ensure_ascii=False)
            stream.write(row.encode() + b"\n")


def _fedlex(wanted: dict, directory: Path, *, ca_file: str, date) -> dict:
    """Asks for all laws in force, downloads the newest text of each that is not there yet."""
    date = date or datetime.date.fromisoformat(wanted["date"])
    endpoint = wanted.get("endpoint", fedlex.ENDPOINT)
    directory.mkdir(parents=True, exist_ok=True)
    laws: dict[str, str] = {}
    offset = 0
    while True:
        question = fedlex.query(language=wanted["language"], date=date, offset=offset)
        answer = https.post(
            endpoint,
            {"query": question},
            accept="application/sparql-results+json",
            max_bytes=64 * 1024 * 1024,
            ca_file=ca_file,
        )
        laws |= fedlex.newest(answer, date=date)
        if fedlex.rows(answer) < fedlex.PAGE_ROWS:
            break
        offset += fedlex.PAGE_ROWS
    if not laws:
        raise errors.UserError(f"{endpoint}: named no law in force on {date}, wanted all")
    named = {_law_name(law): url for law, url in laws.items()}
    # What is there has the address under which it was got: a law that was amended or repealed since
    # then goes before the new list is written, so that an interruption leaves nothing old.
    listed = directory / _LAWS
    got = files.read_json(listed) or {}
    for path in directory.glob("*.xml"):
        if got.get(path.stem) != named.get(path.stem) or path.stem not in named:
            path.unlink()
    files.write_json(listed, named)
    for name, url in named.items():
        path = directory / f"{name}.xml"
        if not path.exists():
            https.get(url, path, sha256="", max_bytes=32 * 1024 * 1024, ca_file=ca_file)
    return {**wanted, "laws": len(laws)}


def _law_name(law: str) -> str:
    """cc_1999_404 for .../eli/cc/1999/404."""
    return law.partition("/eli/")[2].replace("/", "_") or re.sub(r"\W+", "_", law)
