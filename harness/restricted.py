"""Restricted text: the key that stands for it, and what may be said in its place.

Restricted text lies outside the repository. What leaves a run of it is keyed: an HMAC under a key that only those who
may see the text hold. A plain digest of a short text is no secret, since whoever can guess the text can check the
guess; so without a key nothing at all is said.

The rules hang on two facts that are known early, and not on each sink: a suite is restricted, and this process has
read restricted text. See `docs/restricted.md` and `docs/design/0007-restricted.md`.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import io
import logging
import os
import re
import stat
import traceback
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

FOLDER = "TELLS_RESTRICTED"
"""Environment variable: the folder that holds restricted files, and the store of their answers."""
KEY = "TELLS_RESTRICTED_KEY"
"""Environment variable: the file that holds the key."""
MIN_KEY = 32
"""Bytes: as many as the digest has."""
MAX_KEY = 4096
HAZARD = "restricted"
WITHHELD = "withheld"
"""Stands where there is no key to make a tag with."""
BANNER = "RESTRICTED TEXT IS SHOWN"
FRAGMENT = 12
"""Characters in a row that, when found in a message, count as a quotation."""
SHORTEST = 4
"""Characters: restricted values shorter than this are words that any message may hold."""
GROUP_OR_WORLD = stat.S_IRWXG | stat.S_IRWXO
ABOVE_ALL = 1 << 30
"""A level of logging that no message has."""
OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
TAGGED = re.compile(r"(hmac-)?sha256:[0-9a-f]{64}|hmac-[0-9a-f]{32}|withheld-[0-9]{4,}")
"""What stands for an id; plain SHA-256 in records from before there was a key."""
FOREIGN = re.compile(r"\b([A-Z]\w*(?:Error|Exception|Exit|Interrupt|Timeout|Warning)): (?!\[withheld\b)(.+)", re.DOTALL)
"""An exception of other code: its message may hold prompts and answers without quoting them."""
QUOTED = re.compile(r"(?<!\w)(['\"`])(?:\\.|[^\\])*?\1(?!\w)", re.DOTALL)
_ESCAPE = re.compile(r"\\[nrtfv]|\s+")

_touched = False
_known: tuple[tuple[str, int, int], bytes] | None = None
"""The key last read, under path, time and size of its file."""


def touched() -> bool:
    """Tell whether this process has read a restricted suite since `forget`."""
    return _touched


def touch() -> None:
    """Note that this process holds restricted text: from now on no traceback of it is shown."""
    global _touched  # noqa: PLW0603 - a fact about the process, and a crash has nothing else to ask
    _touched = True


def forget() -> None:
    """Begin a run that has read nothing yet."""
    global _touched  # noqa: PLW0603 - as above
    _touched = False


# --- the key and the folder


def key_path() -> Path | None:
    """Return the path of the key file as the environment names it."""
    named = os.environ.get(KEY, "")
    return Path(named) if named else None


def key() -> bytes | None:
    """Return the key, None where the environment names none.

    Raises:
        UsageError: the file that it names cannot be the key.
    """
    global _known  # noqa: PLW0603 - a cache: one tag is made per quotation
    path = key_path()
    if path is None:
        return None
    try:
        found = path.stat()
        place = (str(path), found.st_mtime_ns, found.st_size)
        if _known is None or _known[0] != place:
            _known = (place, _read_key(path))
    except OSError as error:
        msg = f"{KEY}: the key cannot be read ({error.strerror}); expected a file of {MIN_KEY} bytes or more; mend it"
        raise UsageError(msg) from None
    return _known[1]


def _read_key(path: Path) -> bytes:
    data = read_private(path, MAX_KEY, KEY)
    if not MIN_KEY <= len(data) <= MAX_KEY:
        msg = (
            f"{KEY}: the key has {len(data)} bytes; expected {MIN_KEY} to {MAX_KEY} random ones; make another, as with "
            f"`head -c {MIN_KEY} /dev/urandom`"
        )
        raise UsageError(msg)
    return data


def read_private(path: Path, cap: int, what: str) -> bytes:
    """Return the bytes of a file that nobody but its owner may read, one more than `cap` at most.

    Args:
        path: The file itself, no link.
        cap: Bytes.
        what: How messages name it.

    Raises:
        UsageError: it is a link, no plain file, or open to group or world.
        OSError: it cannot be read.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as stream:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            msg = f"{what}: it is no plain file; expected one; name the file itself"
            raise UsageError(msg)
        if found.st_mode & GROUP_OR_WORLD:
            mode = stat.S_IMODE(found.st_mode)
            msg = f"{what}: the file has mode {mode:04o}; expected its owner alone to have access; `chmod 600` it"
            raise UsageError(msg)
        return stream.read(cap + 1)


def folder() -> Path | None:
    """Return the folder of restricted files with every link followed, None where the environment names none.

    Raises:
        UsageError: what it names cannot be that folder.
    """
    named = os.environ.get(FOLDER, "")
    if not named:
        return None
    path, wanted = Path(named), "expected the absolute path of a folder that only its owner can write into"
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        mode = 0
    if not path.is_absolute() or not stat.S_ISDIR(mode):
        msg = f"{FOLDER}: there is no such folder; {wanted}; mend the variable"
        raise UsageError(msg)
    if mode & OTHERS_WRITE:
        msg = f"{FOLDER}: others can write into the folder (mode {stat.S_IMODE(mode):04o}); {wanted}; `chmod 700` it"
        raise UsageError(msg)
    return path.resolve()


