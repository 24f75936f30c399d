"""Functions that a test of ingest has called in child processes: what they do with an item, its `do` says."""

import os
import sys
import time
from pathlib import Path

from pipeline.errors import InputError
from pipeline.stages.ingest_items import work_through
from pipeline.stages.ingest_survey import survey


def obey(arguments, progress):
    return work_through(arguments, progress, _obey)


def dead_on_arrival(arguments, progress):
    os.abort()


def survey_and_measure(arguments, progress):
    """The survey, and beside it the child's memory in KB and whether torch was imported."""
    result = survey(arguments, progress)
    folder = Path(arguments["records"]).parent
    status = Path("/proc/self/status").read_text()  # `ru_maxrss` would tell of the process that was forked
    (folder / "rss").write_text(status.partition("VmHWM:")[2].split()[0])
    (folder / "modules").write_text(str("torch" in sys.modules))
    return result


def _obey(item):
    do = item["do"]
    if do == "crash":
        os.abort()
    if do == "be killed":
        os.kill(os.getpid(), 9)
    if do == "spin":
        while True:
            pass
    if do == "wait":
        time.sleep(1000)
    if do == "hog":
        return {"size": len(bytearray(item["mib"] * 2**20))}
    if do == "refuse":
        raise InputError("is a cat", path=item["name"], remedy="photograph the object")
    return {"did": do}
