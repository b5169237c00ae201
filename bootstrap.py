"""Makes the environment in .venv: `python3 bootstrap.py`, or `make setup`. `make lock` pins anew.

Needs a python3 of 3.8 or later and a package index, and so imports only the standard library. Which index
that is, pip's and uv's own configuration say. The stamp in .venv is written last: an interrupted installation
is taken up again, and a call that finds nothing to do reads a few files and is done.
"""

import ast
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Optional, Tuple

ROOT = Path(__file__).resolve().parent
ENV = ROOT / ".venv"
PYTHON = ENV / "bin" / "python"
STAMP = ENV / "setup.json"
LOCK = ENV / "setup.lock"
OWN_UV = ENV / "uv"  # an environment for uv alone, where PATH has none
OWN_CACHE = ENV / "uv-cache"  # where the user's cache cannot be written
UV_PINS = "requirements/uv.txt"
UV_OLDEST = (0, 6)  # the oldest release this was tried with


class SetupError(Exception):
    """The environment cannot be made. The message is one line: why, and what to do."""


class Stack(NamedTuple):
    """Releases that work together, and the machine they need."""

    name: str
    pythons: Tuple[str, ...]  # the best first; the pins of each are a file of its own
    system: str
    glibc: Tuple[int, int]  # the oldest that every pinned package has a wheel for, or builds on


class Machine(NamedTuple):
    """What decides which stacks fit."""

    system: str
    glibc: Optional[Tuple[int, int]]  # None: another C library

    def __str__(self) -> str:
        return f"{self.system} with {'glibc %d.%d' % self.glibc if self.glibc else 'no glibc'}"


class Interpreter(NamedTuple):
    """A Python that was started and is fit for its stack."""

    path: str
    version: str
    found: str


STACKS = [  # the best first
    Stack("TFX 1.21 on TensorFlow 2.21", ("3.13", "3.12", "3.11"), "Linux x86_64", (2, 39)),
    Stack("TFX 1.16 on TensorFlow 2.16", ("3.10",), "Linux x86_64", (2, 28)),
]
# bz2, lzma, ctypes and ssl are missing from a Python that was built on a machine without their headers, and its own
# headers from a distribution's Python without the package python3-dev: pyfarmhash is built from source
PROBE = (
    "import bz2, ctypes, lzma, os, ssl, sys as s, sysconfig;"
    "os.stat(os.path.join(sysconfig.get_path('include'), 'Python.h'));"
    "print(s.implementation.name, '%d.%d.%d' % s.version_info[:3])"
)
MANAGED_PYTHON = ("python", "find", "--python-preference=only-managed", "--no-python-downloads")
# pip's setting: uv's variable. Not extra-index-url: uv takes a version from one index alone, and where that
# has it for another Python only, the version counts as missing. Every pin is on the main index.
UV_FOR_PIP = {
    "index-url": "UV_DEFAULT_INDEX",
    "find-links": "UV_FIND_LINKS",
    "no-index": "UV_NO_INDEX",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
}


def main(arguments: List[str]) -> int:
    """Runs `bootstrap.py` or `bootstrap.py lock [options of uv pip compile]` and returns the exit code."""
    try:
        if sys.version_info < (3, 8):
            raise SetupError("this python3 is older than 3.8; name a newer one: make setup PYTHON=python3.11")
        if not arguments:
            set_up()
        elif arguments[0] == "lock":
            pin(arguments[1:])
        else:
            raise SetupError(f"unknown argument {arguments[0]!r}; usage: bootstrap.py [lock [--upgrade]]")
    except SetupError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted; `make setup` goes on from here", file=sys.stderr)
        return 130
    return 0


def requirements(python: str) -> str:
    """The file of the pins for a Python such as `3.13` or `CPython 3.13.5`, from the root."""
    return "requirements/py%s%s.txt" % tuple(python.split()[-1].split(".")[:2])