# --- tags


def seal(data: bytes) -> str:
    """Return the tag of a whole file: plain HMAC-SHA-256, as any other tool makes it.

    Raises:
        UsageError: there is no key.
    """
    secret = key()
    if secret is None:
        msg = f"{KEY} is not set; expected the path of the key file; set it, as docs/restricted.md says"
        raise UsageError(msg)
    return f"hmac-sha256:{hmac.new(secret, data, hashlib.sha256).hexdigest()}"


def tag(text: str) -> str:
    """Return the keyed tag of a text, `withheld` where there is no usable key. Never raises."""
    found = _keyed("text", text)
    return f"hmac-sha256:{found}" if found else WITHHELD


def tag_of_id(name: str, place: int) -> str:
    """Return what stands for the id of an item: an id can be a question. Without a key, its place."""
    found = _keyed("id", name)
    return f"hmac-{found[:32]}" if found else f"withheld-{place:04}"


def hidden_id(name: str) -> str | None:
    """Return the tag of an id that is none yet, None where there is no key. A tag stays as it is."""
    if TAGGED.fullmatch(name):
        return name
    found = _keyed("id", name)
    return f"hmac-{found[:32]}" if found else None


def _keyed(kind: str, text: str) -> str:
    try:
        secret = key()
    except UsageError:
        # A key that was there and is gone must not become a plain digest.
        return ""
    if secret is None:
        return ""
    # Another message than any file's: NUL is refused in files.
    message = f"{kind}\0{text}".encode("utf-8", "surrogatepass")
    return hmac.new(secret, message, hashlib.sha256).hexdigest()


# --- what may be said


def placeholder(text: str) -> str:
    """Return what stands for `text` in a message."""
    found = tag(text)
    return f"[{WITHHELD}]" if found == WITHHELD else f"[{WITHHELD} {found}]"


def withhold(text: str) -> str:
    """Return `text` with every quotation replaced by its tag; error messages quote prompts and answers."""
    return QUOTED.sub(lambda match: placeholder(match.group()), text)


def withhold_foreign(text: str) -> str:
    """Return `text` without quotations, and without what any other code's exception had to say."""
    return withhold(FOREIGN.sub(lambda match: f"{match.group(1)}: {placeholder(match.group(2))}", text))


def account(error: BaseException) -> str:
    """Return all that may be said of an exception: the name of its type, and the tag of its message."""
    try:
        said = str(error)
    except Exception:  # noqa: BLE001 - an exception whose own words fail has nothing to say
        said = ""
    return f"{type(error).__name__}: {placeholder(said)}"


def told(error: BaseException, hazard: str) -> str:
    """Return what a cause may say of an exception in a suite of this hazard: everything, or its `account`."""
    return account(error) if hazard == HAZARD else f"{type(error).__name__}: {error}"


def crash(error: BaseException) -> str:
    """Return what may be said of a crash: `account`, and the places it came through, without source or values."""
    frames = traceback.extract_tb(error.__traceback__)
    places = [f"  {Path(frame.filename).name}:{frame.lineno} in {frame.name}" for frame in frames]
    return "\n".join([f"{account(error)} (this process has read restricted text)", *places])


def trace(error: BaseException) -> str:
    """Return the traceback of a crash; `crash` where this process has read restricted text."""
    return crash(error) if touched() else "".join(traceback.format_exception(error))


class Texts:
    """Restricted texts, to find out whether a message quotes them."""

    def __init__(self, texts: Iterable[str]) -> None:
        """Take the texts; those of fewer than `SHORTEST` characters are passed over."""
        folded = {_folded(text) for text in texts}
        self._long = "\0".join(sorted(text for text in folded if len(text) >= FRAGMENT))
        short = sorted(re.escape(text) for text in folded if SHORTEST <= len(text) < FRAGMENT)
        self._short = re.compile(rf"(?<!\w)(?:{'|'.join(short)})(?!\w)") if short else None

    def quoted_in(self, message: str) -> bool:
        """Tell whether `message` holds `FRAGMENT` characters in a row of a text, or the whole of a shorter one."""
        said = _folded(message)
        if self._short is not None and self._short.search(said):
            return True
        starts = range(max(0, len(said) - FRAGMENT + 1))
        return any(said[start : start + FRAGMENT] in self._long for start in starts)

    def clean(self, message: str) -> str:
        """Return `message` without quotations; as a whole withheld where it holds a text all the same."""
        kept = withhold_foreign(message)
        return placeholder(message) if self.quoted_in(kept) else kept


def _folded(text: str) -> str:
    return _ESCAPE.sub(" ", text).replace("\\", "").casefold()


# --- while restricted text is at work


@contextlib.contextmanager
def hushed() -> Generator[None]:
    """Keep what code prints, logs or warns from getting out while it handles restricted text.

    Engines and graders are other people's code, and a debug log that holds the prompt is nothing unusual. What a
    program in C writes to the file descriptor itself is not kept back.
    """
    level = logging.root.manager.disable
    logging.disable(max(level, ABOVE_ALL))
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    except KeyboardInterrupt:
        # The interrupt goes on, the frames that hold the text do not: pytest shows their arguments on demand.
        raise KeyboardInterrupt from None
    finally:
        logging.disable(level)
