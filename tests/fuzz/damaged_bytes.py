"""Bytes near given ones: cut, flipped, repeated, spliced."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

_PIECES = [
    b"\x00", b"\xff", b"\n", b"\r\n", b'"', b"{", b"}", b"[" * 300, b"]" * 300, b"NaN", b"1e999", b"-0", b"null",
    b"9" * 5000, b"\\ud800", b"\xed\xa0\x80", b"\xe2\x80\xae", b"\x1b[2J", b"\xd9\xa3", b",", b":", b"true", b"1.5",
]  # fmt: skip

_Edit = tuple[float, float, bytes]


def near(seeds: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """One of ``seeds`` after up to 4 edits, each at a place given as a share of its length."""
    place = st.floats(0, 1)
    edit = st.tuples(
        place, st.sampled_from([0.0, 0.0, 0.001, 0.02, 0.3]), st.sampled_from(_PIECES) | st.binary(max_size=4)
    )
    return st.builds(_edited, st.sampled_from(list(seeds)), st.lists(edit, max_size=4))


def _edited(data: bytes, edits: Sequence[_Edit]) -> bytes:
    for place, share, piece in edits:
        start = int(place * len(data))
        data = data[:start] + piece + data[start + int(share * len(data)) :]
    return data
