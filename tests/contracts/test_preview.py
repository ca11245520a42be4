"""A preview's message: what it may hold, and that nothing larger is taken for one."""

import json

import pytest

from contracts import subjects, wire
from contracts.preview import PREVIEW_BYTES_MAX, WEBP_URL, Preview
from contracts.video_files import VARIANTS, is_picture, names_with_video, picture_name, picture_names
from tests.kit.builders import ID

MESSAGE = {
    "type": "Preview", "requestId": ID, "at": 1700000002.0, "attempt": 1, "step": 4, "steps": 20, "width": 32,
    "height": 18, "image": WEBP_URL + "UklGRg==",
}  # fmt: skip
"""As it was published first."""


def test_a_preview_as_it_was_published_still_decodes_and_encodes_the_same() -> None:
    preview = wire.decode_preview(json.dumps(MESSAGE).encode())
    assert isinstance(preview, Preview)
    assert json.loads(wire.encode(preview)) == MESSAGE
    assert subjects.job_id_of(subjects.previews_of(preview.job_id)) == ID


@pytest.mark.parametrize(
    "image",
    [
        "https://example.org/a.webp",
        "data:image/svg+xml;base64,PHN2Zz4=",
        WEBP_URL,
        WEBP_URL + "<script>",
        WEBP_URL + "A" * (4 * PREVIEW_BYTES_MAX // 3 + 8),
    ],
    ids=["address", "svg", "empty", "not base64", "too long"],
)
def test_only_a_small_webp_is_a_preview(image: str) -> None:
    with pytest.raises(wire.Undecodable):
        wire.decode_preview(json.dumps({**MESSAGE, "image": image}).encode())


def test_a_largest_preview_fits_in_a_message_of_the_broker() -> None:
    assert 4 * PREVIEW_BYTES_MAX // 3 + 1024 < 256 * 1024


def test_pictures_have_names_of_a_store_and_go_before_their_video() -> None:
    assert all(is_picture(picture_name(ID, variant)) for variant in VARIANTS)
    assert not any(is_picture(name) for name in (f"{ID}.mp4", f"{ID}.json", "thumbnail.webp", f"{ID}-other.webp"))
    assert names_with_video(ID)[-1] == f"{ID}.mp4"
    assert set(picture_names(ID)) < set(names_with_video(ID))
