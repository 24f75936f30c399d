"""The house rules that a syntax tree can show: layers, flips, transfer curves, where libraries are imported, sizes.

A line that has to break a rule says so in a comment with its reason, e.g. `# not a frame flip: bits of a code`.
"""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "pipeline"

# Lowest first. A room imports from lower layers and from itself; a new module must be put here on purpose.
LAYERS = (
    ("pipeline",),  # the package's own __init__
    ("errors",),
    ("allocator",),
    ("frames", "color", "child", "config_checks", "progress"),
    ("config_capture", "config_world"),
    ("scene",),
    ("geometry", "raster"),
    ("shading", "formats"),
    ("losses", "metrics", "preview", "adam", "outlines"),
    ("config", "discovery"),
    ("runtime", "warmup", "memory"),
    ("workspace",),
    ("synthetic", "stages"),
    ("passes",),
    ("run", "render", "check"),
    ("bench",),
    ("cli",),
)

# Libraries that any module may import; every other one has its place.
EVERYWHERE = {"torch", "numpy", "jaxtyping"}
PLACES = {
    "OpenEXR": ("formats/*.py",),
    "PIL": ("formats/images*.py", "formats/exif.py", "formats/headers.py", "check/picture.py"),
    "cv2": (
        *("formats/images*.py", "formats/resample.py", "formats/video*.py"),
        *("stages/ingest*.py", "stages/masks*.py", "stages/world*.py"),
    ),
    "embreex": ("geometry/visibility.py", "shading/visibility.py"),
    "fast_simplification": ("geometry/decimate.py",),
    "hydra": ("config.py",),
    "numba": ("geometry/*.py", "raster/cpu/jit.py", "shading/*.py"),
    "onnxruntime": ("stages/masks_model.py",),
    "mitsuba": ("bench/tracer.py",),
    "nvdiffrast": ("raster/nvdiffrast_backend.py",),
    "omegaconf": ("config.py",),
    "pillow_heif": ("formats/images_heif.py",),
    "pycolmap": ("stages/sfm*.py",),
    "pygltflib": ("formats/gltf.py",),
    "rawpy": ("formats/images_raw.py",),
    "rich": ("progress.py",),
    "safetensors": ("formats/*.py",),
    "scipy": ("bench/*.py", "geometry/*.py", "shading/*.py", "stages/*.py"),
    "trimesh": ("geometry/visibility.py", "shading/visibility.py", "formats/*.py"),
    "uvunwrap": ("geometry/unwrap*.py", "stages/unwrap*.py"),
    "xatlas": ("geometry/unwrap*.py", "stages/unwrap*.py"),
    "yaml": ("config.py",),
}
DISTRIBUTIONS = {
    "PIL": "pillow",
    "cv2": "opencv-python-headless",
    "hydra": "hydra-core",
    "nvdiffrast": "diffrp-nvdiffrast",
    "yaml": "pyyaml",
}

CURVE_CONSTANTS = {12.92, 1.055, 0.0031308, 0.04045}
CURVE_EXPONENTS = {2.2, 2.4}
BANNED_NAMES = {"w2c", "c2w", "extrinsic", "viewmat", "campos", "mvp", "kd", "ks", "albedo", "v_pos"}

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
LONG_FILES: set[str] = set()  # tables only


@dataclass(frozen=True)
class Source:
    """One file of the package."""

    path: Path
    text: str

    @property
    def name(self) -> str:
        """The file's name inside the package, e.g. `scene/camera.py`."""
        return self.path.relative_to(PACKAGE).as_posix()

    @property
    def module(self) -> str:
        """The module's dotted name."""
        parts = self.path.relative_to(ROOT).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @property
    def tree(self) -> ast.Module:
        """The syntax tree."""
        return ast.parse(self.text)

    def excused(self, node: ast.AST, words: str) -> bool:
        """Whether a comment on the node's lines says `words` and a reason."""
        lines = self.text.splitlines()[node.lineno - 1 : node.end_lineno]
        return any(re.search(rf"# {words}: \w", line) for line in lines)


@cache
def sources() -> tuple[Source, ...]:
    return tuple(Source(p, p.read_text(encoding="utf-8")) for p in sorted(PACKAGE.rglob("*.py")))


