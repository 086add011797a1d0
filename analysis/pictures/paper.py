"""What a figure for a paper may be: formats, widths, resolution. No matplotlib: a command parses with these."""

FORMATS = ("png", "svg", "pdf")
WIDTHS = 2.5, 20.0  # inches; one column of most journals is 3.35, two are 6.9
RESOLUTIONS = 30, 1200  # dots an inch
SMALLEST_TEXT = 7.0  # points


def check_width(width: float) -> None:
    """Raises ValueError outside WIDTHS."""
    if not WIDTHS[0] <= width <= WIDTHS[1]:
        raise ValueError(f"width {width:g}: a figure is {WIDTHS[0]:g} to {WIDTHS[1]:g} inches wide; one column is 3.35")
