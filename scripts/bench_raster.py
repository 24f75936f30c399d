"""Times the embedded rasteriser against other differentiable mesh rasterisers that a machine without a GPU can install.

    .venv/bin/python scripts/bench_raster.py             # all peers that are there; installs DEODR into .venv/peers
    .venv/bin/python scripts/bench_raster.py --rounds 25 --triangles 10000 --peers deodr

One step is: rasterise, interpolate three attributes and antialias a closed surface that covers half of 512 x 512
pixels, compare with a picture, and take the gradient back to the vertices. All contenders take turns in one process,
so that a drifting clock hits them alike; wall and CPU time are medians, the ratio is the median of those pair by pair.
Faces seen from behind are left out, as DEODR must for its gradients. Where a peer has no antialiasing (Mitsuba's
`direct`, PyTorch3D) it does less than ours.
"""

import argparse
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import pipeline  # noqa: F401, I001  # sets the threads' waiting policy before torch is imported
import torch
from raster_peers.deodr import deodr_step
from raster_peers.mitsuba import find_llvm, mitsuba_step
from raster_peers.pytorch3d import pytorch3d_step
from raster_peers.recon_cpu import recon_step
from raster_peers.scene import Scene, make_scene

DEODR = "deodr==0.2.3"
PEERS = ("deodr", "mitsuba", "pytorch3d")


@dataclass
class Contender:
    """A step, the threads it may use, and what it took.

    Attributes:
        name: For the table.
        step: Forward and backward; returns the gradient of the vertices.
        threads: Of torch and of our kernels.
        against: The contender of ours that is divided by this one; none for our own.
        rounds: Fewer for what takes very long.
    """

    name: str
    step: Callable[[], torch.Tensor]
    threads: int
    against: str | None = None
    rounds: int = 1_000
    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)

    def run(self) -> None:
        """Take one step and note its time."""
        torch.set_num_threads(self.threads)
        wall, cpu = time.perf_counter(), time.process_time()
        self.step()
        self.wall_s.append(time.perf_counter() - wall)
        self.cpu_s.append(time.process_time() - cpu)


def main() -> None:
    """Run the benchmark that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--triangles", type=int, nargs="+", default=[10_000, 50_000, 200_000])
    parser.add_argument("--size", type=int, default=512, help="side of the picture in pixels")
    parser.add_argument("--rounds", type=int, default=15, help="steps of each contender")
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=PEERS)
    parser.add_argument("--threads", type=int, default=2, help="of our second row and of Mitsuba")
    arguments = parser.parse_args()
    peers = [peer for peer in arguments.peers if available(peer)]
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}")
    for count in arguments.triangles:
        scene = make_scene(count, arguments.size)
        contenders = line_up(scene, peers, arguments.threads)
        for contender in contenders:
            contender.step()  # compile, load, allocate
        for turn in range(arguments.rounds):
            for contender in contenders:
                if turn < contender.rounds:
                    contender.run()
        print(table(scene, contenders))
    print(f"peak memory of this process {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


def available(peer: str) -> bool:
    """Whether a peer can be used here; says why not. DEODR is installed when it is missing."""
    try:
        if peer == "deodr":
            install_deodr()
        elif peer == "mitsuba":
            import mitsuba  # noqa: F401

            if not find_llvm():
                raise ImportError("it needs LLVM 19 or later")
        else:
            from pytorch3d import _C  # noqa: F401
    except (ImportError, subprocess.CalledProcessError) as error:
        print(f"{peer} is left out: {error}")
        return False
    return True


def install_deodr() -> None:
    """Install DEODR into a folder of its own, where it disturbs nothing."""
    folder = Path(__file__).resolve().parents[1] / ".venv" / "peers"
    sys.path.append(str(folder))
    if not (folder / "deodr").is_dir():
        command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(folder), DEODR]
        subprocess.run(command, check=True)
    import deodr.differentiable_renderer  # noqa: F401


def line_up(scene: Scene, peers: list[str], threads: int) -> list[Contender]:
    """Everyone who takes turns."""
    one, more = "recon, 1 thread", f"recon, {threads} threads"
    contenders = [
        Contender(one, recon_step(scene), 1),
        Contender(more, recon_step(scene), threads),
        Contender("recon, 1 thread, back faces drawn", recon_step(scene, closed=False), 1, against=one),
        Contender(f"recon, {threads} threads, back faces drawn", recon_step(scene, closed=False), threads, against=one),
    ]
    if "deodr" in peers:
        contenders.append(Contender("DEODR", deodr_step(scene), 1, against=one))
        contenders.append(Contender("DEODR, kernels alone", deodr_step(scene, kernels_alone=True), 1, against=one))
    if "mitsuba" in peers:
        name = f"Mitsuba direct 1 spp, {threads} threads"
        contenders.append(Contender(name, mitsuba_step(scene, threads=threads), threads, against=more, rounds=5))
    if "pytorch3d" in peers and len(scene.faces) < 20_000:
        contenders.append(Contender("PyTorch3D hard, 1 thread", pytorch3d_step(scene), 1, against=one, rounds=1))
    return contenders


def table(scene: Scene, contenders: list[Contender]) -> str:
    """One Markdown table: medians, and how long ours takes in terms of each peer."""
    ours = [c for c in contenders if c.against is None]
    lines = [
        f"\n{len(scene.faces)} triangles, {scene.size_px} x {scene.size_px} px, forward + backward",
        "| | wall ms | CPU ms | " + " | ".join(f"{c.name} / this" for c in ours) + " |",
        "| --- | --- | --- | " + " | ".join("---" for _ in ours) + " |",
    ]
    for contender in contenders:
        wall, cpu = (1000 * statistics.median(x) for x in (contender.wall_s, contender.cpu_s))
        ratios = [statistics.median(a / b for a, b in zip(c.wall_s, contender.wall_s, strict=False)) for c in ours]
        shown = " | ".join(f"{r:.2f}" if r > 0.1 else f"1/{1 / r:.0f}" for r in ratios)
        lines.append(f"| {contender.name} | {wall:.1f} | {cpu:.1f} | {shown} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
