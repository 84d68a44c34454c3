"""Heavy work in a child process of its own: bounded memory and time, low priority, ended when the caller is cancelled.

`run` starts `python -m orchestration.heavy`, hands it a function by name with its arguments, and gives back what the
function returns or raises. The child dies with its parent, also when the parent is killed.
"""

import asyncio
import ctypes
import os
import pickle
import resource
import signal
import struct
import sys
import traceback
from collections.abc import Callable
from functools import partial
from importlib import import_module
from types import FrameType, TracebackType
from typing import IO, Any, NoReturn, ParamSpec, TypeVar

import anyio
import structlog

from fleet.errors import Invalid, Rejected, Unavailable

log = structlog.get_logger(__name__)
P = ParamSpec("P")
R = TypeVar("R")

GRACE_S = 2.0
NICENESS = 5
PR_SET_PDEATHSIG = 1  # linux/prctl.h
_news: IO[bytes] | None = None


async def run(
    function: Callable[..., R],
    *arguments: object,
    memory_max_bytes: int,
    timeout_s: float,
    on_news: Callable[[Any], None] | None = None,
) -> R:
    """What `function(*arguments)` returns, computed in a child process; what it raises is raised here.

    The function is a module's own (found by name), arguments and result can be pickled. `on_news` gets every value that
    the function hands to `tell` while it works.

    Raises:
        Invalid: the function cannot be found by name in a new process.
        Rejected: it needed more memory than `memory_max_bytes` of address space.
        Unavailable: it took longer than `timeout_s` seconds, or something killed it.
    """
    job = pickle.dumps((*_name(function), arguments, memory_max_bytes))
    reading, writing = os.pipe()
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "orchestration.heavy", str(writing), str(os.getpid())),
        stdin=asyncio.subprocess.PIPE,
        pass_fds=(writing,),
        start_new_session=True,
    )
    os.close(writing)
    try:
        async with asyncio.timeout(timeout_s):
            kind, value = await _converse(child, job, reading, on_news)
            await child.wait()
    except TimeoutError:
        raise Unavailable(
            f"{function.__name__} took longer than {timeout_s:g} s and was ended; give it less at once, or more time."
        ) from None
    finally:
        await _end(child)
    result: R = _outcome(function.__name__, kind, value, child.returncode, memory_max_bytes)
    return result


def tell(news: object) -> None:
    """Hand a value to the `on_news` of the caller; outside a heavy child nobody listens and nothing happens."""
    if _news is not None:
        _send(_news, "news", news)


def _name(function: Callable[..., object]) -> tuple[str, str]:
    module, name = function.__module__, function.__qualname__
    if module == "__main__" or "<" in name:
        raise Invalid(f"{module}.{name} cannot be found by name in a new process; use a function of a module.")
    return module, name


async def _converse(
    child: asyncio.subprocess.Process, job: bytes, reading: int, on_news: Callable[[Any], None] | None
) -> tuple[str, Any]:
    reader = asyncio.StreamReader()
    pipe = os.fdopen(reading, "rb")
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), pipe
    )
    try:
        await _hand_over(child, job)
        while True:
            kind, value = await _receive(reader)
            if kind != "news":
                return kind, value
            if on_news is not None:
                on_news(value)
    finally:
        transport.close()


async def _hand_over(child: asyncio.subprocess.Process, job: bytes) -> None:
    assert child.stdin is not None
    try:
        child.stdin.write(job)
        await child.stdin.drain()
        child.stdin.close()
    except ConnectionError:
        log.debug("a heavy child ended before it read its job", pid=child.pid)


async def _receive(reader: asyncio.StreamReader) -> tuple[str, Any]:
    try:
        (size,) = struct.unpack("!I", await reader.readexactly(4))
        kind, value = pickle.loads(await reader.readexactly(size))  # noqa: S301  our own child wrote it
    except asyncio.IncompleteReadError:
        return "ended", None
    return kind, value


