"""Which images are trained on, how often, and which are held out: counted by hand on a few."""

import numpy as np
import pytest

from scaling.audits.images import audit_images
from scaling.audits.refusal import AuditError
from tests.scaling.audits.planted import digits, save


@pytest.fixture
def folder(tmp_path):
    """a.png … of images 0 1 2 3 4 0 1 0: five unique ones with 3, 2, 1, 1, 1 copies."""
    images = digits()
    return save(tmp_path / "train", [images[at] for at in (0, 1, 2, 3, 4, 0, 1, 0)])


def opened(folder, **options):
    return audit_images(f"folder:{folder}", 1, 8, resize=False, **options)


def test_equal_images_are_copies_of_the_first(folder):
    found = opened(folder)
    assert np.array_equal(found.data.pool, digits()[:5, None])
    assert found.data.copies.tolist() == [3, 2, 1, 1, 1] and found.data.n_train == 8
    assert found.names == tuple(f"{at:03}.png" for at in range(5))
    assert found.notes[0].startswith("3 of the 8 images of --data equal an earlier one")


def test_named_copies_add_to_the_equal_images_of_the_folder(folder, tmp_path):
    """Image 0 stands in files 0, 5 and 7: 10 copies of file 0 and one each of the others are 12."""
    (tmp_path / "named.csv").write_text("file,copies\n000.png,10\n004.png,2\n")
    assert opened(folder, copies=tmp_path / "named.csv").data.copies.tolist() == [12, 2, 1, 1, 2]
    (tmp_path / "numbered.csv").write_text("index,copies\r\n5,10\r\n4,2\r\n")
    assert opened(folder, copies=tmp_path / "numbered.csv").data.copies.tolist() == [12, 2, 1, 1, 2]


def test_the_holdout_is_the_end_of_the_unique_images(folder):
    found = opened(folder, holdout=2)
    assert np.array_equal(found.data.holdout, digits()[3:5, None])
    assert found.data.copies.tolist() == [3, 2, 1]
    assert opened(folder).source.data_sha256 == found.source.data_sha256


def test_training_images_are_taken_out_of_the_holdout(folder, tmp_path):
    held = save(tmp_path / "held", digits()[3:9])
    found = opened(folder, holdout_source=f"folder:{held}")
    assert np.array_equal(found.data.holdout, digits()[5:9, None])
    assert "2 images of --holdout-data are training images: left out of the null" in found.notes


def test_grey_images_for_a_colour_model_and_not_the_reverse(folder, tmp_path):
    colour = audit_images(f"folder:{folder}", 3, 8, resize=False).data.pool
    assert colour.shape == (5, 3, 8, 8) and (colour == colour[:, :1]).all()
    red = np.stack([np.full((8, 8), grey, np.uint8) * [[[1]], [[0]], [[0]]] for grey in (50, 99, 200)])
    save(tmp_path / "red", [np.moveaxis(image, 0, 2).astype(np.uint8) for image in red])
    with pytest.raises(AuditError, match="colour images, grey samples"):
        audit_images(f"folder:{tmp_path / 'red'}", 1, 8, resize=False)


@pytest.mark.parametrize(
    "text, message",
    [
        ("name,n\n000.png,3\n", "header name,n"),
        ("", "header missing"),
        ("file,copies\nno.png,3\n", "line 2: no.png is no file of the source"),
        ("file,copies\n000.png,0\n", "line 2: copies=0"),
        ("file,copies\n000.png,2.5\n", "copies=2.5"),
        ("file,copies\n000.png,2\n000.png,3\n", "line 3: 000.png was named before"),
        ("index,copies\n8,2\n", "index=8; the source has images 0 to 7"),
        ("index,copies\n1,2,3\n", "3 fields"),
    ],
)
def test_a_wrong_line_of_copies_is_named(folder, tmp_path, text, message):
    (tmp_path / "c.csv").write_text(text)
    with pytest.raises(AuditError, match=message):
        opened(folder, copies=tmp_path / "c.csv")


def test_files_are_no_names_of_a_source_without_files(tmp_path):
    (tmp_path / "c.csv").write_text("file,copies\na.png,2\n")
    with pytest.raises(AuditError, match="give index,copies"):
        audit_images("digits", 1, 8, resize=False, copies=tmp_path / "c.csv")
    with pytest.raises(AuditError, match="no such source"):
        audit_images("digit", 1, 8, resize=False)
