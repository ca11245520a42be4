"""mp4 files as PyAV and a look at the bytes see them."""

import wave
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from av.error import FFmpegError
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc

from inference.leader.mp4 import VideoFacts, read_video_facts, write_mp4


def ignore(_count: int) -> None:
    pass


def moving_gradient(frames: int = 17, width: int = 64, height: int = 48) -> torch.Tensor:
    along = torch.linspace(-1, 1, width).expand(3, frames, height, width)
    return along * torch.linspace(0.3, 1, frames).view(1, -1, 1, 1)


def boxes(path: Path) -> list[str]:
    """The types of the file's outermost boxes, in order (ISO 14496-12)."""
    content, at, found = path.read_bytes(), 0, []
    while at < len(content):
        found.append(content[at + 4 : at + 8].decode())
        at += int.from_bytes(content[at : at + 4])
    return found


def decoded(path: Path) -> np.ndarray:
    """All frames as T × H × W × 3 bytes, by the matrix that the file names."""
    with av.open(str(path)) as container:
        frames = [
            frame.reformat(format="rgb24", src_colorspace=frame.colorspace) for frame in container.decode(video=0)
        ]
        return np.stack([frame.to_ndarray() for frame in frames])


def test_a_file_says_what_was_written(tmp_path: Path):
    write_mp4(moving_gradient(), tmp_path / "video.mp4", ignore, job_fingerprint="1 cat")
    assert read_video_facts(tmp_path / "video.mp4") == VideoFacts(
        width=64, height=48, num_frames=17, duration=17 / 16, job_fingerprint="1 cat"
    )


def test_the_same_frames_are_the_same_file_however_often_they_are_written(tmp_path: Path):
    """One time in ten they were not, on processors with AVX-512, by x264's macroblock tree."""
    coarse = torch.rand(25, 3, 6, 8, generator=torch.Generator().manual_seed(3)) * 2 - 1
    clip = torch.nn.functional.interpolate(coarse, (48, 64), mode="bicubic").transpose(0, 1).clamp(-1, 1)

    def written(path: Path) -> set[bytes]:
        files: set[bytes] = set()
        for _ in range(60):
            write_mp4(clip, path, ignore)
            files.add(path.read_bytes())
        return files

    with ThreadPoolExecutor(4) as writers:  # it happened to busy processors
        files = writers.map(written, [tmp_path / f"{number}.mp4" for number in range(4)])
    assert len(set[bytes]().union(*files)) == 1


def test_the_index_comes_before_the_pictures(tmp_path: Path):
    write_mp4(moving_gradient(), tmp_path / "video.mp4", ignore)
    order = boxes(tmp_path / "video.mp4")
    assert order.index("moov") < order.index("mdat")


def test_it_is_what_browsers_play(tmp_path: Path):
    write_mp4(moving_gradient(), tmp_path / "video.mp4", ignore)
    with av.open(str(tmp_path / "video.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert stream.average_rate == 16
        assert stream.codec_context.color_primaries == ColorPrimaries.BT709
        assert stream.codec_context.color_trc == ColorTrc.BT709
        assert stream.codec_context.colorspace == Colorspace.ITU709
        assert stream.codec_context.color_range == ColorRange.MPEG


def test_every_frame_comes_back_in_order(tmp_path: Path):
    video = moving_gradient()
    write_mp4(video, tmp_path / "video.mp4", ignore)
    wanted = ((video + 1) * 127.5).permute(1, 2, 3, 0).numpy()
    assert np.abs(decoded(tmp_path / "video.mp4") - wanted).mean(axis=(1, 2, 3)).max() < 4


@pytest.mark.parametrize("rgb", [(1, -1, -1), (-1, 1, -1), (-1, -1, 1), (1, 1, 1), (-1, -1, -1)])
def test_colours_are_converted_by_the_matrix_that_the_file_names(tmp_path: Path, rgb: tuple[int, int, int]):
    video = torch.tensor(rgb, dtype=torch.float32).view(3, 1, 1, 1).expand(3, 2, 48, 64)
    write_mp4(video, tmp_path / "video.mp4", ignore)
    wanted = (np.array(rgb) + 1) * 127.5
    assert np.abs(decoded(tmp_path / "video.mp4").mean(axis=(0, 1, 2)) - wanted).max() < 4


def test_values_out_of_range_are_clipped(tmp_path: Path):
    write_mp4(torch.full((3, 2, 48, 64), 7.0), tmp_path / "video.mp4", ignore)
    assert decoded(tmp_path / "video.mp4").min() > 250


def test_frames_are_counted_as_they_are_encoded(tmp_path: Path):
    counts: list[int] = []
    write_mp4(moving_gradient(frames=5), tmp_path / "video.mp4", counts.append)
    assert counts == [1, 2, 3, 4, 5]


def test_a_writer_that_is_stopped_leaves_no_file(tmp_path: Path):
    class Enough(Exception):
        pass

    def stop(count: int) -> None:
        if count == 3:
            raise Enough

    with pytest.raises(Enough):
        write_mp4(moving_gradient(), tmp_path / "video.mp4", stop)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_video_is_refused(tmp_path: Path):
    (tmp_path / "video.mp4").write_bytes(b"no video" * 100)
    with pytest.raises(FFmpegError):
        read_video_facts(tmp_path / "video.mp4")


def test_a_file_without_a_picture_is_no_video(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "sound.mp4"), "wb") as sound:
        sound.setparams((1, 2, 16_000, 0, "NONE", "NONE"))
        sound.writeframes(b"\0" * 3200)
    with pytest.raises(ValueError, match="no video"):
        read_video_facts(tmp_path / "sound.mp4")
