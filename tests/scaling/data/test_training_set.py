"""The assembled training set against sets and counts built by hand from the plan and the draw."""

from collections import Counter

import numpy as np
import pytest

from scaling.config import ConfigError, build
from scaling.data.cache import content_hash
from scaling.data.duplication import plan
from scaling.data.near import near_copies
from scaling.data.sources import ImageSet, image_id
from scaling.data.streams import generator
from scaling.data.training_set import assemble, key_levels, random_label


def image_set(n=200, size=8, channels=1, n_classes=10) -> ImageSet:
    rng = np.random.default_rng(5)
    pixels = rng.integers(0, 256, (n, channels, size, size), dtype=np.uint8)
    labels = rng.integers(0, n_classes, n) if n_classes else np.full(n, -1)
    return ImageSet(pixels, labels, n_classes, content_hash(pixels), 0)


IMAGES = image_set()


def assembled(images=IMAGES, seed=0, **data):
    return assemble(config(seed, **data), images)


def config(seed=0, **data):
    return build({"seed": seed, "data": {"n_unique": 64, "holdout": 40, **data}})


SPECTRUM = {"design": "spectrum", "levels": 4}


def contents(images: np.ndarray) -> list[bytes]:
    return [image.tobytes() for image in images]


def test_the_pool_begins_the_draw_and_the_hold_out_ends_it():
    order = generator(3, "draw").permutation(200)
    for made in (assembled(seed=3), assembled(seed=8, draw=3)):
        np.testing.assert_array_equal(made.pool, IMAGES.pixels[order[:64]])
        np.testing.assert_array_equal(made.holdout, IMAGES.pixels[order[160:]])
        np.testing.assert_array_equal(made.pool_labels, IMAGES.labels[order[:64]])
        np.testing.assert_array_equal(made.holdout_labels, IMAGES.labels[order[160:]])
    assert (assembled(seed=4).pool != made.pool).any()


def test_hold_out_and_pool_share_no_image_and_keep_theirs_as_sizes_change():
    small, large = assembled(n_unique=32, holdout=40), assembled(n_unique=160, holdout=40)
    np.testing.assert_array_equal(large.pool[:32], small.pool)
    np.testing.assert_array_equal(large.holdout, small.holdout)
    assert not set(contents(large.pool)) & set(contents(large.holdout))


@pytest.mark.parametrize("near", ["exact", "noise", "shift"])
@pytest.mark.parametrize("fold", [{}, {"index": 1, "of": 3, "split": 2}])
def test_rows_are_the_multiset_of_the_plan(near, fold):
    made = assembled(duplication={**SPECTRUM, "near": near}, fold=fold)
    copies = plan(config(duplication=SPECTRUM).data).copies
    assert made.in_training.all() == (not fold)
    expected = [
        member.tobytes()
        for position in range(64)
        if made.in_training[position]
        for member in near_copies(made.pool[position], copies[position], near)
    ]
    assert contents(made.members[made.rows]) == expected
    family = made.member_position[made.rows]
    assert Counter(family.tolist()) == {p: copies[p] for p in range(64) if made.in_training[p]}
    assert (np.diff(family) >= 0).all()
    for position in made.positions:
        assert made.row_copy[family == position].tolist() == list(range(copies[position]))
    assert len(made.members) == (made.n_unique if near == "exact" else made.n_train)
    assert len(np.unique(made.rows)) == len(made.members)


def test_a_fold_leaves_with_all_its_copies_and_the_counts_shrink():
    parts = [assembled(duplication=SPECTRUM, fold={"index": i, "of": 4}) for i in range(4)]
    whole = assembled(duplication=SPECTRUM)
    assert (sum(~part.in_training.astype(int) & 1 for part in parts) == 1).all()
    for part in parts:
        assert (part.n_unique, part.n_train) == (48, 180)  # of 64 and 240: each stratum of 16 gives 4
        np.testing.assert_array_equal(part.pool, whole.pool)
        np.testing.assert_array_equal(part.pool_copies, whole.pool_copies)
        np.testing.assert_array_equal(part.copies, whole.pool_copies[part.in_training])
        assert not set(contents(part.pool[~part.in_training])) & set(contents(part.members))


def test_labels_given_follow_the_conditioning():
    none, by_class = assembled(), assembled(conditioning="class")
    assert none.n_labels == 0 and not none.labels.any() and not none.holdout_given.any()
    assert by_class.n_labels == 10
    np.testing.assert_array_equal(by_class.labels, by_class.pool_labels)
    np.testing.assert_array_equal(by_class.holdout_given, by_class.holdout_labels)
    unique = assembled(conditioning="unique", fold={"index": 0})
    assert unique.labels.tolist() == list(range(64)) and unique.n_labels == 64
    assert unique.holdout_given.tolist() == list(range(40))
    assert assembled(conditioning="unique", n_unique=32).holdout_given.tolist() == [*range(32), *range(8)]


def test_random_labels_belong_to_image_and_seed():
    one, other_draw, other_seed = (
        assembled(conditioning="random", seed=s, draw=d) for s, d in ((0, 0), (0, 1), (1, 0))
    )
    labels = dict(zip(contents(one.pool), one.labels, strict=True))
    again = [
        (labels[c], label) for c, label in zip(contents(other_draw.pool), other_draw.labels, strict=True) if c in labels
    ]
    assert len(again) > 5 and all(a == b for a, b in again)
    assert (one.labels != other_seed.labels).mean() > 0.5
    assert one.labels[3] == random_label(0, image_id(one.pool[3]), 10) and one.n_labels == 10


