"""A folder of small photographs to try things with: scikit-learn's two sample photographs, cut into tiles of 32x32.

python examples/photo_tiles.py photos        # 520 PNG files, no two of which overlap
"""

import argparse
from pathlib import Path

from PIL import Image
from sklearn.datasets import load_sample_images

SIDE = 32  # pixels


def main() -> None:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("folder", type=Path)
    folder = made.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    photographs = load_sample_images()
    for name, pixels in zip(photographs.filenames, photographs.images, strict=True):
        rows, columns = pixels.shape[0] // SIDE, pixels.shape[1] // SIDE
        for row in range(rows):
            for column in range(columns):
                tile = pixels[row * SIDE : (row + 1) * SIDE, column * SIDE : (column + 1) * SIDE]
                Image.fromarray(tile).save(folder / f"{Path(name).stem}_{row:02d}_{column:02d}.png")


if __name__ == "__main__":
    main()