def room(module: str) -> str:
    """The part of a module's name that the layers speak of: `scene` for `pipeline.scene.camera`."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else module


def layer(module: str) -> int | None:
    return next((i for i, rooms in enumerate(LAYERS) if room(module) in rooms), None)


def imports(source: Source) -> Iterator[tuple[str, int]]:
    """Modules that a file imports anywhere in it, lazily too, with their lines."""
    modules = {s.module for s in sources()}
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            for alias in node.names:
                full = f"{base}.{alias.name}"
                yield (full if full in modules else base), node.lineno


def offences(find: Callable[[Source], Iterator[tuple[int, str]]]) -> list[str]:
    return [f"pipeline/{s.name}:{line}: {what}" for s in sources() for line, what in find(s)]


def report(found: list[str]) -> None:
    assert not found, "\n" + "\n".join(found)


def test_every_module_has_a_layer() -> None:
    report([f"pipeline/{s.name}: put it into LAYERS" for s in sources() if layer(s.module) is None])


def test_modules_import_only_from_lower_layers() -> None:
    def upward(source: Source) -> Iterator[tuple[int, str]]:
        own = layer(source.module)
        for name, line in imports(source):
            if name.startswith("."):
                yield line, "relative import: write the module's whole name"
            elif name.split(".")[0] == "pipeline" and own is not None and room(name) != room(source.module):
                other = layer(name)
                if other is None or other >= own:
                    yield line, f"imports {name}, which is not lower than {room(source.module)}"

    report(offences(upward))


def test_stages_do_not_import_each_other() -> None:
    """A stage is a function of typed values; only helpers named after it (`masks_grabcut` of `masks`) are its own."""

    def word(module: str) -> str:
        return module.rpartition(".")[2].partition("_")[0]

    def neighbours(source: Source) -> Iterator[tuple[int, str]]:
        for name, line in imports(source):
            if name.startswith("pipeline.stages.") and source.module.startswith("pipeline.stages."):
                if word(name) != word(source.module):
                    yield line, f"imports its neighbour {name}"

    report(offences(neighbours))


def test_libraries_are_imported_in_their_place() -> None:
    def misplaced(source: Source) -> Iterator[tuple[int, str]]:
        for name, line in imports(source):
            library = name.split(".")[0]
            if library in sys.stdlib_module_names or library in EVERYWHERE or library in {"pipeline", ""}:
                continue
            places = PLACES.get(library, ())
            if not any(fnmatch(source.name, place) for place in places):
                yield line, f"imports {library}, whose place is {' or '.join(places) or 'nowhere: put it into PLACES'}"

    report(offences(misplaced))


def test_libraries_are_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    requirements = project["dependencies"] + [r for e in ("bench", "gpu", "heic", "masks", "raw") for r in extras[e]]
    declared = {re.split(r"[^\w.-]", r)[0].lower() for r in requirements}
    used = {name.split(".")[0] for s in sources() for name, _ in imports(s)} & (EVERYWHERE | set(PLACES))
    missing = {u for u in used if DISTRIBUTIONS.get(u, u).lower().replace("_", "-") not in declared}
    assert not missing, f"not in pyproject.toml: {missing}"


def flips(source: Source) -> Iterator[tuple[int, str]]:
    for node in ast.walk(source.tree):
        what = None
        if isinstance(node, ast.Slice) and node.step is not None and ast.unparse(node.step) == "-1":
            what = "reverses an axis"
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func).rpartition(".")[2]
            if called in {"flip", "fliplr", "flipud", "rot90"}:
                what = f"calls {called}"
            elif called in {"diag", "diagflat", "diag_embed"} and any(map(is_mirror, ast.walk(node))):
                what = "makes a matrix that flips axes"
        if what and source.name != "frames.py" and not source.excused(node, "not a frame flip"):
            yield node.lineno, f"{what}, which only frames.py does (or say `# not a frame flip: why`)"


def is_mirror(node: ast.AST) -> bool:
    """Whether a literal holds only +1 and -1, and some -1."""
    if not isinstance(node, ast.List | ast.Tuple):
        return False
    try:
        values = ast.literal_eval(node)
    except ValueError:
        return False
    return all(isinstance(v, int | float) and abs(v) == 1 for v in values) and any(v == -1 for v in values)


def curves(source: Source) -> Iterator[tuple[int, str]]:
    for node in ast.walk(source.tree):
        what = None
        if isinstance(node, ast.Constant) and node.value in CURVE_CONSTANTS:
            what = f"has the sRGB curve's {node.value}"
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow) and is_gamma(node.right):
            what = f"raises to the power {ast.unparse(node.right)}"
        elif isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in {"pow", "power"}:
            if node.args and is_gamma(node.args[-1]):
                what = f"raises to the power {ast.unparse(node.args[-1])}"
        if what and source.name != "color.py" and not source.excused(node, "not a transfer curve"):
            yield node.lineno, f"{what}: transfer curves are color.py's (or say `# not a transfer curve: why`)"


def is_gamma(node: ast.expr) -> bool:
    """Whether an exponent is 2.2, 2.4 or the inverse of one."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        return ast.unparse(node.left) in {"1", "1.0"} and is_gamma(node.right)
    return isinstance(node, ast.Constant) and node.value in CURVE_EXPONENTS


