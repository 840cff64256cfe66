"""Types that tests put into the journal and take out again."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from enum import Enum, Flag, IntEnum, StrEnum
from pathlib import Path
from typing import Any, Generic, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, RootModel, SecretStr, field_serializer, field_validator

T = TypeVar("T")


class Colour(Enum):
    RED = (255, 0, 0)
    GREEN = (0, 255, 0)


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Word(StrEnum):
    YES = "y"
    NO = "n"


class Rights(Flag):
    READ = 1
    WRITE = 2


@dataclass(frozen=True)
class Line:
    sku: str
    price: Decimal
    colours: list[Colour] = field(default_factory=list)


@dataclass(slots=True)
class Order:
    id: UUID
    lines: list[Line]
    by_sku: dict[str, Line]
    placed: datetime
    count: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.count = len(self.lines)


class Address(BaseModel):
    model_config = ConfigDict(frozen=True)
    street: str
    zip_code: str = Field(alias="zip")


class Customer(BaseModel):
    model_config = ConfigDict(extra="allow")
    name: str
    address: Address
    anything: Any = None
    scan: bytes = b""
    pair: tuple[int, str] = (0, "")


class Vip(Customer):
    rank: int


class Trip(BaseModel):
    """Fields for which only pydantic has a word."""

    takes: timedelta
    tags: set[str]
    folder: Path
    stages: list[timedelta] = Field(default_factory=list)


class Login(BaseModel):
    user: str
    password: SecretStr


class Hidden(BaseModel):
    """It does not let itself be written by pydantic."""

    shown: str

    @field_serializer("shown")
    def refuse(self, _: str) -> str:
        raise ValueError("no")


class Names(RootModel[list[str]]):
    pass


class Page(BaseModel, Generic[T]):
    items: list[T]


AddressPage = Page[Address]


class Even(BaseModel):
    n: int

    @field_validator("n")
    @classmethod
    def is_even(cls, n: int) -> int:
        if n % 2:
            raise ValueError("odd")
        return n


class Outer:
    @dataclass
    class Inner:
        x: int
