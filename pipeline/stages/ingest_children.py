"""The run's side of ingest: child processes that work through files, restarted past those that kill them."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.child import run_child
from pipeline.errors import NativeCrashError
from pipeline.stages.ingest_items import WAITING, Item, Record, read_records

START_S = 120.0  # for the imports of a child on a busy machine


@dataclass(frozen=True, kw_only=True)
class Crew:
    """How children work.

    Attributes:
        target: The function that they run, "module:function".
        folder: Where records and logs lie.
        timeout_s: Limit for one file, of processor time.
        memory_mib: What a child may grow by.
        children: How many work at once.
    """

    target: str
    folder: Path
    timeout_s: float
    memory_mib: int
    children: int

    @property
    def name(self) -> str:
        """The function's name, in those of files."""
        return self.target.rpartition(":")[2]

    def work(self, items: list[Item], progress: Callable[[float, str], None]) -> dict[int, Record]:
        """The record of every item, by its index; `refused` says why there is no more in it.

        Items that an interrupted run has records of are not worked on again.

        Raises:
            ReconError: When a child cannot start, or fails for another reason than an item.
        """
        known = self._known()
        left = [item for item in items if item["index"] not in known]
        state = _Progress(len(items), len(items) - len(left), progress)
        shares = [share for k in range(self.children) if (share := left[k :: self.children])]
        workers = [_Worker(self, number, share, state) for number, share in enumerate(shares)]
        for worker in workers[1:]:
            worker.start()
        try:
            if workers:
                workers[0].work_off()
            for worker in workers[1:]:
                worker.join()
        finally:
            state.stopped.set()  # the others end at their next file
        for worker in workers:
            if worker.failure is not None:
                raise worker.failure
        known = self._known()
        return {item["index"]: known[item["index"]] for item in items if item["index"] in known} | {
            index: record for worker in workers for index, record in worker.casualties.items()
        }

    def records_file(self, number: int) -> Path:
        """Where child `number` writes its records."""
        return self.folder / f"{self.name}.{number}.jsonl"

    def _known(self) -> dict[int, Record]:
        files = sorted(self.folder.glob(f"{self.name}.*.jsonl"))
        return {r["index"]: r for file in files for r in read_records(file) if "index" in r}


class _Progress:
    """Progress of several children together."""

    def __init__(self, total: int, done: int, report: Callable[[float, str], None]) -> None:
        self.stopped = threading.Event()
        self._lock = threading.Lock()
        self._total, self._done, self._report = total, done, report

    def step(self, note: str) -> None:
        if self.stopped.is_set():
            raise InterruptedError  # ends the child
        with self._lock:
            self._report(min(self._done / self._total, 1.0), note)
            self._done += 1


class _Worker(threading.Thread):
    """One child after another, until its share is done; a daemon, as an interrupted run does not wait for it."""

    def __init__(self, crew: Crew, number: int, share: list[Item], state: _Progress) -> None:
        super().__init__(daemon=True)
        self.casualties: dict[int, Record] = {}
        self.failure: Exception | None = None
        self._crew, self._number, self._share, self._state = crew, number, share, state

    def run(self) -> None:
        try:
            self.work_off()
        except InterruptedError:
            return
        except Exception as error:  # noqa: BLE001  # raised again by the thread that waits
            self.failure = error

    def work_off(self) -> None:
        left = self._share
        while left:
            before = self._begun()
            try:
                self._run_child(left)
                return
            except NativeCrashError as crash:
                begun = self._begun()
                if len(begun) == len(before) or begun[-1] not in {item["index"] for item in left}:
                    raise  # it died before the first file: no file's fault
                if begun[-1] not in {r.get("index") for r in read_records(self._records)}:
                    self.casualties[begun[-1]] = {"refused": self._cause(crash)}
                at = next(i for i, item in enumerate(left) if item["index"] == begun[-1])
                left = left[at + 1 :]

    @property
    def _records(self) -> Path:
        return self._crew.records_file(self._number)

    def _begun(self) -> list[int]:
        return [r["begun"] for r in read_records(self._records) if "begun" in r]

    def _run_child(self, items: list[Item]) -> None:
        crew = self._crew
        arguments: dict[str, Any] = {
            "items": items,
            "records": str(self._records),
            "timeout_s": crew.timeout_s,
            "memory_mib": crew.memory_mib,
        }
        run_child(
            crew.target,
            arguments,
            timeout_s=START_S + WAITING * crew.timeout_s * len(items),
            log=crew.folder / f"{crew.name}.{self._number}.log",
            progress=lambda fraction, note: self._state.step(note),
        )

    def _cause(self, crash: NativeCrashError) -> str:
        if crash.died_of == "SIGPROF":
            return f"takes longer than {self._crew.timeout_s:g} s to decode"
        if crash.died_of == "SIGALRM":
            return f"keeps its decoder waiting for more than {WAITING * self._crew.timeout_s:g} s"
        killed = ", as the system does when memory runs out" if crash.died_of == "SIGKILL" else ""
        return f"kills its decoder ({crash.died_of}{killed})"