def test_only_frames_flips_an_axis() -> None:
    report(offences(flips))


def test_only_color_applies_a_transfer_curve() -> None:
    report(offences(curves))


@pytest.mark.parametrize(
    ("find", "code", "caught"),
    [
        (flips, "image[::-1]", True),
        (flips, "image[..., ::-1, :]", True),
        (flips, "torch.flip(image, [0])", True),
        (flips, "image.flip(0)", True),
        (flips, "torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0]))", True),
        (flips, "torch.diag(torch.tensor([1.0, 2.0, -1.0]))", False),
        (flips, "image[::2]", False),
        (flips, "order[::-1]  # not a frame flip: largest first", False),
        (flips, "order[::-1]  # not a frame flip", True),
        (curves, "x ** (1 / 2.2)", True),
        (curves, "torch.pow(x, 2.4)", True),
        (curves, "12.92 * x", True),
        (curves, "x**2", False),
        (curves, "x**2.2  # not a transfer curve: a fit of the paper", False),
    ],
)
def test_the_searches_find_what_they_should(find: Callable, code: str, caught: bool) -> None:
    assert bool(list(find(Source(PACKAGE / "example.py", code)))) == caught


def test_kernels_escape_the_type_checker() -> None:
    """The jaxtyping hook would wrap a kernel before numba compiles it, unless it says `@no_type_check`."""

    def wrapped(source: Source) -> Iterator[tuple[int, str]]:
        for node in ast.walk(source.tree):
            decorators = [ast.unparse(d) for d in getattr(node, "decorator_list", [])]
            compiled = any(re.search(r"\b(n?jit|vectorize|guvectorize)\b", d) for d in decorators)
            if compiled and not any("no_type_check" in d for d in decorators):
                yield node.lineno, "a compiled function without @no_type_check below its decorator"

    report(offences(wrapped))


def test_scene_values_are_frozen() -> None:
    def loose(source: Source) -> Iterator[tuple[int, str]]:
        for node in ast.walk(source.tree):
            if isinstance(node, ast.ClassDef) and source.name.startswith("scene/"):
                if "dataclass(frozen=True, eq=False, kw_only=True)" not in map(ast.unparse, node.decorator_list):
                    yield node.lineno, f"{node.name} is no dataclass(frozen=True, eq=False, kw_only=True)"

    report(offences(loose))


def test_names_are_the_agreed_ones() -> None:
    def misnamed(source: Source) -> Iterator[tuple[int, str]]:
        for node in ast.walk(source.tree):
            names = {
                ast.arg: lambda n: n.arg,
                ast.Name: lambda n: n.id if isinstance(n.ctx, ast.Store) else "",
                ast.FunctionDef: lambda n: n.name,
            }
            name = names.get(type(node), lambda _: "")(node)
            if name in BANNED_NAMES:
                yield node.lineno, f"{name}: see the table of names in the conventions"

    report(offences(misnamed))


def test_files_and_functions_stay_short() -> None:
    def long(source: Source) -> Iterator[tuple[int, str]]:
        lines = source.text.count("\n")
        if lines > MAX_FILE_LINES and source.name not in LONG_FILES:
            yield 1, f"{lines} lines, limit {MAX_FILE_LINES}"
        for node in ast.walk(source.tree):
            if isinstance(node, ast.FunctionDef) and (n := node.end_lineno - node.lineno + 1) > MAX_FUNCTION_LINES:
                yield node.lineno, f"{node.name} has {n} lines, limit {MAX_FUNCTION_LINES}"

    report(offences(long))


def test_the_command_line_starts_without_heavy_imports() -> None:
    """`recon --help` answers within a second: what takes longer to import is imported when it is needed."""
    heavy = {"torch", "numpy", "scipy", "numba", "cv2", "pycolmap", "hydra", "omegaconf", "trimesh", "PIL"}
    code = "import sys, pipeline.cli; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not heavy & set(done.stdout.split())
