"""Events to frames: counted as a plain loop counts them, from every camera format at hand."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from a2sg.data.frames import event_frames, summed_steps
from a2sg.errors import InputError
from places import EVENT_SAMPLES


def events_of(rows, kind=np.int64):
    """A structured array from rows (x, y, t, p)."""
    return np.array([tuple(row) for row in rows], dtype=[(name, kind) for name in "xytp"])


def by_loop(events, steps, sensor, size, by):
    """One event at a time."""
    height, width, polarities = sensor
    frames = np.zeros((steps, polarities, *size), dtype=np.int64)
    order = sorted(range(len(events)), key=lambda at: (events["t"][at], at))
    first = min((int(t) for t in events["t"]), default=0)
    last = max((int(t) for t in events["t"]), default=0)
    for place, at in enumerate(order):
        x, y, t, p = (int(events[name][at]) for name in "xytp")
        step = (t - first) * steps // (last - first + 1) if by == "time" else place * steps // len(events)
        frames[step, p, y * size[0] // height, x * size[1] // width] += 1
    return frames


rows = st.tuples(st.integers(0, 6), st.integers(0, 4), st.integers(-20, 50), st.integers(0, 1))


@given(
    st.lists(rows, max_size=40),
    st.integers(1, 6),
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.sampled_from(["time", "count"]),
)
def test_frames_are_those_of_a_loop(events, steps, size, by):
    events = events_of(events)
    found = event_frames(events, steps, (5, 7, 2), size, by)
    np.testing.assert_array_equal(found, by_loop(events, steps, (5, 7, 2), size, by))
    assert found.dtype == np.uint16


def test_frames_by_hand():
    events = events_of([(0, 0, 100, 1), (1, 0, 101, 0), (3, 1, 102, 1), (3, 1, 109, 1)])
    by_time = event_frames(events, 2, (2, 4, 2), (1, 2))
    np.testing.assert_array_equal(by_time, [[[[1, 0]], [[1, 1]]], [[[0, 0]], [[0, 1]]]])
    by_count = event_frames(events, 2, (2, 4, 2), (1, 2), by="count")
    np.testing.assert_array_equal(by_count, [[[[1, 0]], [[1, 0]]], [[[0, 0]], [[0, 2]]]])


def test_frames_of_equal_time_span_equal_time_and_of_equal_count_hold_as_many_events():
    rng = np.random.default_rng(0)
    times = np.sort((rng.random(1000) ** 3 * 1e6).astype(np.int64))  # most of them early
    events = events_of(np.stack([rng.integers(0, 4, 1000), rng.integers(0, 4, 1000), times, times % 2], 1))
    per_frame = event_frames(events, 8, (4, 4, 2), by="count").sum((1, 2, 3))
    np.testing.assert_array_equal(per_frame, 125)
    per_frame = event_frames(events, 8, (4, 4, 2), by="time").sum((1, 2, 3))
    edges = np.linspace(times.min(), times.max() + 1, 9)
    np.testing.assert_array_equal(per_frame, np.histogram(times, edges)[0])


def test_more_counts_than_a_frame_can_hold_stay_at_the_most():
    many = np.zeros(70_000, dtype=[(name, np.int64) for name in "xytp"])
    assert event_frames(many, 1, (1, 1, 1)).item() == 65_535


def test_a_recording_without_events_has_empty_frames():
    assert event_frames(events_of([]), 3, (4, 5, 2)).shape == (3, 2, 4, 5)
    assert event_frames(events_of([]), 3, (4, 5, 2), by="count").sum() == 0


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ([(4, 0, 0, 0)], {}, "x from 0 to 3 on a sensor of 3x4 pixels, not 4 to 4"),
        ([(0, -1, 0, 0)], {}, "y from 0 to 2 on a sensor of 3x4 pixels, not -1 to -1"),
        ([(0, 0, 0, 2)], {}, "p from 0 to 1"),
        ([(0, 0, 0, 0)], {"steps": 0}, "steps must be a whole number of at least 1"),
        ([(0, 0, 0, 0)], {"by": "cont"}, "did you mean 'count'"),
        ([(0, 0, 0, 0)], {"size": (0, 3)}, "height of the frames"),
    ],
)
def test_what_cannot_be_counted_is_told(rows, options, message):
    with pytest.raises(InputError, match=message):
        event_frames(events_of(rows), **{"steps": 2, "sensor": (3, 4, 2), **options})


def test_events_without_their_fields_are_told():
    with pytest.raises(InputError, match="fields x, y, t, p, not x, y"):
        event_frames(np.zeros(3, dtype=[("x", int), ("y", int)]), 2, (3, 4, 2))
    with pytest.raises(InputError, match="whole numbers, not float64"):
        event_frames(events_of([(0, 0, 0, 0)], np.float64), 2, (3, 4, 2))


@given(st.integers(1, 30), st.integers(1, 30))
def test_fine_bins_are_summed_as_a_loop_does(bins, steps):
    counts = np.random.default_rng(bins).integers(0, 9, (2, bins, 3))
    if steps > bins:
        with pytest.raises(InputError, match=f"at most {bins}, not {steps}"):
            summed_steps(counts, steps, axis=1)
        return
    expected = np.zeros((2, steps, 3))
    for n in range(bins):
        expected[:, n * steps // bins] += counts[:, n]
    np.testing.assert_array_equal(summed_steps(counts, steps, axis=1), expected)


def sample(name):
    path = EVENT_SAMPLES / name
    if not path.is_file():
        pytest.skip(f"needs {path}")
    return str(path)


def counted(events, sensor):
    """Frames of a real recording hold every event once, for either slicing."""
    for by in ("time", "count"):
        frames = event_frames(events, 5, sensor, (16, 16), by)
        assert frames.sum(dtype=np.int64) == len(events)
        np.testing.assert_array_equal(frames.sum((0, 2, 3)), np.bincount(events["p"], minlength=2))


def test_a_recording_of_n_mnist_is_counted():
    io = pytest.importorskip("tonic.io", reason="needs a2sg[events]")
    kind = np.dtype([(name, int) for name in "xytp"])
    events = io.read_mnist_file(sample("tonic/sample_nmnist.bin"), dtype=kind)
    assert len(events) == 4325
    counted(events, (34, 34, 2))


def test_an_aedat4_recording_is_counted():
    pytest.importorskip("aedat", reason="needs a2sg[events]")
    from a2sg.data.events import _read_cifar10_dvs, aedat4_reader

    with aedat4_reader() as apart:
        events = _read_cifar10_dvs(apart, Path(sample("tonic/sample.aedat4")))
    assert len(events) == 111_954
    counted(events, (260, 346, 2))


@pytest.mark.parametrize(
    ("name", "encoding", "sensor", "count"),
    [
        ("expelliarmus/evt2_sample.raw", "evt2", (480, 640), 539_481),
        ("expelliarmus/evt3_sample.raw", "evt3", (720, 1280), 219_596),
        ("tonic/sample_ncars.dat", "dat", (100, 120), 2009),
    ],
)
def test_recordings_of_prophesee_cameras_are_counted(name, encoding, sensor, count):
    expelliarmus = pytest.importorskip("expelliarmus", reason="needs a2sg[events]")
    events = expelliarmus.Wizard(encoding=encoding).read(sample(name))
    assert len(events) == count
    counted(events, (*sensor, 2))


def test_frames_of_a_decoder_are_those_of_the_published_events():
    expelliarmus = pytest.importorskip("expelliarmus", reason="needs a2sg[events]")
    events = expelliarmus.Wizard(encoding="evt3").read(sample("expelliarmus/evt3_sample.raw"))
    known = np.load(sample("expelliarmus/evt3_sample.npz"))["events"]
    for by in ("time", "count"):
        np.testing.assert_array_equal(
            event_frames(events, 4, (720, 1280, 2), (72, 128), by),
            event_frames(known, 4, (720, 1280, 2), (72, 128), by),
        )