def set_up() -> None:
    """Makes .venv, or finds it as it should be.

    Raises:
        SetupError: no stack fits this machine, or a step failed.
    """
    if _is_current():
        return
    machine = this_machine()
    stacks = fitting(machine)
    with _alone():
        if _is_current():  # made by the call that this one waited for
            return
        began = time.monotonic()
        if _stamp().get("root") != str(ROOT):  # unfinished; or moved, so that its scripts name another place
            _empty()
        STAMP.unlink() if STAMP.exists() else None
        uv = Uv()
        stack, python = choose(stacks, uv)
        print(f"Stack: {stack.name}, the newest that fits {machine}")
        print(f"Python: {python.version}, {python.path} ({python.found})", flush=True)
        install(python, uv)
        stamp = {"stack": stack.name, "python": python.version, "root": str(ROOT)}
        stamp["digest"] = _digest(python.version)
        STAMP.write_text(json.dumps(stamp), encoding="utf-8")
        print(f"Ready: {ENV.name} with {stack.name}, {python.version} ({time.monotonic() - began:.0f} s)")


def this_machine() -> Machine:
    """The machine that this runs on."""
    library, version = platform.libc_ver()
    numbers = re.match(r"(\d+)\.(\d+)", version) if library == "glibc" else None
    glibc = (int(numbers[1]), int(numbers[2])) if numbers else None
    return Machine(f"{platform.system()} {platform.machine()}", glibc)


def fitting(machine: Machine) -> List[Stack]:
    """The stacks that `machine` can run, best first.

    Raises:
        SetupError: there is none.
    """
    fit = [s for s in STACKS if s.system == machine.system and machine.glibc and machine.glibc >= s.glibc]
    if not fit:
        needs = "; ".join(f"{s.name} needs {Machine(s.system, s.glibc)} or later" for s in STACKS)
        raise SetupError(
            f"no stack fits this machine, {machine}: {needs}. Use a container or another machine"
        )
    return fit


def choose(stacks: List[Stack], uv: "Uv") -> Tuple[Stack, Interpreter]:
    """The first of `stacks` that has an interpreter here or that uv can download one for.

    Raises:
        SetupError: no interpreter was found or downloaded.
    """
    refused: List[str] = []
    for stack in stacks:
        for candidates, versions in ((_present, stack.pythons), (_downloaded, stack.pythons[:1])):
            for version in versions:
                for path, found in candidates(version, uv, refused):
                    answer = _read([path, "-I", "-c", PROBE])
                    if answer.ok and answer.text.startswith(f"cpython {version}."):
                        return stack, Interpreter(path, answer.text.replace("cpython", "CPython"), found)
                    refused.append(f"{path}: {answer.text}")
    wanted = " or ".join(f"CPython {version}" for stack in stacks for version in stack.pythons)
    raise SetupError(f"no {wanted} here: install it, then run `make setup` again. Tried {'; '.join(refused)}")


def _present(version: str, uv: "Uv", refused: List[str]) -> Iterator[Tuple[str, str]]:
    """Paths to try and where they were found; uv's own search would end at the first that does not start."""
    if PYTHON.exists():
        yield str(PYTHON), f"kept from the last {ENV.name}"
    for folder in os.get_exec_path():
        path = os.path.join(folder, f"python{version}")
        if os.access(path, os.X_OK):
            yield path, "on PATH"
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    for found in sorted(pyenv.glob(f"versions/{version}.*/bin/python{version}"), reverse=True):
        yield str(found), "in pyenv"
    managed = uv.read(*MANAGED_PYTHON, version)
    if managed.ok:
        yield managed.text, "installed by uv"


def _downloaded(version: str, uv: "Uv", refused: List[str]) -> Iterator[Tuple[str, str]]:
    print(f"No Python {version} here that can be used: asking uv to download one", flush=True)
    download = uv.read("python", "install", version)
    if download.ok:
        yield uv.read(*MANAGED_PYTHON, version).text, "downloaded by uv"
    else:
        refused.append(f"a download by uv: {download.text}")


