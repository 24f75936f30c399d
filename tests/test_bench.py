"""`recon bench` as a user sees it, on a ball whose truth is known in closed form."""

import json
import sys

import pytest
import torch

from pipeline import cli
from pipeline.bench import command
from pipeline.child import Usage
from tests.truth_capture import copy_without, write_run, write_truth_capture

pytest.importorskip("mitsuba", reason="needs mitsuba: pip install recon-pbr[bench]")


@pytest.fixture(scope="module")
def capture(tmp_path_factory):
    return write_truth_capture(tmp_path_factory.mktemp("truth") / "ball")


@pytest.fixture(scope="module")
def finished(capture, tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("runs") / "ball", capture)


@pytest.fixture
def recon(monkeypatch, capsys):
    """Run `recon bench` in this process; returns the exit code, and what was printed to both outputs."""
    monkeypatch.setattr(cli.signal, "signal", lambda number, handler: None)  # keep the test's own

    def run(*arguments):
        code = cli.main(["bench", *map(str, arguments)])
        return code, *capsys.readouterr()

    return run


def test_a_perfect_run_is_at_the_truth(recon, capture, finished, tmp_path):
    code, printed, errors = recon(capture, "--asset", finished, "--out", tmp_path, "--samples", "64")
    assert (code, errors) == (0, "")
    figures = json.loads((tmp_path / "ball" / "bench.json").read_text())
    # What is left: 8-bit textures, the fitted light's resampling, the noise of the truth's 128 paths. Base colours
    # lack some pixels at the rim (28.8 dB): what the asset does not cover counts as black.
    assert figures["view"]["psnr_db"] > 32 and figures["relit"]["psnr_db"] > 32
    assert figures["view"]["ssim"] > 0.98 and figures["view_light"] == "fitted"
    assert figures["base_color"]["psnr_db"] > 27
    assert figures["base_color"]["factors"] == pytest.approx([1, 1, 1], abs=0.02)
    assert figures["roughness_mae"] < 0.02 and figures["metallic_mae"] < 0.02
    assert figures["normal_deg"] < 2 and figures["mask_overlap"] > 0.97
    assert figures["surface"]["chamfer_pct"] < 0.2 and figures["surface"]["f_score"] == pytest.approx(1, abs=1e-3)
    assert figures["alignment"]["cameras"] == 8 and figures["alignment"]["center_error_pct"] < 1e-3
    assert torch.tensor(list(figures["relit_factors"].values())) == pytest.approx(1, abs=0.03)
    assert (figures["cost"]["wall_s"], figures["cost"]["from"]) == (90, "the run's stages")
    assert "| ball " in printed and "LPIPS" in printed
    pictures = sorted(p.name for p in (tmp_path / "ball").glob("*.png"))
    assert pictures == ["relit.png", "view_r_000.png", "view_r_001.png"]


def test_a_base_colour_half_as_bright_is_told_by_its_factors(recon, capture, tmp_path):
    run = write_run(tmp_path / "run", capture, gain=0.5)
    assert recon(capture, "--asset", run, "--out", tmp_path / "out", "--samples", "16")[0] == 0
    figures = json.loads((tmp_path / "out" / "ball" / "bench.json").read_text())
    color = figures["base_color"]
    assert color["factors"] == pytest.approx([2, 2, 2], abs=0.05)
    assert color["psnr_db"] < 17 and color["psnr_scaled_db"] > 27
    assert figures["relit"]["psnr_db"] < figures["relit_scaled"]["psnr_db"] - 3
    assert min(figures["relit_factors"]["evening"]) > 1.4


def test_what_a_capture_lacks_is_left_out(recon, capture, finished, tmp_path):
    some = copy_without(capture, tmp_path / "some", "transforms_relit.json")
    (some / "mesh_world.ply").unlink()
    assert recon(some, "--asset", finished / "asset.glb", "--out", tmp_path / "out", "--samples", "2")[0] == 0
    figures = json.loads((tmp_path / "out" / "some" / "bench.json").read_text())
    assert figures["relit"] is None and figures["surface"] is None and figures["cost"] is None
    assert figures["view_light"] == "true"