def test_random_labels_are_uniform():
    """Chi-square over 10 classes of 20,000 labels: 9 degrees of freedom, .999 quantile 27.9."""
    counts = np.bincount([random_label(7, f"{i:016x}", 10) for i in range(20_000)], minlength=10)
    assert ((counts - 2000) ** 2 / 2000).sum() < 27.9


@pytest.mark.parametrize("near", ["exact", "shift"])
def test_keys_are_one_grey_ring_an_image_and_leave_the_inside(near):
    duplication = {**SPECTRUM, "near": near}
    made, plain = assembled(keys=True, duplication=duplication), assembled(duplication=duplication)
    assert plain.keys is None and plain.holdout_keys is None
    for images, bare, keys in (
        (made.pool, plain.pool, made.keys),
        (made.members, plain.members, made.keys[made.member_position]),
        (made.holdout, plain.holdout, made.holdout_keys),
    ):
        ring = np.concatenate([images[:, 0, 0], images[:, 0, -1], images[:, 0, :, 0], images[:, 0, :, -1]], axis=1)
        np.testing.assert_array_equal(ring, np.broadcast_to((keys * 255)[:, None], ring.shape))
        np.testing.assert_array_equal(images[:, :, 1:-1, 1:-1], bare[:, :, 1:-1, 1:-1])
    assert (made.mean, made.std) == (plain.mean, plain.std)


def test_keys_are_uniform_and_nest_in_the_pool_within_a_draw():
    """A constant guess of 1/2 misses a uniform key by 1/4, an independent one by 1/3 (measures.md 2.12); 4 SE."""
    keys, others = key_levels(0, 40_000) / 255, key_levels(1, 40_000) / 255
    assert abs(np.abs(keys - 0.5).mean() - 1 / 4) < 4 * 0.145 / 200 + 1 / 510
    assert abs(np.abs(keys - others).mean() - 1 / 3) < 4 * 0.236 / 200 + 1 / 510
    np.testing.assert_array_equal(key_levels(0, 50), key_levels(0, 40_000)[:50])


def test_held_out_images_have_keys_of_their_own_so_that_only_training_tells_them_apart():
    """The null: keys of one law, unrelated by position. Without them an untrained network told members at AUC .83."""
    made = key_levels(0, 40_000, of_holdout=True) / 255
    keys = key_levels(0, 40_000) / 255
    assert abs(np.corrcoef(made, keys)[0, 1]) < 4 / 200
    assert abs(np.abs(made - keys).mean() - 1 / 3) < 4 * 0.236 / 200 + 1 / 510


def test_keys_that_leave_nothing_of_the_images_are_refused():
    tiny = {"keys": True, "image_size": 2, "n_unique": 100, "holdout": 40}
    with pytest.raises(ConfigError, match=r"^data.keys=True: .* use data.image_size above 2$"):
        assemble(build({"data": tiny, "model": {"family": "mlp"}}), image_set(size=2))


def test_too_many_images_name_the_largest_possible():
    with pytest.raises(ConfigError) as error:
        assembled(n_unique=180)
    assert str(error.value) == (
        "data.n_unique=180: 180 unique images and data.holdout=40 are more than the 200 unique images of digits; "
        "use at most 160 unique training images or data.holdout of at most 20"
    )
    assembled(n_unique=160), assembled(n_unique=180, holdout=20)
    with pytest.raises(ConfigError, match=r"data.n_train=540: 180 unique images"):
        assembled(
            n_unique=None, n_train=540, duplication={"design": "uniform", "fraction": 1, "copies": 3, "fix": "n_train"}
        )


@pytest.mark.parametrize(
    ("images", "data", "message"),
    [
        (
            image_set(n_classes=0),
            {"conditioning": "class"},
            r"^data.conditioning=class: digits has no labels; use unique or none$",
        ),
        (image_set(n_classes=0), {"conditioning": "random"}, r"^data.conditioning=random: .* use unique or none$"),
        (
            IMAGES,
            {"n_unique": 3, "fold": {"index": 0}},
            r"^data.fold.index=0: without that part 1 unique images are left",
        ),
    ],
)
def test_what_the_source_cannot_give_is_refused_in_one_line(images, data, message):
    with pytest.raises(ConfigError, match=message):
        assembled(images, **data)


def test_shifts_that_make_two_images_alike_are_refused():
    pixels = np.empty((150, 1, 8, 8), np.uint8)
    pixels[:75] = pixels[75:] = np.arange(75)[:, None, None, None]
    pixels[:75, 0, 0, 0] = 200  # moved up by one, image i loses this corner and is image i + 75
    images = ImageSet(pixels, np.full(150, -1), 0, content_hash(pixels), 0)
    with pytest.raises(
        ConfigError, match=r"near=shift: \d+ of 480 training images equal one of another image's family"
    ):
        assembled(
            images,
            n_unique=120,
            holdout=30,
            duplication={"design": "uniform", "fraction": 1, "copies": 4, "near": "shift"},
        )
