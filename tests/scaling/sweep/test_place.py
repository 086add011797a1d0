import pytest

from scaling.config import build
from scaling.sweep.grid import Cell
from scaling.sweep.place import Place, Share
from scaling.sweep.queue import Job


@pytest.mark.parametrize(
    ("share", "machine", "places"),
    [
        (Share(1, 0), {"CPU": 16}, 16),
        (Share(3, 0), {"CPU": 16}, 5),
        (Share(1, 1 / 4), {"CPU": 16, "GPU": 2}, 8),
        (Share(1, 1 / 3), {"CPU": 16, "GPU": 2}, 6),
        (Share(1, 0.4), {"CPU": 16, "GPU": 2}, 4),  # the fifths that are left of two GPUs are not one share
        (Share(1, 2), {"CPU": 16, "GPU": 5}, 2),
        (Share(4, 1 / 4), {"CPU": 16, "GPU": 8}, 4),
        (Share(1, 1 / 4), {"CPU": 16}, 0),
        (Share(1, 0), {}, 0),
    ],
)
def test_places_by_hand(share, machine, places):
    assert share.places(machine) == places


def test_progress_is_what_the_status_says_since_it_began_to_move(monkeypatch):
    """By hand: 300 images in 3 s are 100 a second, and the 600 that are left take 6."""
    job = Job(Cell(build({}), "0123456789ab", ""), 90.0, "t")
    place, now = Place(job=job, machine="m", host="h", number=0), 50.0
    monkeypatch.setattr("scaling.sweep.place.time.monotonic", lambda: now)
    left = {"state": "running", "updated": 1.0, "images_seen": 900, "images_total": 1000}
    place.begin(left)
    place.watch(left)  # still what a killed attempt left behind
    assert place.state == {}
    place.watch({"state": "running", "updated": 2.0, "images_seen": None, "images_total": 1000})
    assert place.state == {}
    place.watch(left | {"updated": 3.0, "images_seen": 100})  # it went on from its checkpoint
    now = 53.0
    place.watch(left | {"updated": 4.0, "images_seen": 400})
    assert (
        (place.state["images_per_second"], place.state["seconds_left"]) == (100.0, 6.0) == (100.0, place.seconds_left)
    )
    place.begin(left | {"updated": 4.0})
    place.watch(left | {"updated": 5.0, "images_seen": 500})
    assert place.cancelled == 0 and "images_per_second" not in place.state
