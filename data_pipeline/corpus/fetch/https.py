"""HTTPS downloads with a size limit, a hash and resumption; never over plain HTTP."""

import http.client
import os
import ssl
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from data_pipeline import digests, errors

TIMEOUT_SECS = 60
_CHUNK_BYTES = 1 << 20
_AGENT = "mypt_jax-corpus-builder"


class _OnlyHttps(urllib.request.HTTPRedirectHandler):
    """Follows redirects to https only: http would take the protection away silently."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        if urllib.parse.urlsplit(newurl).scheme != "https":
            fp.close()
            raise errors.UserError(f"{req.full_url}: redirected to {newurl}, wanted https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener(ca_file: str) -> urllib.request.OpenerDirector:
    context = ssl.create_default_context(cafile=ca_file or None)
    opener = urllib.request.OpenerDirector()
    # Only these: no file:, ftp: or data: handler, no http: either. Proxies as the system says.
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPSHandler(context=context),
        _OnlyHttps(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener


def _open(request: urllib.request.Request, ca_file: str):
    if urllib.parse.urlsplit(request.full_url).scheme != "https":
        raise errors.UserError(f"got {request.full_url}, wanted an https:// address")
    request.add_header("User-Agent", _AGENT)
    response = _opener(ca_file).open(request, timeout=TIMEOUT_SECS)
    if response is None:
        raise errors.UserError(f"{request.full_url}: no handler for its scheme, wanted https")
    return response


def get(url: str, path: Path, *, sha256: str, max_bytes: int, ca_file: str) -> str:
    """Downloads a file, unless it is there with that hash; returns its sha256.

    An interrupted download goes on where it stopped, if a hash or the server's own version of the
    file (ETag, Last-Modified) tells that it is still the same. Raises UserError for any failure: a
    wrong hash removes the file, so that the next attempt starts afresh.
    """
    if path.exists():
        found = digests.sha256(path)
        if not sha256 or found == sha256:
            return found
    partial = path.with_name(f".{path.name}.download")
    version = partial.with_name(f"{partial.name}.version")
    if partial.exists() and not sha256 and not version.exists():
        partial.unlink()
    try:
        _download(url, partial, version, max_bytes, ca_file)
    except (OSError, http.client.HTTPException, ssl.SSLError) as error:
        is_status = isinstance(error, urllib.error.HTTPError)
        if is_status:
            error.close()
        reason = error if is_status else getattr(error, "reason", None) or error
        raise errors.UserError(f"{url}: {reason}; run again to resume") from error
    version.unlink(missing_ok=True)
    found = digests.sha256(partial)
    if sha256 and found != sha256:
        partial.unlink()
        raise errors.UserError(f"{url}: got sha256 {found}, wanted {sha256}; it was deleted")
    os.replace(partial, path)
    return found


def _download(url: str, partial: Path, version: Path, max_bytes: int, ca_file: str) -> None:
    have = partial.stat().st_size if partial.exists() else 0
    request = urllib.request.Request(url)
    if have:
        request.add_header("Range", f"bytes={have}-")
        if version.exists():
            # The rest of another version would be sent as the whole of it.
            request.add_header("If-Range", version.read_text(encoding="latin-1"))
    try:
        response = _open(request, ca_file)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not have:
            raise
        error.close()
        if error.headers.get("Content-Range", "").strip() == f"bytes */{have}":
            return  # nothing is left to get
        partial.unlink()
        raise errors.UserError(f"{url}: has changed since it was begun; run again") from error
    with response:
        have = _continued_from(response, have)
        expected = _expected_bytes(response, have)
        if expected is not None and expected > max_bytes:
            raise errors.UserError(f"{url}: has {expected} bytes, limit {max_bytes}")
        if not have:
            partial.unlink(missing_ok=True)
            _note_version(response, version)
        with open(partial, "ab") as stream:
            while chunk := response.read(_CHUNK_BYTES):
                have += len(chunk)
                if have > max_bytes:
                    stream.close()
                    partial.unlink()
                    raise errors.UserError(f"{url}: more than {max_bytes} bytes, the limit")
                stream.write(chunk)
    if expected is not None and have != expected:
        raise errors.UserError(f"{url}: got {have} of {expected} bytes; run again to resume")


def _continued_from(response, have: int) -> int:
    """Where in the file the answer begins: at what is there, or at its start."""
    if response.status != 206:
        return 0
    begins = response.headers.get("Content-Range", f"bytes {have}-").strip()
    if not begins.startswith(f"bytes {have}-"):
        raise errors.UserError(f"{response.url}: got {begins!r}, wanted the bytes from {have} on")
    return have


def _note_version(response, version: Path) -> None:
    """Writes what names the file's version on the server; a weak ETag names no bytes."""
    named = response.headers.get("ETag", "")
    if not named.startswith('"'):
        named = response.headers.get("Last-Modified", "")
    version.unlink(missing_ok=True)
    if named:
        version.write_text(named, encoding="latin-1")


def _expected_bytes(response, have: int) -> int | None:
    length = response.headers.get("Content-Length")
    return have + int(length) if length and length.isdigit() else None


def post(url: str, fields: dict[str, str], *, accept: str, max_bytes: int, ca_file: str) -> bytes:
    """Sends a form; returns the answer's bytes. Raises UserError."""
    request = urllib.request.Request(
        url, data=urllib.parse.urlencode(fields).encode(), headers={"Accept": accept}
    )
    try:
        with _open(request, ca_file) as response:
            answer = response.read(max_bytes + 1)
    except (OSError, http.client.HTTPException) as error:
        raise errors.UserError(f"{url}: {getattr(error, 'reason', None) or error}") from error
    if len(answer) > max_bytes:
        raise errors.UserError(f"{url}: answer above {max_bytes} bytes")
    return answer