def install(python: Interpreter, uv: "Uv") -> None:
    """Brings .venv to exactly the pinned packages and to this checkout, editable.

    Raises:
        SetupError: uv failed; its own words are on the terminal.
    """
    if python.path != str(PYTHON):
        _empty()
        uv.run("venv", "--quiet", "--allow-existing", "--prompt", "cetnet", "--python", python.path, str(ENV))
    into = ["--python", str(PYTHON)]
    # the same file pins what a source distribution is built with
    pinned = requirements(python.version)
    pins = ["--require-hashes", "--build-constraints", pinned, pinned]
    no_compiler = "; pyfarmhash is built from source and there is no C++ compiler: install g++"
    print(f"Installing {pinned}, about 3 GB on disk", flush=True)
    calm = [] if sys.stderr.isatty() else ["--quiet"]  # a log needs no progress bar and no 280 lines of names
    uv.run("pip", "sync", *calm, *into, *pins, hint="" if shutil.which("c++") else no_compiler)
    _drop_metadata()
    uv.run("pip", "install", "--quiet", *into, "--no-deps", "--no-build-isolation", "--editable", str(ROOT))


def pin(options: List[str]) -> None:
    """Writes the pinned requirements of every stack and of uv; `options` go to `uv pip compile`.

    Raises:
        SetupError: no resolution.
    """
    uv = Uv()
    common = ["--quiet", "--generate-hashes", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links"]
    common += ["--custom-compile-command", "make lock", *options]
    extras = ["--extra=pipeline", "--extra=kubeflow", "--extra=dev"]
    for stack in STACKS:
        for version in stack.pythons:
            target = [f"--python-version={version}", "--python-platform=x86_64-manylinux_%d_%d" % stack.glibc]
            into = ["--output-file", requirements(version)]
            uv.run("pip", "compile", "setup.py", *extras, *target, *common, *into)
    _drop_metadata()
    uv.run("pip", "compile", "-", "--universal", *common, "--output-file", UV_PINS, given="uv\n")


def _drop_metadata() -> None:
    """Removes what setup.py writes when it is asked for requirements: a Python started here would go by it for ever."""
    shutil.rmtree(ROOT / "cetnet.egg-info", ignore_errors=True)


class Answer(NamedTuple):
    """What a command said: its output, or one line of why it failed."""

    ok: bool
    text: str


class Uv:
    """uv with pip's settings: the one on PATH, else one of our own, pinned and checked by its hash."""

    def __init__(self) -> None:
        """Finds or installs uv.

        Raises:
            SetupError: this Python cannot make environments, or pip could not install uv.
        """
        own = str(OWN_UV / "bin" / "uv")
        usable = (path for path in (shutil.which("uv"), own) if path and _is_recent(path))
        self._path = next(usable, None) or _install_uv(own)
        self._environment = {**_settings_of_pip(), **os.environ}
        cache = self.read("cache", "dir")
        if not cache.ok or not _is_writable(Path(cache.text)):
            self._environment["UV_CACHE_DIR"] = str(OWN_CACHE)

    def read(self, *arguments: str) -> Answer:
        """Runs a uv command for its output."""
        return _read([self._path, *arguments], self._environment)

    def run(self, *arguments: str, given: Optional[str] = None, hint: str = "") -> None:
        """Runs a uv command on the terminal.

        Raises:
            SetupError: it failed.
        """
        done = subprocess.run(
            [self._path, *arguments], cwd=ROOT, env=self._environment, input=given, text=True
        )
        if done.returncode:
            raise SetupError(f"`uv {' '.join(arguments[:2])}` failed, see above{hint}")


def _install_uv(path: str) -> str:
    print(f"uv is not on PATH: installing it in {OWN_UV.relative_to(ROOT)}", flush=True)
    made = _read([sys.executable, "-m", "venv", "--clear", str(OWN_UV)])
    if not made.ok:
        cure = "install the package python3-venv (Debian, Ubuntu), or uv, then run `make setup` again"
        raise SetupError(f"{sys.executable} cannot make an environment, as without ensurepip: {cure}")
    pip = [str(OWN_UV / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    checked = ["--require-hashes", "--only-binary=:all:", "--requirement", str(ROOT / UV_PINS)]
    if subprocess.run([*pip, *checked]).returncode:
        raise SetupError(
            "pip could not install uv, see above; `pip config list` shows the package index it asks"
        )
    return path


def _is_recent(uv: str) -> bool:
    version = re.match(r"uv (\d+)\.(\d+)", _read([uv, "--version"]).text)
    return version is not None and (int(version[1]), int(version[2])) >= UV_OLDEST


def _settings_of_pip() -> Dict[str, str]:
    """pip's package index settings in uv's variables; none where uv has been told an index of its own."""
    settings = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "uv" / "uv.toml"
    told = ["UV_CONFIG_FILE", "UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_DEFAULT_INDEX"]
    if any(map(os.environ.get, told)) or settings.exists() or Path("/etc/uv/uv.toml").exists():
        return {}
    pythons = [str(OWN_UV / "bin" / "python"), sys.executable]  # Debian's python3 may have no pip
    listing = next((a.text for a in (_read([p, "-m", "pip", "config", "list"]) for p in pythons) if a.ok), "")
    variables: Dict[str, str] = {}
    for section in ("global", "install", ":env:"):  # the later ones win, as in pip
        for name, value in re.findall(rf"^{section}\.([\w-]+)=(.+)$", listing, flags=re.MULTILINE):
            if name in UV_FOR_PIP:
                separator = "," if name == "find-links" else " "
                variables[UV_FOR_PIP[name]] = separator.join(str(ast.literal_eval(value)).split())
    return variables


def _read(command: List[str], environment: Optional[Dict[str, str]] = None) -> Answer:
    try:
        done = subprocess.run(command, cwd=str(ROOT), env=environment, capture_output=True, text=True)
    except OSError as error:
        return Answer(False, str(error.strerror))
    if done.returncode == 0:
        return Answer(True, done.stdout.strip())
    lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
    return Answer(False, lines[-1 if lines[0].startswith("Traceback") else 0].replace("error: ", ""))


def _stamp() -> Dict[str, str]:
    try:
        return dict(json.loads(STAMP.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def _is_current() -> bool:
    """Whether the last installation was completed here and is of these requirements; says so if it is."""
    stamp = _stamp()
    if not stamp or not os.access(PYTHON, os.X_OK) or stamp["digest"] != _digest(stamp["python"]):
        return False
    print(f"{ENV.name} is up to date: {stamp['stack']}, {stamp['python']}")
    return True


def _digest(python: str) -> str:
    """Of all that the environment was made from, its place and its interpreter included."""
    digest = hashlib.sha256(f"{ROOT} {os.path.realpath(PYTHON)}".encode())
    for path in (Path(__file__), ROOT / "setup.py", ROOT / requirements(python)):
        digest.update(path.read_bytes() if path.exists() else b"")
    return digest.hexdigest()


def _empty() -> None:
    """Removes the packages and leaves uv, its cache and the lock."""
    for path in set(ENV.iterdir()) - {OWN_UV, OWN_CACHE, LOCK}:
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


@contextmanager
def _alone() -> Iterator[None]:
    """Lets one call work on .venv at a time; the lock ends with its process, however that ends."""
    import fcntl  # here, since Windows has none and is refused by name before this

    ENV.mkdir(exist_ok=True)
    with LOCK.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            print("Another `make setup` is at work here: waiting for it", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _is_writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=str(folder)).close()  # by trying: root passes every check of permissions
    except OSError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
