"""Videos: what is written plays back, whole or not at all."""

import cv2
import numpy as np
import pytest

from pipeline.errors import ResourceError
from pipeline.formats import video
from pipeline.formats.video import Mp4Writer


def frames(count, height=48, width=64):
    """A red bar that moves right over grey."""
    for k in range(count):
        frame = np.full((height, width, 3), 90, np.uint8)
        frame[:, 4 * k : 4 * k + 8] = (220, 30, 30)
        yield frame


def played(path):
    capture, shown = cv2.VideoCapture(str(path)), []
    while (read := capture.read())[0]:
        shown.append(cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB))
    return capture, shown


@pytest.mark.parametrize(("height", "width"), [(48, 64), (33, 65)])
@pytest.mark.parametrize("codec", video.CODECS)
def test_frames_play_back_in_order(height, width, codec, tmp_path, monkeypatch):
    monkeypatch.setattr(video, "CODECS", (codec,))
    with Mp4Writer(tmp_path / "a b.mp4", fps=12.5) as writer:
        for frame in frames(10, height, width):
            writer.add(frame)
    capture, shown = played(tmp_path / "a b.mp4")
    assert len(shown) == 10 and capture.get(cv2.CAP_PROP_FPS) == pytest.approx(12.5)
    assert shown[0].shape == (height + height % 2, width + width % 2, 3)
    for frame, read in zip(frames(10, height, width), shown, strict=True):
        difference = np.abs(read[:height, :width].astype(int) - frame)
        assert difference.mean() < 6  # lossy, and colour at half resolution
    assert [p.name for p in tmp_path.iterdir()] == ["a b.mp4"]


def test_an_error_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError), Mp4Writer(tmp_path / "a.mp4", fps=10.0) as writer:
        writer.add(next(frames(1)))
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_a_missing_encoder_is_told_without_a_word_from_the_library(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(video, "CODECS", ("avc1",))
    with (
        pytest.raises(ResourceError, match=r"a\.mp4: .*no encoder \(avc1\)"),
        Mp4Writer(tmp_path / "a.mp4", fps=1.0) as w,
    ):
        w.add(next(frames(1)))
    assert list(tmp_path.iterdir()) == [] and capfd.readouterr() == ("", "")


def test_a_folder_that_is_not_there_is_told(tmp_path):
    with pytest.raises(ResourceError, match=r"gone.a\.mp4"), Mp4Writer(tmp_path / "gone" / "a.mp4", fps=1.0) as writer:
        writer.add(next(frames(1)))