def test_a_failed_capture_does_not_stop_the_others(recon, capture, finished, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    out = tmp_path / "out"
    given = (empty, "--asset", finished, capture, "--asset", finished)
    code, printed, errors = recon(*given, "--out", out, "--samples", "2", "--views", "1", "--relit-views", "1")
    assert code == 3 and "holds no transforms_train.json" in errors
    empty_row, ball_row = printed.splitlines()[-4:-2]
    assert "failed" in empty_row and ball_row.startswith("| ball ")
    told = json.loads((out / "bench.json").read_text())
    assert "error" in told["captures"][0] and "view" in told["captures"][1]


def test_captures_are_run_in_a_process_of_their_own(recon, capture, tmp_path, monkeypatch):
    """The command that is run, and what becomes of its figures."""
    asked = []

    def run_command(arguments, *, log):
        asked.append(arguments)
        run = write_run(tmp_path / "out" / "ball" / "run", capture)
        stages = json.loads((run / "run.json").read_text())
        stages["stages"][0]["reused"] = False
        (run / "run.json").write_text(json.dumps(stages))
        return Usage(code=7, wall_s=60.0, cpu_s=100.0, peak_mib=2048.0)

    monkeypatch.setattr(command, "run_command", run_command)
    quick = ("--samples", "2", "--views", "1", "--relit-views", "1")
    code, *_ = recon(capture, "quality=draft", "--out", tmp_path / "out", *quick)
    out = tmp_path / "out" / "ball"
    assert asked == [["run", "--images", str(capture), "--out", str(out / "run"), "quality=draft"]]
    assert code == 7  # below the quality gate, but judged
    figures = json.loads((out / "bench.json").read_text())
    assert figures["cost"]["from"] == "outside" and figures["cost"]["wall_s"] == 60


def test_a_run_that_fails_is_told_with_its_last_line(recon, capture, tmp_path):
    code, _, errors = recon(capture, "--out", tmp_path, "--quiet")  # no photo is in train/
    assert code != 0 and "the run failed with exit code" in errors and "run.log" in errors


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("transforms_test.json", "holds no transforms_test.json"),
        ("test_gt/r_001_gt.exr", "test_gt/r_001_gt.exr is missing"),
        ("test/r_000.png", "the picture ./test/r_000 is missing"),
    ],
)
def test_what_every_truth_needs(recon, capture, finished, tmp_path, name, message):
    folder = copy_without(capture, tmp_path / "some", name)
    code, _, errors = recon(folder, "--asset", finished, "--out", tmp_path / "out")
    assert code == 3 and message in errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "nothing to judge"),
        (("a", "b", "--asset", "r"), "1 finished runs for 2 captures"),
        (("a", "x/a"), "two captures are named a"),
        (("a", "--asset", "r", "quality=draft"), "settings do not change a finished run"),
        (("a", "qualty=draft"), "qualty"),
        (("a", "--views", "0"), "--views 0 is outside 1"),
        (("a", "--samples", "1"), "--samples 1 is outside 2"),
        (("a", "--view", "--wrong"), "argument"),
    ],
)
def test_wrong_command_lines(recon, tmp_path, arguments, message):
    code, _, errors = recon(*arguments, "--out", tmp_path / "out")
    assert code == 2 and message in errors


def test_a_missing_run_and_foreign_cameras_are_told(recon, capture, finished, tmp_path):
    code, _, errors = recon(capture, "--asset", tmp_path / "none", "--out", tmp_path / "out")
    assert code == 3 and "does not exist" in errors
    run = write_run(tmp_path / "run", capture)
    cameras = run / "cameras.json"
    cameras.write_text(cameras.read_text().replace('"0', '"z'))
    code, _, errors = recon(capture, "--asset", run, "--out", tmp_path / "out")
    assert code == 3 and "only 0 of its cameras" in errors


def test_without_mitsuba_it_says_how_to_get_it(recon, capture, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mitsuba", None)
    code, _, errors = recon(capture, "--out", tmp_path)
    assert code == 2 and "pip install 'recon-pbr[bench]'" in errors
