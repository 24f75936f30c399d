"""The table of figures."""

from pipeline.bench.table import table

RECORD = {
    "capture": "radio",
    "view": {"psnr_db": 25.51, "ssim": 0.9712},
    "relit": None,
    "relit_scaled": None,
    "base_color": {"psnr_db": 19.04, "psnr_scaled_db": 20.06},
    "roughness_mae": 0.1118,
    "metallic_mae": 0.05,
    "normal_deg": 5.04,
    "surface": {"chamfer_pct": 0.0861, "f_score": 0.9932},
    "triangles": 19998,
    "cost": {"wall_s": 90.0, "cpu_s": 150.0, "peak_mib": 1536.0, "device": "cpu (2 cores)"},
}


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_every_figure_stands_below_its_heading_in_its_unit():
    head, rule, row, failed = table([RECORD, {"capture": "cabinet", "error": "nothing came of it"}])
    assert len({len(line) for line in (head, rule, row, failed)}) == 1
    names, values = cells(head), cells(row)
    assert len(names) == len(values) == len(cells(failed)) == len(cells(rule))
    found = dict(zip(names, values, strict=True))
    assert (found["capture"], found["view dB"], found["relit dB"], found["base dB"]) == ("radio", "25.5", "–", "19.0")
    assert (found["rough."], found["normal °"]) == ("0.112", "5.0")
    assert (found["Chamfer %"], found["F 1 %"]) == ("0.086", "0.993")
    assert (found["triangles"], found["wall min"], found["CPU min"]) == ("19998", "1.5", "2.5")
    assert (found["GiB"], found["device"]) == ("1.5", "cpu (2 cores)")
    assert cells(failed)[:3] == ["cabinet", "failed", "–"]


def test_a_run_of_unknown_cost_has_dashes():
    row = cells(table([RECORD | {"cost": None}])[2])
    assert row[-4:] == ["–"] * 4
