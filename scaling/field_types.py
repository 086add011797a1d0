"""The types of configuration values: exact fractions, shares, counts; and what a section of them is. No torch."""

import re
from fractions import Fraction
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

FRACTION = re.compile(r"[+-]?[\d.]{1,400}(/\d{1,400}|[eE][+-]?\d{1,3})?", re.ASCII)  # 1e-999999999 fills the memory


def exact_fraction(value: object) -> object:
    """Decimal text, not binary: 0.1 is 1/10; raises ValueError on text that is no number. Other types pass as they are.

    >>> exact_fraction(0.1)
    Fraction(1, 10)
    """
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return value
    try:
        if written := FRACTION.fullmatch(str(value).strip()):
            return Fraction(written[0])
    except (ValueError, ZeroDivisionError):
        pass
    raise ValueError("write a number as 0.1, 1/10 or 1e-3")


Exact = Annotated[Fraction, BeforeValidator(exact_fraction), PlainSerializer(str)]
Share = Annotated[Exact, Field(ge=0, le=1)]
Positive = Annotated[int, Field(ge=1)]
NonNegative = Annotated[int, Field(ge=0)]


class Section(BaseModel):
    """A frozen mapping of fields that takes no other key."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True, use_attribute_docstrings=True
    )
