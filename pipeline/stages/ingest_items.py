"""The child's side of ingest: work through files one by one, and leave a record of each.

A file that crashes the child, hangs it or needs too much memory costs only itself: what the child has begun and not
recorded when it dies is the culprit. Kept free of heavy imports, as the survey of headers must start fast.
"""

import errno
import json
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from pipeline.child import Progress
from pipeline.errors import InputError, ResourceError

WAITING = 10  # times the limit of processor time may pass

Item = dict[str, Any]
Record = dict[str, Any]


def work_through(arguments: dict[str, Any], progress: Progress, handle: Callable[[Item], Record]) -> dict[str, Any]:
    """Call `handle` on each of `arguments["items"]` and append what it returns, or why it refused, to the records.

    Args:
        arguments: `items` (each with `index` and `name`), `records` (a file of JSON lines), `timeout_s` of processor
            time for each item, and `memory_mib` that the process may grow by.
        progress: Takes the share done and the item's name.
        handle: Raises `InputError` to refuse an item.

    Raises:
        ResourceError: When the disk is full.
    """
    items: list[Item] = arguments["items"]
    _limit_memory(arguments["memory_mib"])
    with Path(arguments["records"]).open("a", encoding="ascii") as records, _full_disk_told(arguments["records"]):
        records.write("\n")  # ends what a crash may have cut short
        for done, item in enumerate(items):
            progress(done / len(items), item["name"])
            _write(records, {"begun": item["index"]})
            _set_limits(arguments["timeout_s"])
            try:
                record = handle(item)
            except InputError as error:
                record = refusal(error)
            except MemoryError:
                record = {"refused": f"needs more than {arguments['memory_mib']} MiB of memory to decode"}
            finally:
                _set_limits(0.0)
            _write(records, record | {"index": item["index"]})
    return {}


def _set_limits(timeout_s: float) -> None:
    """Have the process end past so much processor time, or a multiple of it if it only waits; 0 sets no limit.

    The default action of both signals ends it, whatever native code it is lost in. Processor time is what counts on
    a machine that is busy with other things.
    """
    signal.setitimer(signal.ITIMER_PROF, timeout_s)
    signal.setitimer(signal.ITIMER_REAL, WAITING * timeout_s)


def refusal(error: InputError) -> Record:
    """The record of a file that is refused."""
    return {"refused": error.what + (f" ({error.remedy})" if error.remedy else "")}


def read_records(path: Path) -> Iterator[Record]:
    """The whole lines of a file of records, in order; a line that a crash cut short is dropped."""
    if not path.exists():
        return
    for line in path.read_text(encoding="ascii", errors="replace").splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            yield record


@contextmanager
def _full_disk_told(path: str) -> Iterator[None]:
    """Keep a full disk from being blamed on the photo."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ResourceError(f"cannot be written: {error.strerror}", path=path, remedy="free some space") from error
        raise


def _write(records: TextIO, record: Record) -> None:
    records.write(json.dumps(record) + "\n")
    records.flush()


def _limit_memory(growth_mib: int) -> None:
    """Let the address space grow by so much and no more; past that, allocations fail."""
    if sys.platform != "linux":
        return
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + growth_mib * 2**20
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    if hard == resource.RLIM_INFINITY or limit < hard:
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
