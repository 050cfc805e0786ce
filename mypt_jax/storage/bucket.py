"""Files in a bucket below one URL, and where each URL has its mirror on this machine."""

import concurrent.futures
import contextlib
import logging
import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping

from data_pipeline import atomic
from data_pipeline.errors import UserError
from mypt_jax import exits
from mypt_jax.storage.copies import Copies, Object

MIRROR = "remote"
SCHEMES = ("gs", "s3")
_THREADS = 8  # files at a time; a large checkpoint is several files


def local_path(path: str) -> str:
    """gs://bucket/run -> remote/gs/bucket/run; other paths unchanged. Raises UserError."""
    scheme, separator, rest = path.partition("://")
    if not separator:
        return path
    if scheme not in SCHEMES:
        raise UserError(f"{path}: {scheme}:// is not known, wanted gs:// or s3:// or a directory")
    if not rest.partition("/")[0]:
        raise UserError(f"{path} names no bucket, wanted {scheme}://BUCKET/...")
    return os.path.join(MIRROR, scheme, rest.rstrip("/"))


def url_of(path: str) -> str:
    """The inverse of local_path; "" for a path that is no mirror."""
    parts = os.path.normpath(path).split(os.sep)
    if len(parts) < 3 or parts[0] != MIRROR or parts[1] not in SCHEMES:
        return ""
    return f"{parts[1]}://{'/'.join(parts[2:])}"


@contextlib.contextmanager
def locked(local: str) -> Iterator[None]:
    """One process of this machine at a time fetches into a mirror; the others find it there."""
    os.makedirs(os.path.dirname(local), exist_ok=True)
    with atomic.locked(f"{local}.lock", wait=True):
        yield


class Bucket:
    """Files below one URL, through fsspec. Raises StorageFailure where it cannot be reached, which
    may pass, and UserError where it is not there or not allowed."""

    def __init__(self, url: str):
        self.url = url
        self.local = local_path(url)  # where its files are worked on, on this machine
        scheme, _, self._root = url.partition("://")
        # gcsfs tries gRPC first by default, which emulators and some proxies answer with silence.
        os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
        # It logs the stacks of what it raises, which is told in one line here.
        logging.getLogger("gcsfs").setLevel(logging.CRITICAL)
        try:
            import fsspec

            # The emulator of google-cloud-storage takes no credentials.
            anonymous = scheme == "gs" and os.environ.get("STORAGE_EMULATOR_HOST")
            self._files = fsspec.filesystem(
                scheme, skip_instance_cache=True, **({"token": "anon"} if anonymous else {})
            )
        except ImportError as error:
            raise UserError(
                f"{url} needs {error.name or 'fsspec'}: pip install -r requirements-cloud.txt"
            ) from error

    @property
    def copies(self) -> Copies:
        """Of all that was fetched of this bucket on this machine."""
        whole = self.local.split(os.sep)[:3]
        return Copies(f"{os.path.join(*whole)}.objects.json")

    def objects(self) -> dict[str, Object]:
        """{path below the URL: its object}; empty where there is nothing."""
        self._files.invalidate_cache()
        try:
            found = self._files.find(self._root, detail=True)
        except FileNotFoundError:
            return {}
        except Exception as error:  # each client has exceptions of its own
            raise _failure(f"{self.url} cannot be listed: {error}", error) from error
        return {name[len(self._root) + 1 :]: Object.of(entry) for name, entry in found.items()}

    def get(self, name: str, target: str) -> None:
        """Downloads one file, visible under its name only when it is whole."""
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with atomic.replacing(target, writer=uuid.uuid4().hex) as file:
            try:
                self._files.get_file(f"{self._root}/{name}", file.name)
            except Exception as error:
                raise _failure(f"{self.url}/{name} cannot be read: {error}", error) from error

    def read(self, name: str) -> bytes | None:
        """The bytes of a small file, None where there is none."""
        self._files.invalidate_cache()
        try:
            return self._files.cat_file(f"{self._root}/{name}")
        except FileNotFoundError:
            return None
        except Exception as error:
            raise _failure(f"{self.url}/{name} cannot be read: {error}", error) from error

    def write(self, name: str, data: bytes, *, create: bool) -> None:
        """One small file. With `create` only where there is none yet (FileExistsError), as far as
        the store knows this precondition: GCS and S3 do."""
        mode = "create" if create else "overwrite"
        self._files.pipe_file(f"{self._root}/{name}", data, mode=mode)

    def numbers(self, folder: str) -> list[int]:
        """Of the files folder/NUMBER.json, ascending."""
        self._files.invalidate_cache()
        try:
            found = self._files.find(f"{self._root}/{folder}")
        except FileNotFoundError:
            return []
        names = [os.path.basename(path).removesuffix(".json") for path in found]
        return sorted(int(name) for name in names if name.isdecimal())

    def fetch(self, local: str, names: Iterable[str], objects: Mapping[str, Object]) -> int:
        """Downloads what is missing or no copy of these objects. Returns how many files it got,
        besides JSON."""
        copies = self.copies

        def one(name: str) -> bool:
            target, full = os.path.join(local, name), f"{self.url}/{name}"
            if copies.is_copy(full, target, objects[name]):
                return False
            self.get(name, target)
            copies.note(full, target, objects[name])
            return not name.endswith(".json")

        return sum(_in_threads(one, names))

    def put(self, source: str, name: str) -> None:
        self._files.put_file(source, f"{self._root}/{name}")

    def put_all(self, sources: Mapping[str, str], before: Callable[[], None]) -> None:
        """Uploads {name: local path}, several at a time; `before` each one."""

        def one(name: str) -> None:
            before()
            self.put(sources[name], name)

        _in_threads(one, sources)

    def remove(self, name: str) -> None:
        self._files.rm_file(f"{self._root}/{name}")


def _failure(line: str, error: Exception) -> Exception:
    """Whether to try again is what the exit code says: 8 for the network, 2 for what is wrong."""
    is_wrong = isinstance(error, (FileNotFoundError, PermissionError))
    if isinstance(error, OSError) and not is_wrong:  # connections and timeouts are
        return exits.StorageFailure(line)
    return UserError(line)


def _in_threads(function, names: Iterable[str]) -> list:
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(function, names))