def _outcome(name: str, kind: str, value: Any, code: int | None, memory_max_bytes: int) -> Any:
    if kind == "result":
        return pickle.loads(value)  # noqa: S301  our own child wrote it
    if kind == "error":
        raise _error(name, *value, memory_max_bytes=memory_max_bytes)
    # Native code that cannot allocate ends by abort (C++), so say what the limit was.
    raise Unavailable(
        f"{name} was ended from outside or by native code ({_how(code)}) with a limit of {memory_max_bytes} bytes of"
        " memory; see the worker's log, raise YARDMASTER_HEAVY_MEMORY_MAX_BYTES if that was too little.",
        exit_code=code,
    )


def _how(code: int | None) -> str:
    return f"signal {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit code {code}"


def _error(name: str, pickled: bytes | None, text: str, trace: str, *, memory_max_bytes: int) -> BaseException:
    if text.startswith("MemoryError"):
        return Rejected(
            f"{name} needed more than its {memory_max_bytes} bytes of memory; raise"
            " YARDMASTER_HEAVY_MEMORY_MAX_BYTES or give it less at once."
        )
    error: BaseException = pickle.loads(pickled) if pickled else RuntimeError(text)  # noqa: S301  our own child wrote it
    error.add_note(f"In the heavy child:\n{trace}")
    return error


async def _end(child: asyncio.subprocess.Process) -> None:
    """End the child and what it started: TERM, then KILL; waits also when the caller is cancelled again."""
    with anyio.CancelScope(shield=True):
        for sent in (signal.SIGTERM, signal.SIGKILL):
            if child.returncode is not None:
                return
            _signal_group(child.pid, sent)
            with anyio.move_on_after(GRACE_S):
                await child.wait()


def _signal_group(pid: int, sent: signal.Signals) -> None:
    try:
        os.killpg(pid, sent)
    except ProcessLookupError:
        log.debug("a heavy child had already ended", pid=pid)


def main() -> None:
    """The child's side: read the job, do it, send what came of it."""
    global _news
    _news = os.fdopen(int(sys.argv[1]), "wb")
    _die_with(int(sys.argv[2]))
    os.nice(NICENESS)
    if sys.platform == "linux":  # read when Arrow is imported, never by us: what writes Parquet asks for no other pool
        os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "jemalloc")  # noqa: TID251  see above
    signal.signal(signal.SIGTERM, _leave)
    # The hook, not an except: whatever ends this process is told to the parent.
    sys.excepthook = partial(_send_error, _news)
    module, name, arguments, memory_max_bytes = pickle.load(sys.stdin.buffer)  # noqa: S301  our own parent wrote it
    resource.setrlimit(resource.RLIMIT_AS, (memory_max_bytes, memory_max_bytes))
    function: Any = import_module(module)
    for part in name.split("."):
        function = getattr(function, part)
    _send(_news, "result", pickle.dumps(function(*arguments)))


def _die_with(parent: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the line above
        sys.exit(1)


def _leave(_number: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(128 + signal.SIGTERM)


def _send(out: IO[bytes], kind: str, value: object) -> None:
    frame = pickle.dumps((kind, value))
    out.write(struct.pack("!I", len(frame)) + frame)
    out.flush()


def _send_error(out: IO[bytes], kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    text = "".join(traceback.format_exception_only(kind, error)).strip()
    if issubclass(kind, MemoryError):  # Arrow and NumPy have their own
        text = f"MemoryError: {text}"
    _send(out, "error", (_pickled(error), text, "".join(traceback.format_exception(kind, error, trace))))


def _pickled(error: BaseException) -> bytes | None:
    """The error as bytes that surely load again, else None (an exception class with a constructor of its own)."""
    try:
        pickled = pickle.dumps(error)
        pickle.loads(pickled)  # noqa: S301  our own bytes
    except (pickle.PicklingError, TypeError, AttributeError, ValueError):
        return None
    return pickled


if __name__ == "__main__":
    # Under its own name, so that the function's `heavy.tell` is this module's.
    import_module("orchestration.heavy").main()
