"""`yardmaster bags convert` without what reads command lines and checks them: that takes as long as a short recording.

The plain way to ask is understood here and does the same as through Typer, which has all the rest: help, mistakes.
"""

import gc
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

from deployments.cli.bags_progress import shown
from deployments.cli.refusals import told
from deployments.cli.tables import show, show_json

EXIT = {"complete": 0, "repaired": 0, "partial": 3, "refused": 2}
WITH_VALUE = {"--out", "--robot", "--definitions"}


class Conversion(NamedTuple):
    """What is to be converted, and how that is to be told."""

    source: Path
    out: Path
    robot: str | None
    definitions: Path | None
    as_json: bool


def plainly_asked(words: Sequence[str]) -> Conversion | None:
    """The conversion that a command line asks for; None where it asks for anything else, or not in the plain way."""
    options = _options(words[2:]) if list(words[:2]) == ["bags", "convert"] else None
    if options is None or not {"source", "--out"} <= options.keys():
        return None
    folder = options.get("--definitions")
    definitions = None if folder is None else Path(folder)
    if not os.access(options["source"], os.R_OK) or not (definitions is None or definitions.is_dir()):
        return None
    return Conversion(
        Path(options["source"]), Path(options["--out"]), options.get("--robot"), definitions, "--json" in options
    )


def _options(words: Sequence[str]) -> dict[str, str] | None:
    """Each option with its value, `source` with that which stands alone; None where one is unknown, empty or twice."""
    found, rest = dict[str, str](), iter(words)
    for word in rest:
        name, is_given, value = word.partition("=")
        if word == "--json":
            value = "yes"
        elif name in WITH_VALUE:
            value = value if is_given else next(rest, "")
        elif word.startswith("-"):
            return None
        else:
            name, value = "source", word
        if name in found or not value or value.startswith("-"):
            return None
        found[name] = value
    return found


def run_plainly(asked: Conversion) -> NoReturn:
    """Convert and end the process, as Typer does; also when somebody interrupts it or reads its answer no further.

    Every file is closed and on the disk by then: to take modules and pools of memory apart is left to the kernel.
    """
    with told():
        try:
            _import_for_good()
            code = converted(asked)
            sys.stdout.flush()
            sys.stderr.flush()
        except KeyboardInterrupt:
            raise SystemExit(130) from None
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise SystemExit(1) from None
        os._exit(code)


def _import_for_good() -> None:
    """Import what a conversion needs so that no collection of garbage looks at it: in a process of its own, it stays."""
    gc.disable()
    _tell_libraries()
    import ingestion.bags  # noqa: F401  imported here to be frozen

    gc.freeze()
    gc.enable()


def _tell_libraries() -> None:
    """What NumPy and Arrow read when they are imported, and we never do; what somebody gave them stays.

    A conversion has nothing for threads of NumPy's algebra, and to start them takes longer than a small one. What writes
    Parquet allocates as Arrow was told at its beginning, whatever pool is preferred later.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # noqa: TID251  see above
    if sys.platform == "linux":  # where Arrow is built with it
        os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "jemalloc")  # noqa: TID251  see above


def converted(asked: Conversion) -> int:
    """Convert, tell what came of it, and give the exit code; 0: all of it, 3: a part, 2: nothing could be read."""
    _tell_libraries()
    from ingestion.bags import convert
    from ingestion.bags.allocation import prefer_jemalloc
    from ingestion.bags.conversion import explanation

    prefer_jemalloc()
    with shown(is_wanted=not asked.as_json) as listener:
        manifest = convert(asked.source, asked.out, robot=asked.robot, definitions=asked.definitions, listener=listener)
    status = str(manifest.status)
    if asked.as_json:
        show_json(manifest.content() | {"manifest": str(asked.out / "manifests" / f"{manifest.sha256}.json")})
    else:
        if told := explanation(manifest):
            sys.stderr.write(f"{told}\n")
        rows = [(topic.name, topic.type, topic.rows, topic.rejected) for topic in manifest.topics]
        show(
            f"{asked.source.name}: {status}, {manifest.messages} messages", ("topic", "type", "rows", "rejected"), rows
        )
    return EXIT[status]
